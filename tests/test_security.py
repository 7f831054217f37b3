"""What no part of the library may do: load code with data, write where an archive says, or reach for the network."""

from __future__ import annotations

import ast
import io
import json
import lzma
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from shipped import ROOT

from arcfold.jobs.files import InputError
from arcfold.pretraining.corpora import read_archive
from arcfold.pretraining.shards import PACKED, unpack
from arcfold.runs.config import read_config

CODE = sorted([*(ROOT / "workflow_scripts").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")])
RULES = [ROOT / "Snakefile", *sorted((ROOT / "rules").rglob("*.smk"))]


# --- data is no code ------------------------------------------------------------------------------


def name_of(node: ast.expr) -> str:
    """`torch.load` of the function of a call; a method of an unnamed value begins with a dot."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{name_of(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def faults(tree: ast.AST) -> Iterator[str]:
    """What in a module runs what it reads, or could."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"import {name}" for name in named if name.split(".")[0] in SERIALIZERS)
        if isinstance(node, ast.Call):
            name = name_of(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if name in RUN_WHAT_THEY_READ:
                yield name
            if name in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
                yield f"{name} without allow_pickle=False"
            for option in ("trust_remote_code", "shell", "allow_pickle"):
                if given.get(option, "False") != "False":
                    yield f"{name}({option}={given[option]})"


SERIALIZERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
RUN_WHAT_THEY_READ = {
    *("eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
    *("torch.load", "torch.hub.load", "torch.jit.load", "torch.save", "pandas.read_pickle"),
}


def test_weights_are_no_pickle_and_nothing_that_is_read_is_run() -> None:
    found = {path: list(faults(ast.parse(path.read_text(encoding="utf-8")))) for path in CODE}
    assert len(found) > 100
    assert {str(path): names for path, names in found.items() if names} == {}


def test_the_rules_run_nothing_that_they_read() -> None:
    for path in RULES:
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"\b(?:eval|exec)\(|shell=True|trust_remote_code=True|torch\.load|pickle", text), path


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from dill import load",
        "torch.load('x')",
        "eval(text)",
        "exec(text)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(line, shell=True)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "AutoModel.from_pretrained(path, trust_remote_code=given)",
    ],
)
def test_such_a_line_would_be_found(line: str) -> None:
    assert list(faults(ast.parse(line)))


def test_the_models_evaluation_mode_is_no_fault() -> None:
    assert list(faults(ast.parse("model.eval()\nnp.load(path, allow_pickle=False)"))) == []


# --- archives -------------------------------------------------------------------------------------

ELSEWHERE = ("../out.json", "tasks/../../out.json", "/tmp/arcfold-out.json", "..\\out.json", "C:\\out.json")


def test_these_modules_read_archives_and_no_library_unpacks_one_to_the_disk() -> None:
    readers = set()
    for path in CODE:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {name_of(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not {call for call in calls if call.rpartition(".")[2] in ("extract", "extractall", "unpack_archive")}
        if {"zipfile.ZipFile", "tarfile.open", "tarfile.TarFile"} & calls:
            readers.add(path.name)
    assert readers == {"archive.py", "archives.py", "shards.py"}


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_zip_archive_writes_nothing(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "inside"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "a.zip", "w") as made:
        made.writestr(name, "[]")
        link = zipfile.ZipInfo("tasks/link.json")
        link.external_attr = 0o120777 << 16
        made.writestr(link, "/etc/passwd")
    before = files_in(tmp_path)
    with pytest.raises(InputError):
        list(read_archive(folder / "a.zip", "tasks", lambda _: True))
    assert files_in(tmp_path) == before
    assert not Path("/tmp/arcfold-out.json").exists()


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("name", [*ELSEWHERE, *PACKED])
def test_a_packed_shard_writes_nothing_outside_its_folder(name: str, kind: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "inside"
    folder.mkdir(parents=True)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "../../outside"
        made.addfile(entry, io.BytesIO())
    (folder / "a.xz").write_bytes(lzma.compress(stream.getvalue()))
    before = files_in(tmp_path)
    with pytest.raises(InputError):
        unpack(folder / "a.xz", folder / "made")
    assert files_in(tmp_path) == before
    assert not Path("/tmp/arcfold-out.json").exists()


# --- the network ----------------------------------------------------------------------------------

WITHOUT_NETWORK = ["sh", str(ROOT / "tests" / "without_network.sh")]


def without_network(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WITHOUT_NETWORK, *command], capture_output=True, text=True, check=False)


def test_no_interface_but_a_loopback_is_there_for_the_tests() -> None:
    look = "import os, socket; print(os.getuid(), *(name for _, name in socket.if_nameindex()))"
    done = without_network(sys.executable, "-c", look)
    if done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.stdout.split() in ([str(os.getuid()), "lo"], ["0", "lo"])


def test_the_status_of_what_ran_without_network_is_handed_on() -> None:
    assert without_network("sh", "-c", "exit 7").returncode == 7


def test_where_no_namespace_can_be_made_a_line_says_so(tmp_path: Path) -> None:
    failing = tmp_path / "unshare"
    failing.write_text("#!/bin/sh\nexit 1\n")
    failing.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([*WITHOUT_NETWORK, "echo", "done"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout == "done\n"
    assert done.stderr.count("\n") == 1
    assert "no namespace without network" in done.stderr


# --- names in reports -----------------------------------------------------------------------------

HOSTILE = ('"><script>', "a&b", "a<b", "'", "x\n", "x\x1b[31m", "x\u202e", "../x", "a b")


@pytest.mark.parametrize("key", ["runs", "datasets", "subsets", "models", "corpora", "benchmarks", "base_models"])
def test_no_name_of_the_config_means_anything_to_a_page_a_shell_or_a_path(key: str, tmp_path: Path) -> None:
    """They are the labels of Snakemake's report, and parts of paths and of commands."""
    for name in HOSTILE:
        (tmp_path / "mine.yaml").write_text(json.dumps({key: {name: {}}}))
        with pytest.raises(InputError) as error:
            read_config([ROOT / "config.yaml"], [tmp_path / "mine.yaml"])
        said = str(error.value).partition("mine.yaml: ")[2]
        assert said.startswith((f"{key}: {name!r}, expected ", f"{name!r} has the character "))

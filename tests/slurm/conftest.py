"""A SLURM of this machine alone, and tiny workflows that run on it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from made_models import bigram_model
from shipped import ROOT
from tiny_workflow import CONFIG, PARTS, Workflow

SCRIPT = Path(__file__).with_name("slurm.sh")
FOLDS = 8


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running SLURM: four pretended GPUs of the model h100, enforced memory, an accounting database."""
    folder = Path(os.environ.get("ARCFOLD_SLURM") or tmp_path_factory.mktemp("slurm"))
    if "ARCFOLD_SLURM" in os.environ:  # one that was started by hand
        yield folder
        return
    started = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True)
    if started.returncode == 2:
        pytest.skip(started.stderr.strip())
    assert started.returncode == 0, started.stderr
    yield folder
    subprocess.run([SCRIPT, "stop", folder], check=True)


@pytest.fixture
def workflow(slurm: Path, tmp_path: Path) -> Workflow:
    """A tiny workflow of eight folds in which nothing has run."""
    return make_workflow(tmp_path / "clone")


def make_workflow(folder: Path) -> Workflow:
    folder.mkdir()
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    workflow = Workflow(folder)
    bigram_model(folder / "models" / "bigram")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIG | {"run": "8folds"}, sort_keys=False))
    pair = {"input": [[1, 2]], "output": [[7]]}
    tasks = {f"task{n}": {"train": [pair, pair], "test": [{"input": [[n, 1]], "output": [[n]]}]} for n in range(FOLDS)}
    workflow.write("mine.json", tasks)
    return workflow

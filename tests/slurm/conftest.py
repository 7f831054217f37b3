"""A SLURM of this machine alone, and tiny workflows that run on it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from eight_folds import make_workflow
from tiny_workflow import Workflow

SCRIPT = Path(__file__).with_name("slurm.sh")


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

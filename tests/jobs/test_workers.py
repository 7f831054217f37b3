"""Which workers a workflow may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from arcfold.jobs.files import InputError
from arcfold.jobs.workers import LONGEST, workers_folder


def test_another_code_config_folder_environment_or_allocation_has_other_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCFOLD_WORKERS", "/w")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    found = [workers_folder({"seed": 0}, ["a", "b"])]
    assert workers_folder({"seed": 0}, ["b", "a"]) == found[0]
    found.append(workers_folder({"seed": 1}, ["a", "b"]))
    found.append(workers_folder({"seed": 0}, ["a", "c"]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    found.append(workers_folder({"seed": 0}, ["a", "b"]))
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    found.append(workers_folder({"seed": 0}, ["a", "b"]))
    monkeypatch.chdir(tmp_path)
    found.append(workers_folder({"seed": 0}, ["a", "b"]))
    assert len(set(found)) == len(found)
    assert {folder.parent for folder in found} == {Path("/w")}


def test_a_folder_too_long_for_a_socket_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * LONGEST)
    monkeypatch.setenv("ARCFOLD_WORKERS", str(long))
    with pytest.raises(InputError, match=f"expected a path of at most {LONGEST} bytes"):
        workers_folder({}, [])
    monkeypatch.delenv("ARCFOLD_WORKERS")
    monkeypatch.setattr("tempfile.tempdir", str(long))
    assert len(str(workers_folder({}, []) / "gpu1" / "slot-99.sock")) < 104

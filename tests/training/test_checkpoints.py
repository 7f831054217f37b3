"""Checkpoints that are damaged: named, set aside, and the one before gives the same bytes as no interruption at all."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from environments import environment_of_tests
from trainings import TRL, bytes_of, samples_of, settings_of, train

from arcfold.training.checkpoints import Checkpoints


class Stop(Exception):
    pass


def interrupted(folder: Path, backend: str) -> Path:
    """A training of six steps that ends in its fifth; its checkpoints, those after steps 3 and 4."""

    def stop(step: int, loss: float, rate: float) -> None:
        if step == 5:
            raise Stop

    more: dict[str, Any] = {"backend": backend, "checkpoints": folder / "checkpoints", "checkpoint_seconds": 0.0}
    with pytest.raises(Stop):
        train(folder / "a", samples_of(24), settings_of(), reporter=SimpleNamespace(step=stop), **more)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-3", "step-4"]
    return folder / "checkpoints"


def largest(checkpoint: Path) -> Path:
    return max(checkpoint.rglob("*"), key=lambda path: path.stat().st_size)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "a flipped bit in the weights": lambda checkpoint: flip(largest(checkpoint)),
    "truncated weights": lambda checkpoint: truncate(largest(checkpoint)),
    "empty weights": lambda checkpoint: os.truncate(largest(checkpoint), 0),
    "no weights": lambda checkpoint: largest(checkpoint).unlink(),
    "a flipped bit in the job's hash": lambda checkpoint: flip(checkpoint / "job.json"),
    "truncated hashes": lambda checkpoint: truncate(checkpoint / "SHA256SUMS"),
    "no line left": lambda checkpoint: os.truncate(checkpoint / "SHA256SUMS", 0),
    "no hashes": lambda checkpoint: (checkpoint / "SHA256SUMS").unlink(),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The bytes of the training without an interruption, by backend."""
    return {}


def expected(whole: dict[str, str], backend: str, folder: Path) -> str:
    if backend not in whole:
        train(folder / "whole", samples_of(24), settings_of(), backend=backend)
        whole[backend] = bytes_of(folder / "whole")
    return whole[backend]


@pytest.mark.parametrize(
    ("backend", "damage"),
    [*(("packed", name) for name in DAMAGE), pytest.param(*TRL.values, "truncated weights", marks=TRL.marks)],
)
def test_the_one_before_is_used_and_gives_the_same_bytes(
    backend: str, damage: str, whole: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = interrupted(tmp_path, backend)
    DAMAGE[damage](checkpoints / "step-4")
    with caplog.at_level(logging.WARNING, "arcfold"):
        report = train(tmp_path / "a", samples_of(24), settings_of(), backend=backend, checkpoints=checkpoints)
    (line,) = caplog.messages
    assert line.startswith(str(checkpoints / "step-4"))
    assert line.endswith("; set aside as step-4.damaged, the training goes on from step 3")
    assert report["measured"]["resumed_at_step"] == 3
    assert bytes_of(tmp_path / "a") == expected(whole, backend, tmp_path)
    assert not checkpoints.exists()


def test_without_one_that_is_whole_the_training_begins_anew(
    whole: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = interrupted(tmp_path, "packed")
    for step in (3, 4):
        flip(largest(checkpoints / f"step-{step}"))
    with caplog.at_level(logging.WARNING, "arcfold"):
        report = train(tmp_path / "a", samples_of(24), settings_of(), backend="packed", checkpoints=checkpoints)
    assert [line.rpartition("; ")[2] for line in caplog.messages] == [
        f"set aside as step-{step}.damaged, the training goes on from the start" for step in (4, 3)
    ]
    assert report["measured"]["resumed_at_step"] == 0
    assert bytes_of(tmp_path / "a") == expected(whole, "packed", tmp_path)


def test_a_damaged_one_is_kept_aside_while_the_training_is_not_done(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path, "job")
    for step in (1, 2, 3):
        with saved.saving(step) as folder:
            (folder / "state").write_text(str(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-2", "step-3"]
    done = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path / "step-3")
    assert done.returncode == 0
    (tmp_path / "step-3" / "state").write_text("")
    assert saved.latest() == (tmp_path / "step-2", 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-2", "step-3.damaged"]
    assert saved.latest() == (tmp_path / "step-2", 2)
    assert Checkpoints(tmp_path, "another job").latest() is None


def test_a_checkpoint_is_on_disk_before_it_has_its_name(tmp_path: Path) -> None:
    """Read off the system calls: every file and its folder are synced, then comes the rename, then the folder above."""
    code = """
import os, sys
from pathlib import Path
from arcfold.training.checkpoints import Checkpoints
did = []
sync, replace = os.fsync, os.replace
def noted_sync(descriptor):
    did.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
    sync(descriptor)
def noted_replace(source, target):
    replace(source, target)
    did.append(f"-> {os.path.basename(target)}")
os.fsync, os.replace = noted_sync, noted_replace
with Checkpoints(Path(sys.argv[1]), "job").saving(7) as folder:
    (folder / "state").write_text("state")
print(*(name for name in did if not name.startswith(".step")), sep="\\n")
"""
    command = [sys.executable, "-c", code, str(tmp_path / "saved")]
    done = subprocess.run(command, env=environment_of_tests(), capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == [
        "-> job.json", "-> SHA256SUMS", "job.json", "state", "SHA256SUMS", "-> step-7", "saved", "",
    ]  # fmt: skip


FULL_DISK = """
import json, resource, sys
from pathlib import Path
from trainings import bytes_of, samples_of, settings_of, train
import torch
torch.set_num_threads(1)
folder = Path(sys.argv[1])
settings = dict(settings=settings_of(), backend="packed")
train(folder / "a", samples_of(24), **settings)
size = (folder / "a" / "adapter_model.safetensors").stat().st_size
# room for an adapter, and none for its three times as large checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size, resource.RLIM_INFINITY))
train(folder / "b", samples_of(24), checkpoints=folder / "saved", checkpoint_seconds=0.0, **settings)
print(json.dumps([bytes_of(folder / "a"), bytes_of(folder / "b"), sorted(path.name for path in folder.iterdir())]))
"""


def test_a_full_disk_costs_the_checkpoint_and_not_the_training(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, env=environment_of_tests(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second, names = json.loads(done.stdout)
    assert first == second
    assert names == ["a", "b"]
    lines = [line for line in done.stderr.splitlines() if "checkpoint cannot be written" in line]
    assert len(lines) == 5
    assert lines[0].startswith(f"{tmp_path}/saved/step-1: ")
    assert all("File too large" in line for line in lines)

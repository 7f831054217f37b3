"""The lock of a dead Snakemake goes, that of a live one stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from shipped import ROOT

USER = (
    "import sys, time; from pathlib import Path; from arcfold.jobs.locks import remove_stale_lock\n"
    "print(remove_stale_lock(Path(sys.argv[1])), flush=True); time.sleep(float(sys.argv[2]))"
)


def user(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that reads the Snakefile and lives on for some seconds; it has said whether it removed a lock."""
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(folder), str(seconds)],
        cwd=ROOT / "workflow_scripts", stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def removed(folder: Path) -> bool:
    with user(folder, 0) as process:
        assert process.stdout is not None
        return process.stdout.readline() == "True\n"


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "0.output.lock").write_text("results/score_8folds.json\n")
    return tmp_path


def test_a_lock_that_nobody_holds_is_removed(locked: Path) -> None:
    assert removed(locked)
    assert not list((locked / "locks").iterdir())
    assert not removed(locked)


def test_a_lock_stays_while_another_process_lives_and_goes_when_that_is_killed(locked: Path) -> None:
    (locked / "locks" / "0.output.lock").unlink()
    with user(locked, 60) as alive:
        assert alive.stdout is not None
        assert alive.stdout.readline() == "False\n"
        (locked / "locks" / "0.output.lock").write_text("results/score_8folds.json\n")
        assert not removed(locked)
        assert list((locked / "locks").iterdir())
        alive.kill()
        alive.wait()
        assert removed(locked)


def test_a_lock_stays_where_another_machine_has_worked(locked: Path) -> None:
    assert removed(locked)
    (locked / "arcfold" / "users" / "another.lock").write_text("")
    (locked / "locks" / "0.output.lock").write_text("results/score_8folds.json\n")
    assert not removed(locked)
    assert list((locked / "locks").iterdir())

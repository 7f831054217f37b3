"""After a kill the next plain command goes on, and ends with what an undisturbed run gives."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from faults import SCORE, kill_of, leave_room, left_behind, request_of, small_disk, strike
from tiny_workflow import Workflow, copied

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


def goes_on(workflow: Workflow, undisturbed: Workflow) -> None:
    """Calls again, without a flag; the bytes are those of the undisturbed run, and nothing half-written is left."""
    call = workflow(SCORE)
    assert call.status == 0, call.said
    assert left_behind(workflow) == []
    expected = undisturbed.contents()
    made = workflow.contents()
    assert made == {name: expected[name] for name in made}
    assert {SCORE, "results/runs/tiny/submission.json", "results/runs/tiny/files.json"} <= made.keys()


# one dies inside a write; the other moments take minutes
def test_a_run_that_was_killed_goes_on(fresh: Workflow, done: Workflow) -> None:
    strike(fresh, kill_of(0))
    goes_on(fresh, done)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25), ids=lambda seed: f"{seed}: {kill_of(seed)}")
def test_a_run_that_was_killed_goes_on_at_25_moments(fresh: Workflow, done: Workflow, seed: int) -> None:
    strike(fresh, kill_of(seed))
    goes_on(fresh, done)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8), ids=lambda seed: f"{seed}: {request_of(seed)}")
def test_a_run_that_was_asked_to_end_goes_on(fresh: Workflow, done: Workflow, seed: int) -> None:
    strike(fresh, request_of(seed))
    goes_on(fresh, done)


def fills(blank: Workflow, folder: Path, kibibytes: int, undisturbed: Workflow) -> None:
    """A run has less room than it needs, Snakemake's own files included; with room the next call goes on."""
    with small_disk(folder, 64):
        workflow = copied(blank, folder)
        command, environment = workflow.command(SCORE)  # it writes a config
        filler = leave_room(folder, kibibytes)
        call = workflow.run(command, environment)
        assert call.status == 1, call.said
        assert "No space left on device" in call.said
        # Snakemake's own writes may fail too, and it says so with a traceback of its own
        assert "Traceback" not in call.said or "snakemake/executors/local.py" in call.said
        assert "internal error" not in call.said
        filler.unlink()
        goes_on(workflow, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("kibibytes", range(0, 440, 40))
def test_a_disk_that_fills_up_in_each_step_is_said(
    blank: Workflow, done: Workflow, tmp_path: Path, kibibytes: int
) -> None:
    fills(blank, tmp_path / "disk", kibibytes, done)

"""After a kill the next plain command goes on, and ends with what an undisturbed run gives."""

from __future__ import annotations

import sys

import pytest
from faults import SCORE, Fault, kill_of, left_behind, request_of, strike
from tiny_workflow import Workflow

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


def goes_on(workflow: Workflow, undisturbed: Workflow) -> None:
    """Calls again, without a flag; the bytes are those of the undisturbed run, and nothing half-written is left."""
    call = workflow(SCORE)
    assert call.status == 0, call.said
    expected = undisturbed.contents()
    made = workflow.contents()
    assert made == {name: expected[name] for name in made}
    assert {SCORE, "results/runs/tiny/submission.json", "results/runs/tiny/files.json"} <= made.keys()
    assert left_behind(workflow) == []


# a job, Snakemake and the group die inside a write, and the group between two
@pytest.mark.parametrize("seed", [0, 1, 2, 5])
def test_a_run_that_was_killed_goes_on(fresh: Workflow, done: Workflow, seed: int) -> None:
    strike(fresh, kill_of(seed))
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

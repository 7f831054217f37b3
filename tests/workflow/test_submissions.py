"""A submission from elsewhere is a run: checked, scored, and without all that it has not."""

from __future__ import annotations

import json

import pytest
from tiny_workflow import Workflow, refused

from arcfold.jobs.files import check_schema

RUNS = {"theirs": {"submission": "theirs.json", "dataset": "mine"}}
SCORE = "results/score_theirs.json"
# of the tasks of tests/helpers/tiny_workflow.py: first's first output and second's are right
THEIRS = {
    "second": [{"attempt_1": [[8, 8]], "attempt_2": [[8]]}],
    "first": [{"attempt_1": [[5]], "attempt_2": [[1]]}, {"attempt_1": [[0]], "attempt_2": [[0], [0]]}],
}


def test_it_is_copied_and_scored_without_ranks_and_beside_runs_of_ours(fresh: Workflow):
    fresh.write("theirs.json", THEIRS)
    call = fresh(SCORE, "results/runs/hidden_1folds/folds.json", runs=RUNS)
    assert call.status == 0, call.said
    copied = fresh.read("results/runs/theirs/submission.json")
    assert copied == THEIRS
    assert list(copied) == list(fresh.read("results/tasks/mine.json"))
    score = fresh.read(SCORE)
    check_schema(score, "score", SCORE)
    assert score["tasks"] == {
        "first": {"score": 0.5, "outputs": [{"correct": True}, {"correct": False}]},
        "second": {"score": 1.0, "outputs": [{"correct": True}]},
    }
    assert (score["score"], score["score_outputs"], score["complete"]) == (75.0, pytest.approx(200 / 3, abs=1e-3), True)
    assert not {"oracle", "n_fallback", "folds", "leakage"} & score.keys()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("results/runs/theirs/candidates/fold-0.json", ["a submission from elsewhere", "and nothing else"]),
        ("results/runs/theirs/fallbacks.json", ["a submission from elsewhere", "and nothing else"]),
        ("results/runs/theirs/pictures/first.svg", ["a submission from elsewhere", "and nothing else"]),
        ("results/score_theirs-seed1.json", ["theirs is a submission from elsewhere", "without dataset or seed"]),
        (SCORE, ["config: runs/theirs/submission: theirs.json: no such file"]),
    ],
)
def test_what_it_has_not_is_said_in_a_line(blank: Workflow, target, words):
    refused(blank("--dry-run", target, runs=RUNS), *words)


def test_one_that_does_not_answer_the_tasks_ends_with_one_line_and_leaves_nothing(fresh: Workflow):
    fresh.write("theirs.json", json.dumps({"first": THEIRS["first"]}))
    call = fresh(SCORE, runs=RUNS)
    refused(call, "error: theirs.json: second: missing, expected every task of the dataset")
    assert not fresh.path("results/runs/theirs/submission.json").exists()

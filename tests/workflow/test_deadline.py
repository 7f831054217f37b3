"""A run under a deadline: what is there is taken, what was cut has files of its own, and a budget is replayed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_workflow import Workflow, copied, refused

from arcfold.jobs.files import check_schema, without_provenance

SCORE = "results/score_tiny.json"
RUN = "results/runs/tiny"


def stored(workflow: Workflow) -> dict[str, bytes]:
    """The files of the store but Snakemake's times."""
    found = workflow.path("results/store").rglob("*.json")
    return {str(path.relative_to(workflow.folder)): path.read_bytes() for path in found}


def test_what_is_no_deadline_is_said_before_anything_runs(blank: Workflow) -> None:
    two = (SCORE, "results/score_lower.json", "-n")
    refused(blank(SCORE, "-n", deadline="soon"), "deadline: 'soon', expected minutes, a time of the day")
    refused(blank(*two, deadline=5), "lower and tiny are asked for, expected one run in a call")
    refused(blank(SCORE, "-n", deadline=5, workers=False), "deadline: needs workers", "workers: true")
    refused(blank(SCORE, "-n", deadline=5, budget="b.json"), "deadline and budget, expected one of the two")
    refused(blank(SCORE, "-n", deadline="17:30", rehearsal_of=240), "rehearsal_of", "'17:30', expected minutes")


@pytest.mark.slow
def test_what_is_there_is_taken_and_a_cut_run_leaves_the_full_one_alone(copy: Workflow, tmp_path: Path) -> None:
    full, before = copy.read(SCORE), stored(copy)
    submission = copy.path(f"{RUN}/submission.json").read_bytes()
    shutil.rmtree(copy.path(RUN))
    call = copy(SCORE, deadline=60)
    assert call.status == 0, call.said
    assert "tiny: 2 of 2 folds in full, 0 with settings that gave way, 0 out of time" in call.said
    assert "before the deadline" in call.said
    assert stored(copy) == before
    for name in ("submission.json", "submission_so_far.json"):
        assert copy.path(f"{RUN}/{name}").read_bytes() == submission
    score = without_provenance(copy.read(SCORE))
    assert score.pop("cuts") == []
    assert score.pop("steps") == {**full["steps"], "budget": f"{RUN}/budget.json"}
    assert score.pop("code") == full["code"]
    assert score == {key: value for key, value in without_provenance(full).items() if key not in ("steps", "code")}

    # the same with settings that gave way in one fold, and no time for the other
    budget = copy.read(f"{RUN}/budget.json")
    check_schema(budget, "budget", "budget")
    last = len(budget["rungs"]) - 1
    assert budget["rungs"][last]["rescoring"] == {"views": 0}
    budget["folds"] = {
        "0": {"steps": {
            "training": {"rung": last, "cut": {"epochs": 1}, "predicted": None},
            "search": {"rung": 2, "cut": {"views": 1}, "predicted": None},
            "rescoring": {"rung": last, "cut": {"views": 0}, "predicted": None},
        }},
        "1": {"steps": {}, "dropped": "3 s are left"},
    }  # fmt: skip
    copy.write("cut.json", budget)
    call = copy(SCORE, budget="cut.json")
    assert call.status == 0, call.said
    assert "warning: run tiny: the deadline left no time for fold 1" in call.said
    assert "gave way: rescoring/views 0 (1 folds), search/views 1 (1 folds), training/epochs 1 (1 folds)" in call.said
    now = stored(copy)
    assert {path: now[path] for path in before} == before
    assert sorted({path.split("/")[2] for path in set(now) - set(before)}) == ["adapters", "candidates", "rescored"]
    score = copy.read(SCORE)
    assert score["complete"] is False
    cut = {"training": {"epochs": 1}, "search": {"views": 1}, "rescoring": {"views": 0}}
    assert score["cuts"] == [{"fold": 0, "settings": cut}]
    assert score["misses"]["reasons"]["out_of_time"]["n"] == score["misses"]["n_outputs"] - sum(
        len(task["outputs"]) for name, task in score["tasks"].items() if "hole" not in task["outputs"][0]
    )
    assert [failed["fold"] for failed in score["failed"]] == [1]
    answers = copy.path(f"{RUN}/submission.json").read_bytes()
    check_schema(json.loads(answers), "submission", "submission")
    assert copy.path(f"{RUN}/submission_so_far.json").read_bytes() == answers

    # elsewhere the budget gives the same bytes
    other = copied(copy, tmp_path / "other")
    shutil.rmtree(other.path("results"))
    other.write("cut.json", copy.read(f"{RUN}/budget.json"))
    call = other(SCORE, budget="cut.json")
    assert call.status == 0, call.said
    assert other.path(f"{RUN}/submission.json").read_bytes() == answers
    # the other folder has no full run, so only what was asked for is there
    made = {path: without_provenance(json.loads(content)) for path, content in stored(other).items()}
    assert made == {path: without_provenance(json.loads(now[path])) for path in made}
    assert without_provenance(other.read(SCORE)) == without_provenance(score)

    # a full run takes nothing of the cut one, and finds its own
    call = copy(SCORE, "-n")
    assert set(call.jobs) == {"link_run", "select_attempts", "score_run"}, call.said
    refused(other(SCORE, budget="cut.json", settings={"search": {"min_prob": 0.3}}), "that of run tiny with other")


@pytest.mark.slow
def test_a_training_that_takes_too_long_is_stopped_and_the_run_ends_in_time(fresh: Workflow) -> None:
    """Its guess is far too short: a training of minutes, which a quarter of a thousandth of its epochs replaces."""
    call = fresh(
        SCORE, deadline=3, settings={"training": {"epochs": 50_000}}, gives_way=[{"training": {"epochs": 0.0001}}]
    )
    assert call.status == 0, call.said
    assert "the training took too long and is stopped" in call.said
    assert "before the deadline" in call.said
    score = fresh.read(SCORE)
    assert score["cuts"], call.said
    assert {cut["settings"]["training"]["epochs"] for cut in score["cuts"]} == {5}
    assert [path for path in fresh.path("results/store").rglob("*") if path.name == "failed.json"] == []

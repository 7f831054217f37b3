"""Studies in the real workflow: what is computed once, slices, scores of other machines."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_workflow import Workflow, copied, refused

from arcfold.jobs.files import check_schema, without_provenance

STUDY: dict[str, Any] = {
    "runs": {"tiny": {"folds": "per_task"}, "theirs": {"submission": "theirs.json", "leaderboard": 3.5}},
    "studies": {
        "mine": {"base": "tiny", "grid": {"min_prob": [0.02]}, "runs": ["theirs"], "seeds": [0, 1], "notes": "Why?"},
        "larger": {"base": "tiny", "grid": [{"min_prob": [0.02, 0.03]}, {"rank": [1]}], "seeds": [0, 1]},
        "elsewhere": {"base": "tiny", "runs": ["hidden_1folds"], "seeds": [0]},
    },
}
TARGET = "results/compare_mine.json"
OURS = ["tiny-seed0", "tiny-seed1", "tiny_min_prob0p02-seed0", "tiny_min_prob0p02-seed1"]


@pytest.fixture(scope="module")
def studied(done: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = copied(done, tmp_path_factory.mktemp("studied"))
    shutil.copy(workflow.path("results/runs/tiny/submission.json"), workflow.path("theirs.json"))
    call = workflow(TARGET, **STUDY)
    assert call.status == 0, call.said
    # seed 0 of the base was there; of seed 1 each adapter is trained once for both runs
    assert call.jobs["train_adapter"] == 2
    assert call.jobs["search_candidates"] == call.jobs["rescore_candidates"] == 6
    assert (call.jobs["score_run"], call.jobs["score_submission"], call.jobs["compare_runs"]) == (4, 1, 1)
    assert "tiny_min_prob0p02" in call.said
    return workflow


def test_shared_steps_are_computed_once(blank: Workflow) -> None:
    call = blank("results/compare_larger.json", "-n", **STUDY)
    assert call.status == 0, call.said
    jobs = call.jobs
    # two folds of two seeds: three runs share their adapters, one has its own
    assert jobs["make_folds"] == 2
    assert jobs["train_adapter"] == 2 * 2 * 2
    assert jobs["search_candidates"] == jobs["rescore_candidates"] == 2 * 2 * 4
    assert jobs["score_run"] == 2 * 4
    assert blank("results/compare_larger-1seeds.json", "-n", **STUDY).jobs["train_adapter"] == 2 * 2


@pytest.mark.slow
def test_a_comparison_has_what_the_scores_say(studied: Workflow) -> None:
    made = studied.read(TARGET)
    check_schema(made, "compare", TARGET)
    scores = {run: studied.read(f"results/score_{run}.json") for run in [*OURS, "theirs"]}
    assert [each["name"] for each in made["configurations"]] == ["tiny", "tiny_min_prob0p02", "theirs"]
    for each in made["configurations"]:
        of_runs = [scores[run["run"]] for run in each["runs"]]
        assert each["score"]["mean"] == pytest.approx(np.mean([score["score"] for score in of_runs]), abs=1e-3)
        for task_id in ("first", "second"):
            assert made["tasks"][task_id][each["name"]] == [score["tasks"][task_id]["score"] for score in of_runs]
    base, wider, theirs = made["configurations"]
    assert wider["settings"] == {"search.min_prob": 0.02}
    assert (theirs["kind"], theirs["leaderboard"]) == ("submission", 3.5)
    assert [run["seed"] for run in base["runs"]] == [0, 1]
    tokens = [
        studied.read(f"results/runs/tiny-seed1/adapters/fold-{fold}/training.json")["tokens"] for fold in range(2)
    ]
    assert base["runs"][1]["tokens"] == sum(tokens)
    assert base["runs"][1]["device_seconds"].keys() == {
        "train_adapter", "search_candidates", "rescore_candidates", "total",
    }  # fmt: skip
    assert made["notes"] == "Why?"
    assert [(pair["a"], pair["b"]) for pair in made["pairs"]] == [("tiny_min_prob0p02", "tiny"), ("theirs", "tiny")]
    assert made["pairs"][0]["seeds"] == {"a": 2, "b": 2, "paired": True}
    table = list(csv.DictReader(io.StringIO(studied.path("results/compare_mine.csv").read_text())))
    assert [row["search.min_prob"] for row in table] == ["", "0.02", ""]
    assert "Nothing to be done" in studied(TARGET, "-n", **STUDY).said


@pytest.mark.slow
def test_what_is_finished_is_compared_without_running_anything(studied: Workflow, tmp_path: Path) -> None:
    workflow = copied(studied, tmp_path)
    workflow.path("results/score_tiny-seed1.json").unlink()
    target = "results/compare_larger-so-far.json"
    call = workflow(target, **STUDY)
    assert call.jobs == {"compare_runs": 1}, call.said
    made = workflow.read(target)
    assert [each["name"] for each in made["configurations"]] == ["tiny", "tiny_min_prob0p02"]
    assert made["missing"] == [
        "tiny-seed1", "tiny_min_prob0p03-seed0", "tiny_min_prob0p03-seed1", "tiny_rank1-seed0", "tiny_rank1-seed1",
    ]  # fmt: skip
    assert made["pairs"][0]["seeds"] == {"a": 2, "b": 1, "paired": False}
    assert "Nothing to be done" in workflow(target, "-n", **STUDY).said
    # a score more, and it is stale
    shutil.copy(studied.path("results/score_tiny-seed1.json"), workflow.path("results/score_tiny-seed1.json"))
    assert workflow(target, "-n", **STUDY).jobs == {"compare_runs": 1}


@pytest.mark.slow
def test_two_runs_are_compared_with_all_their_finished_seeds(studied: Workflow, tmp_path: Path) -> None:
    workflow = copied(studied, tmp_path)
    target = "results/compare_tiny_min_prob0p02--tiny.json"
    call = workflow(target, **STUDY)
    assert call.status == 0, call.said
    assert "train_adapter" not in call.jobs
    made = workflow.read(target)
    assert [[run["run"] for run in each["runs"]] for each in made["configurations"]] == [
        ["tiny", "tiny-seed1"],
        ["tiny_min_prob0p02", "tiny_min_prob0p02-seed1"],
    ]
    pairs = studied.read(TARGET)["pairs"][0]
    for key in ("difference", "won", "lost", "seeds"):
        assert made["pairs"][0][key] == pairs[key]


@pytest.mark.slow
def test_finished_scores_of_another_machine_are_taken_as_they_are(studied: Workflow, fresh: Workflow) -> None:
    shutil.copy(studied.path("theirs.json"), fresh.path("theirs.json"))
    for run in OURS:
        for name in (f"results/score_{run}.json", f"results/records/score_{run}.json.json"):
            fresh.path(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(studied.path(name), fresh.path(name))
    call = fresh(TARGET, **STUDY)
    assert call.status == 0, call.said
    assert call.jobs == {"check_submission": 1, "collect_tasks": 1, "score_submission": 1, "compare_runs": 1}
    mine, theirs = (without_provenance(each.read(TARGET)) for each in (fresh, studied))
    assert mine == theirs
    # made with other settings than these: it is named, and made again
    call = fresh(TARGET, "-n", settings={"training": {"epochs": 3}}, **STUDY)
    assert (
        "warning: results/score_tiny-seed0.json: it has run/settings/training/epochs 2, and here that is 3" in call.said
    )
    assert call.jobs["train_adapter"] == 4
    fresh.path("results/records/score_tiny-seed1.json.json").unlink()
    call = fresh(TARGET, "-n", **STUDY)
    assert (
        "score_tiny-seed1.json: it has no record (results/records/score_tiny-seed1.json.json); the run is made"
        in call.said
    )
    assert call.jobs["train_adapter"] == 2


def test_runs_on_different_data_are_refused_before_anything_runs(studied: Workflow) -> None:
    call = studied("results/compare_elsewhere.json", "-n", **STUDY)
    refused(call, "study elsewhere: hidden_1folds-seed0 is on hidden, tiny-seed0 on mine, expected one dataset")

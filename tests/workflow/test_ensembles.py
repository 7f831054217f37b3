"""An ensemble of two runs with different folds, against plain passes of both models over all candidates."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from reference_search import reply_log_prob
from shipped import ROOT
from tiny_workflow import Workflow, copied, refused
from tokenizers import Tokenizer

from arcfold.arc.views import View
from arcfold.jobs.files import check_schema

EMBEDDED = Tokenizer.from_file(str(ROOT / "resources/base-15m/tokenizer.json"))
RUNS: dict[str, Any] = {
    "tiny": {"folds": "per_task"},
    # one adapter for both tasks, a lower threshold, other numbers of views
    "wide": {"folds": 1, "settings": {"search": {"views": 3, "min_prob": 0.02}, "rescoring": {"views": 4}}},
    "both": {"ensemble": ["tiny", "wide-seed7"]},
}
MEMBERS = {"tiny": ("tiny", 2), "wide-seed7": ("wide-seed7", 3)}
SCORE = "results/score_both.json"


@pytest.fixture(scope="module")
def joined(done: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = copied(done, tmp_path_factory.mktemp("joined"))
    call = workflow(SCORE, "results/score_wide-seed7.json", "results/runs/both/rescored/fold-0.json", runs=RUNS)
    assert call.status == 0, call.said
    # what the first member needed was there, and of the second each step is done once
    assert call.jobs["train_adapter"] == 1
    assert call.jobs["search_candidates"] == 1
    assert call.jobs["rescore_candidates"] == 1
    assert call.jobs["rescore_others"] == 3  # folds of both
    return workflow


def entries(workflow: Workflow, run: str, stage: str) -> dict[str, Any]:
    """A stage's tasks of all folds of a run."""
    found: dict[str, Any] = {}
    for path in sorted(workflow.path(f"results/runs/{run}/{stage}").glob("fold-*")):
        content = workflow.read(str(path.relative_to(workflow.folder)))
        found |= content["tasks"]
    return found


def as_tuple(grid: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(map(tuple, grid))


def rows(grid: Any) -> str:
    return "".join("".join(map(str, row)) + "\n" for row in grid)


def prompt(task: Any, test: int, view: View) -> list[int]:
    def seen(grid: Any) -> Any:
        return view.apply(as_tuple(grid))

    text = ""
    for index in view.order:
        pair = task["train"][index]
        text += f"I{rows(seen(pair['input']))}O{rows(seen(pair['output']))}<eos>"
    ids: list[int] = EMBEDDED.encode(f"{text}I{rows(seen(task['test'][test]['input']))}O").ids
    return ids


@pytest.fixture(scope="module")
def models(joined: Workflow) -> dict[tuple[str, str], Any]:
    """The model of each member for each task, as peft loads it from the files alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    loaded = {}
    for run in MEMBERS:
        for fold, ids in enumerate(joined.read(f"results/runs/{run}/folds.json")["folds"]):
            base = AutoModelForCausalLM.from_pretrained(joined.path("models/bigram"), dtype=torch.float32)
            adapter = joined.path(f"results/runs/{run}/adapters/fold-{fold}")
            adapted = PeftModel.from_pretrained(base, str(adapter)).eval()
            loaded |= {(run, task_id): adapted for task_id in ids}
    return loaded


@pytest.mark.slow
def test_every_candidate_of_a_member_is_scored_by_every_member(joined: Workflow, models: dict[Any, Any]) -> None:
    tasks = joined.read("mine.json")
    own = {run: entries(joined, run, "candidates") for run in MEMBERS}
    scored_by = {run: entries(joined, run, "rescored") for run in MEMBERS}
    together = entries(joined, "both", "rescored")
    assert together.keys() == tasks.keys()
    found_by_one = 0
    for task_id, entry in together.items():
        views = [[View.from_json(view) for view in scored_by[run][task_id]["scoring_views"]] for run in MEMBERS]
        assert [len(of_run) for of_run in views] == [2, 4]
        assert entry["scoring_views"] == [view.to_json() for of_run in views for view in of_run]
        for test, output in enumerate(entry["test"]):
            finders: dict[Any, dict[int, float]] = {}
            for offset, run in zip((0, 2), MEMBERS, strict=True):
                for candidate in own[run][task_id]["test"][test]["candidates"]:
                    views_of = finders.setdefault(as_tuple(candidate["grid"]), {})
                    views_of |= {offset + view["view"]: view["log_prob"] for view in candidate["found"]}
            candidates = {as_tuple(candidate["grid"]): candidate for candidate in output["candidates"]}
            assert candidates.keys() == finders.keys()
            for grid, candidate in candidates.items():
                assert {view["view"]: view["log_prob"] for view in candidate["found"]} == finders[grid]
                found_by_one += len({view >= 2 for view in finders[grid]}) == 1
                expected = [
                    reply_log_prob(
                        models[run, task_id],
                        prompt(tasks[task_id], test, view),
                        EMBEDDED.encode(f"{rows(view.apply(grid))}<eos>").ids,
                    )
                    for run, of_run in zip(MEMBERS, views, strict=True)
                    for view in of_run
                ]
                assert candidate["scored"] == pytest.approx(expected, abs=1e-4)
    assert found_by_one > 2


@pytest.mark.slow
def test_its_submission_has_the_best_two_by_the_mean_over_all_scores(joined: Workflow) -> None:
    submission = joined.read("results/runs/both/submission.json")
    for task_id, entry in entries(joined, "both", "rescored").items():
        for test, output in enumerate(entry["test"]):
            means = {as_tuple(c["grid"]): sum(c["scored"]) / 6 for c in output["candidates"]}
            best = sorted(means, key=lambda grid: means[grid], reverse=True)[:2]
            attempts = submission[task_id][test]
            assert [as_tuple(attempts["attempt_1"]), as_tuple(attempts["attempt_2"])] == best


@pytest.mark.slow
def test_its_score_is_like_that_of_a_run_and_says_whose_steps_it_is_made_of(joined: Workflow) -> None:
    score = joined.read(SCORE)
    check_schema(score, "score", SCORE)
    members = {run: joined.read(f"results/score_{run}.json") for run in MEMBERS}
    assert score["code"] != "mixed"
    assert score["steps"]["wide-seed7/adapters"] == members["wide-seed7"]["steps"]["adapters"]
    assert [(fold["run"], fold["fold"]) for fold in score["folds"]] == [("tiny", 0), ("tiny", 1), ("wide-seed7", 0)]
    assert score["oracle"] >= max(each["oracle"] for each in members.values())
    assert score["data"] == members["tiny"]["data"]
    assert len(score["provenance"]["seconds_of_folds"]["rescore_candidates"]) == 6  # own and others', of three folds
    folds = joined.read("results/runs/both/folds.json")["folds"]
    assert folds == joined.read("results/runs/tiny/folds.json")["folds"]


@pytest.mark.slow
def test_it_is_up_to_date_then_and_what_it_has_not_is_one_line(joined: Workflow) -> None:
    assert "Nothing to be done" in joined(SCORE, "-n", runs=RUNS).said
    words = ("run both: an ensemble has no adapters of its own", "those of tiny or wide-seed7")
    refused(joined("results/runs/both/adapters/fold-0", "-n", runs=RUNS), *words)

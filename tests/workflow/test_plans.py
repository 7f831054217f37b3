"""Plans and temporary adapters as targets."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file
from tiny_workflow import refused

from arcfold.jobs.files import check_schema

SCORE = "results/score_tiny.json"


def test_the_plan_of_a_run_counts_what_the_run_has_done(copy):
    call = copy("results/plan_tiny.json")
    assert call.status == 0, call.said
    assert "tiny: 2 tasks, 3 test inputs, 2 folds; 2 × " in call.said
    plan = copy.read("results/plan_tiny.json")
    check_schema(plan, "plan", "plan")
    beside = copy.read(SCORE)["provenance"]["plan"]
    for count in ("steps", "tokens", "prompt_tokens"):
        assert beside["planned"][count] == beside["true"][count]
    assert plan["rules"]["train_adapter"]["steps"] == beside["true"]["steps"] == 4
    assert plan["rules"]["search_candidates"]["prompt_tokens"] == beside["true"]["prompt_tokens"]
    # with other limits it is another plan
    limited = {"device": "auto", "devices": 7, "hours": 1, "disk_gib": 1e-6}
    refused(copy("results/plan_tiny.json", plan=limited), "run tiny: 0.0 MiB of disk", "set keep_adapters: false")
    assert not copy.path("results/plan_tiny.json").exists()


@pytest.mark.slow
def test_adapters_that_do_not_stay_are_small_and_go_once_their_fold_is_rescored(fresh):
    call = fresh(SCORE, keep_adapters=False)
    assert call.status == 0, call.said
    assert not list(fresh.path("results").rglob("*.safetensors"))
    score = fresh.read(SCORE)
    check_schema(score, "score", "score")
    assert [fold["first_loss"] is not None for fold in score["folds"]] == [True, True]
    for fold in range(2):
        check_schema(fresh.read(f"results/runs/tiny/training/fold-{fold}.json"), "training", "report")
    # what needs them trains them again, and they can be looked at as long as nothing removes them
    lower = "results/runs/tiny/candidates/fold-0.json"
    call = fresh(lower, "--notemp", keep_adapters=False, settings={"search": {"min_prob": 0.02}})
    assert (call.status, call.jobs["train_adapter"]) == (0, 1)
    (weights,) = fresh.path("results/store").rglob("*.safetensors")
    assert {str(tensor.dtype) for tensor in load_file(weights).values()} == {"torch.bfloat16"}
    refused(fresh("results/runs/tiny/adapters/fold-0", keep_adapters=False), "its adapters do not stay")

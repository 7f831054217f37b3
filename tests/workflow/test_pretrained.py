"""Adapters that are pretrained on a subset, and runs that start from one."""

from __future__ import annotations

import pytest
from made_models import bigram_model
from tiny_workflow import CONFIG, copied, refused

from arcfold.jobs.files import check_schema

INIT = {"training": {"init": "others_r3"}}


@pytest.fixture(scope="module")
def pretrained(blank, tmp_path_factory):
    """The workflow after two ranks were pretrained in one call: look, don't touch."""
    workflow = copied(blank, tmp_path_factory.mktemp("pretrained"))
    call = workflow("results/adapters/others_r1", "results/adapters/others_r3", "results/tasks/one.json")
    assert call.status == 0, call.said
    assert call.jobs["pretrain_adapter"] == 2
    return workflow


@pytest.fixture
def ready(pretrained, tmp_path):
    return copied(pretrained, tmp_path)


def test_every_rank_has_its_adapter(pretrained):
    for rank in (1, 3):
        folder = f"results/adapters/others_r{rank}"
        assert pretrained.read(f"{folder}/adapter_config.json")["r"] == rank
        report = pretrained.read(f"{folder}/training.json")
        assert report["lora"]["continued"] is False
        # one pass over the one task, its test pairs too, in two views: one batch
        assert (report["steps"], report["samples"]) == (1, 2)
        assert report["backend"] == "packed"
        assert report["notes"][0].startswith("backend packed: it computes qwen3 models")


def test_a_run_that_starts_from_one_uses_its_configuration(ready):
    folder = "results/runs/one_1folds/adapters/fold-0"
    call = ready(folder, settings=INIT)
    assert call.status == 0, call.said
    assert ready.read(f"{folder}/adapter_config.json")["r"] == 3
    assert ready.read(f"{folder}/training.json")["lora"]["continued"] is True


def test_a_run_can_start_from_one_that_lies_elsewhere(ready):
    folder = "results/runs/one_1folds/adapters/fold-0"
    ready.path("results/adapters/others_r3").rename(ready.path("mine"))
    made = ready(folder, "-n", settings=INIT)
    assert made.jobs["pretrain_adapter"] == 1, made.said
    taken = ready(folder, settings=INIT, adapters={"others_r3": {"path": "mine"}})
    assert taken.status == 0, taken.said
    assert "pretrain_adapter" not in taken.jobs
    assert ready.read(f"{folder}/training.json")["lora"]["continued"] is True
    gone = ready("results/runs/one_1folds/submission.json", "-n", settings=INIT, adapters={"others_r3": {"path": "no"}})
    refused(gone, "config: adapters/others_r3/path: no: no such folder", "expected an adapter")


def test_a_run_on_what_its_adapter_has_seen_is_refused_unless_allowed_and_says_so(ready):
    (seen,) = {"first", "second"} - set(ready.read("results/tasks/one.json"))
    call = ready("results/score_mine_1folds.json", settings=INIT)
    refused(call, f"others_r3 was trained on 1 of its tasks ({seen})", "set allow_seen: {others_r3: all}")
    assert not ready.path("results/score_mine_1folds.json").exists()
    call = ready("results/score_mine_1folds.json", settings=INIT, allow_seen={"others_r3": [seen]})
    assert call.status == 0, call.said
    (leak,) = ready.read("results/score_mine_1folds.json")["leakage"]
    assert leak == {"by": "others_r3", "datasets": ["others"], "tasks": [seen], "same_as": {seen: [seen]}}


def test_an_adapter_is_not_put_on_another_base(ready):
    bigram_model(ready.path("models/other"))
    config = ready.read("models/other/config.json")
    ready.write("models/other/config.json", config | {"max_position_embeddings": 9000})
    models = {"other": {"path": "models/other", "format": "embedded"}}
    runs = {"elsewhere": {"folds": 1, "model": "other", "dataset": "one", "settings": INIT}}
    call = ready("results/runs/elsewhere/adapters/fold-0", models=models, runs=runs)
    refused(call, "results/adapters/others_r3: trained on the base bigram with hash", "expected other with hash")


def test_without_solutions_a_leak_is_said_and_the_submission_made(copy):
    models = {"bigram": {**CONFIG["models"]["bigram"], "seen": ["mine"]}}
    refused(copy("results/score_solved_tiny.json", models=models), "bigram was trained on 2 of its tasks")
    submission = "results/runs/hidden_1folds/submission.json"
    call = copy(submission, models=models)
    assert call.status == 0, call.said
    assert call.jobs == {"select_attempts": 1}
    assert "warning: run hidden_1folds: bigram was trained on 1 of its tasks (second); its tasks have no" in call.said
    report = copy.read("results/runs/hidden_1folds/fallbacks.json")
    check_schema(report, "fallbacks", "fallbacks")
    assert report["leakage"] == [
        {"by": "bigram", "datasets": ["mine"], "tasks": ["second"], "same_as": {"second": ["second"]}}
    ]

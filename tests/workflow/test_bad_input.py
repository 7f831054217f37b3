"""Wrong input ends with status 1 and one line that names it, before anything is half written."""

from __future__ import annotations

import pytest
from tiny_workflow import refused

RAGGED = {"bad": {"train": [{"input": [[1, 2], [3]], "output": [[1]]}], "test": [{"input": [[1]]}]}}


@pytest.mark.parametrize(
    ("target", "config", "words"),
    [
        ("results/score_tiny.json", {"sed": 1}, ["more.yaml: top level", "'sed'", "did you mean 'seed'?"]),
        ("results/score_tiy.json", {}, ["run tiy: unknown", "did you mean tiny?"]),
        ("results/score_3folds.json", {}, ["run 3folds", "expected at most 2, the number of tasks of mine"]),
        ("results/score_tiny.json", {"model": "bigam"}, ["unknown model 'bigam'", "did you mean bigram?"]),
        ("results/score_hidden_1folds.json", {}, ["dataset hidden: no solutions", "submission.json instead"]),
        (
            "results/score_half_1folds.json",
            {"datasets": {"half": {"challenges": "challenges.json", "solutions": "nothing.json"}}},
            ["datasets/half/solutions", "nothing.json: no such file"],
        ),
        (
            "results/score_1folds.json",
            {"models": {"away": {"path": "models/away", "format": "embedded"}}, "model": "away"},
            ["models/away: no such folder, expected a model folder"],
        ),
        (
            "results/corpora/far",
            {"corpora": {"far": {"path": "far.zip", "layout": "tasks", "origin": "a library"}}},
            ["corpora/far: far.zip: no such file", "a zip archive of JSON files: a library"],
        ),
        (
            "results/scroe_tiny.json",
            {},
            ["results/scroe_tiny.json: no rule makes it, did you mean results/score_tiny.json?"],
        ),
        ("results/score_tiny-seedx.json", {}, ["no rule makes it, did you mean results/score_tiny.json?"]),
        ("all", {"run": "../x"}, ["more.yaml: run: run ../x: unknown"]),
        (
            "results/score_tiny.json",
            {"settings": {"training": {"targets": ["q_prj", "lm_head"]}}},
            [
                "run tiny: settings/training/targets: 'q_prj' is no linear layer of models/bigram",
                "did you mean q_proj?",
            ],
        ),
    ],
)
def test_what_is_wrong_with_the_config_or_the_run_is_said_before_any_job(blank, target, config, words):
    call = blank("--dry-run", target, **config)
    refused(call, *words)
    assert not blank.path("results").exists()


def test_a_key_that_stands_twice_and_a_malformed_value_of_the_command_line_are_said_before_any_job(fresh):
    fresh.write("tiny.yaml", "seed: 1\nseed: 2\n")
    refused(fresh("results/score_8folds.json"), "error: tiny.yaml: line 2: the key 'seed' stands twice, expected once")
    fresh.write("tiny.yaml", "seed: 1\n")
    call = fresh("results/score_8folds.json", "--config", 'settings={"search": {"min_prob": 2}}')
    refused(call, "error: --config: settings/search/min_prob: 2 is greater than the maximum of 1")
    assert not fresh.path("results").exists()


def test_entries_are_replaced_and_alternatives_too_in_jobs_that_are_processes_of_their_own(fresh):
    datasets, settings = {"quick": {"tasks": "mine.json"}}, {"training": {"warmup_steps": 1}}
    target = "results/runs/quick_1folds/adapters/fold-0"
    call = fresh(
        target, "--config", 'pretraining={"epochs": 1e0}', "seed=07", "workers=no", datasets=datasets, settings=settings
    )
    assert call.status == 0, call.said
    assert set(fresh.read("results/challenges/quick.json")) == {"first", "second"}
    job = next(fresh.path("results/logs/train_adapter").rglob("*.job.json"))
    given = fresh.read(str(job.relative_to(fresh.folder)))
    assert given["params"]["seed"] == 7
    assert given["params"]["settings"]["warmup_steps"] == 1
    assert "warmup_ratio" not in given["params"]["settings"]


def test_a_malformed_file_of_tasks_is_one_line_before_anything_runs(fresh):
    fresh.write("ragged.json", RAGGED)
    line = "error: ragged.json: task bad, train[0], input: row 1 has 1 cells where row 0 has 2, expected a rectangle"
    datasets = {"ragged": {"tasks": "ragged.json"}}
    call = fresh("results/tasks/ragged.json", datasets=datasets)
    refused(call, line)
    assert fresh.results() == {}


def test_a_model_without_the_formats_tokens_ends_with_one_line(fresh):
    models = {"other": {"path": "models/bigram", "format": "nvarc"}}
    call = fresh("results/models/other.json", models=models)
    refused(call, "models/bigram/tokenizer.json: no single token for '<|im_start|>'", "nvarc needs")
    assert fresh.results() == {}


def test_jobs_files_that_cannot_be_written_are_said_before_any_job(fresh):
    fresh.path("results/logs").mkdir(parents=True)
    fresh.write("results/logs/train_adapter", "a file in the folder's place")
    call = fresh("results/runs/hidden_1folds/adapters/fold-0")
    refused(call, "results/logs/train_adapter/hidden/", "fold-0.job.json: cannot be written (")
    assert set(fresh.results()) == set()

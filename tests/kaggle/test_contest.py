"""What becomes of a run in a contest: its settings stay, its dataset is the hidden tasks, what it needs comes along."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from shipped import CONFIG

from arcfold.arc.datasets import count_tasks
from arcfold.kaggle.contest import InContest, check_in_contest, extras_of, in_contest
from arcfold.runs.config import read_config
from arcfold.runs.runs import Run, resolve_run


def made(name: str, **changes: Any) -> tuple[dict[str, Any], Run, InContest]:
    config = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    run = resolve_run(config, name, lambda _: 400)
    contest = in_contest(config, run)
    check_in_contest(contest.config)
    return config, run, contest


def there(contest: InContest, tmp_path: Path, tasks: int) -> Run:
    """The run as the workflow takes it in the contest, on so many hidden tasks."""
    task = {"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[3]]}]}
    (tmp_path / "hidden.json").write_text(json.dumps({f"task{number}": task for number in range(tasks)}))
    (tmp_path / "config.json").write_text(json.dumps(contest.config))
    config = read_config([], [tmp_path / "config.json"])
    config["datasets"][config["dataset"]]["challenges"] = str(tmp_path / "hidden.json")
    return resolve_run(config, contest.name, lambda name: count_tasks(config, name))


@pytest.mark.parametrize(
    ("name", "its_name", "folds"),
    [
        ("8folds", "8folds", 8),
        ("arc2_evaluation_8folds_rank16-seed3", "8folds_rank16-seed3", 8),
        ("per_task", "per_task", 12),
        ("arc1_evaluation_per_task", "per_task", 12),
        ("thorough-seed1", "thorough-seed1", 8),
        ("8folds_foldsper_task", "8folds_foldsper_task", 12),
    ],
)
def test_settings_and_seed_are_the_runs_and_folds_adapt_to_the_hidden_tasks(
    name: str, its_name: str, folds: int, tmp_path: Path
) -> None:
    _, run, contest = made(name, seed=2)
    after = there(contest, tmp_path, 12)
    assert contest.name == after.name == its_name
    assert (after.settings, after.seed, after.model, after.folds) == (run.settings, run.seed, run.model, folds)
    assert after.dataset == "contest"


def test_a_dataset_of_the_runs_entry_and_a_deadline_do_not_go_along() -> None:
    _, _, contest = made(
        "mine", runs={"mine": {"folds": 2, "dataset": "arc2_evaluation"}}, deadline=5, container="docker://x"
    )
    assert contest.config["runs"] == {"mine": {"folds": 2}}
    assert not {"deadline", "container"} & set(contest.config)
    assert contest.config["studies"] == contest.config["benchmarks"] == {}


def test_files_that_say_what_was_seen_go_along_and_others_do_not() -> None:
    _, _, contest = made(
        "8folds",
        datasets={
            "seen_by_it": {"of": "mine", "shortest": 3},
            "mine": {"tasks": "/data/all/tasks.json"},
            "scored": {"challenges": "c.json", "solutions": "s.json"},
            "elsewhere": {"tasks": "gone.json"},
            "contest": {"tasks": "another.json"},
        },
        subsets={"new": {"of": ["scored"], "not_in": ["seen_by_it"]}},
        models={"base-15m": {**CONFIG["models"]["base-15m"], "seen": ["new", "contest", "00576224"]}},
    )
    assert contest.data == {
        "data/mine/tasks.json": "/data/all/tasks.json",
        "data/scored/c.json": "c.json",
        "data/scored/s.json": "s.json",
        "data/contest/another.json": "another.json",
    }
    assert contest.config["datasets"] == {
        "seen_by_it": {"of": "mine", "shortest": 3},
        "mine": {"tasks": "bundle/data/mine/tasks.json"},
        "scored": {"challenges": "bundle/data/scored/c.json", "solutions": "bundle/data/scored/s.json"},
        "contest": {"tasks": "bundle/data/contest/another.json"},
        "contest0": {"challenges": "challenges.json"},
    }
    assert set(contest.config["subsets"]) == {"new"}
    assert contest.config["dataset"] == "contest0"


def test_a_model_of_the_hub_whose_vocabulary_was_cut_is_a_folder_there() -> None:
    hub = {"hub": "a/b", "revision": "0" * 40, "format": "architects", "cut": True, "dtype": "float16"}
    _, _, contest = made("8folds", models={"large": hub}, model="large")
    assert contest.config["models"] == {"large": {"path": "bundle/model", "format": "architects", "dtype": "float16"}}


def test_an_adapter_that_the_run_starts_from_is_a_folder_there() -> None:
    _, run, contest = made("8folds_initarc2_new_training_r8")
    assert run.settings["training"]["init"] == "arc2_new_training_r8"
    assert contest.config["adapters"] == {"arc2_new_training_r8": {"path": "bundle/adapters/arc2_new_training_r8"}}
    assert set(contest.config["subsets"]) == {"arc2_new_training", "base_corpora"}


def test_what_most_runs_do_not_need_comes_with_those_that_do() -> None:
    config, run, _ = made("8folds")
    assert extras_of(config, run, {}) == ""
    assert extras_of(config, run, {"quantization_config": {"quant_method": "bitsandbytes"}}) == "-bitsandbytes"
    config, run, _ = made("8folds_optimizeradamw_8bit")
    assert extras_of(config, run, {}) == "-bitsandbytes"
    config, run, _ = made("8folds_backendunsloth")
    assert extras_of(config, run, {}) == "-unsloth"

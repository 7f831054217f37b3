"""The shipped config, and what is said of a wrong one before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from shipped import ROOT

from arcfold.jobs.files import InputError, check_schema
from arcfold.runs.runs import check_config, resolve_run


def checked(config: Any) -> None:
    """A config whose files are read and laid over each other; tests/runs/test_malformed.py has those too."""
    check_schema(config, "config", "config")
    check_config(config, "config")


def changed(config: Any, path: str, value: Any) -> Any:
    *parents, last = path.split("/")
    place = config
    for key in parents:
        place = place.setdefault(key, {})
    place[last] = value
    return config


def test_the_shipped_config_is_valid_and_runs_8folds_on_quick(config):
    checked(config)
    run = resolve_run(config, config["run"], lambda _: 16)
    assert (run.name, run.dataset, run.folds, run.seed) == ("8folds", "quick", 8, 0)


def test_every_key_of_the_shipped_config_has_a_sentence():
    """A comment stands in the lines above each key, or above the first of a group of like ones."""
    lines = (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()
    top = [number for number, line in enumerate(lines) if line[:1].isalpha()]
    assert {lines[number].split(":")[0] for number in top} == set(yaml.safe_load("\n".join(lines)))
    for number in top:
        inside = lines[number + 1].lstrip().startswith("#") if number + 1 < len(lines) else False
        assert lines[number - 1].startswith("#") or inside, lines[number]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("sed", 3, "top level: unknown key 'sed' (did you mean 'seed'?"),
        ("settings/training/lerning_rate", 1, "settings/training: unknown key 'lerning_rate' (did you mean 'learning_"),
        ("settings/traning", {}, "settings: unknown key 'traning' (did you mean 'training'?"),
        ("runs/8folds/setings", {}, "runs/8folds: unknown key 'setings' (did you mean 'settings'?"),
        ("models/base-15m/file", "x", "models/base-15m: "),
        ("seed", "1", "seed: '1' is not of type 'integer'"),
        ("seed", -1, "seed: -1 is less than the minimum of 0"),
        ("seed", 1.5, "seed: 1.5 is not of type 'integer'"),
        ("threads", 0, "threads: 0 is less than the minimum of 1"),
        ("run", None, "run: None is not of type 'string'"),
        ("settings/training/rank", "32", "settings/training/rank: '32' is not of type 'integer'"),
        ("settings/training/learning_rate", "1e-4", "settings/training/learning_rate: '1e-4' is not of type 'number'"),
        ("settings/training/learning_rate", 0, "settings/training/learning_rate: 0 is less than or equal to the mini"),
        ("settings/training/warmup_ratio", 0.6, "settings/training/warmup_ratio: 0.6 is greater than the maximum"),
        ("settings/training/targets", [], "settings/training/targets: [] "),
        ("settings/training/rslora", "yes", "settings/training/rslora: 'yes' is not of type 'boolean'"),
        ("settings/search/min_prob", 0, "settings/search/min_prob: 0 is less than or equal to the minimum of 0"),
        ("settings/search/min_prob", 1.1, "settings/search/min_prob: 1.1 is greater than the maximum of 1"),
        ("settings/rescoring/views", 0, "settings/rescoring/views: 0 is less than the minimum of 1"),
        ("settings/selection/method", "best", "settings/selection/method: 'best' is not one of ['product_of_experts'"),
        ("settings/folds/split", "even", "settings/folds/split: 'even' is not one of ['balanced', 'random']"),
        ("runs/mine", {}, "runs/mine: no 'folds', expected a number or per_task"),
        ("runs/mine", {"folds": 0}, "runs/mine/folds: 0 "),
        ("runs/8folds/folds", 7, "runs/8folds/folds: 7, expected 8 as the name says"),
        ("runs/theirs", {"submission": "a.json", "folds": 2}, "runs/theirs: "),
        ("runs/theirs", {"submission": "a.json", "settings": {}}, "expected submission and dataset, without folds"),
        ("runs/3folds", {"submission": "a.json"}, "runs/3folds: a submission from elsewhere, expected a name without"),
        ("keep_going", "yes", "keep_going: 'yes' is not of type 'boolean'"),
        ("runs/my-run", {"folds": 2}, "runs: 'my-run', expected letters, digits and underscores"),
        ("model", "base-15", "model: unknown model 'base-15', expected one of base-15m (did you mean base-15m?)"),
        ("runs/8folds/model", "none", "runs/8folds/model: unknown model 'none', expected one of base-15m"),
        ("models/base-15m/format", "plain", "models/base-15m/format: 'plain', expected one of embedded, architects"),
        ("models/x", {"format": "embedded"}, "models/x: {'format': 'embedded'}, expected path, or hub and revision"),
        ("models/x", {"hub": "a/b", "format": "embedded"}, "models/x: "),
        (
            "models/x",
            {"hub": "a/b", "revision": "main", "format": "embedded"},
            "models/x/revision: 'main', expected a commit of the hub",
        ),
        ("models/base-15m/quantization", "8bit", "models/base-15m/quantization: '8bit' is not one of ['none', '4bit']"),
        ("settings/training/backend", "fast", "settings/training/backend: 'fast' is not one of ['auto', 'packed', "),
        ("report_to", True, "report_to: True is not of type 'string'"),
        ("dataset", "quik", "dataset: dataset quik: unknown, expected one of"),
        ("dataset", "quik", "(did you mean quick?)"),
        ("runs/8folds/dataset", "quik", "runs/8folds/dataset: dataset quik: unknown"),
        ("datasets/mine", {"of": "nothing", "shortest": 1}, "datasets/mine/of: dataset nothing: unknown"),
        ("datasets/mine", {"tasks": "a", "challenges": "b"}, "datasets/mine: "),
        ("datasets/mine", {"solutions": "b"}, "datasets/mine: "),
        ("datasets/mine", {"of": "quick"}, "datasets/mine: "),
        ("datasets/mine", {"of": "mine", "shortest": 1}, "datasets/mine/of: goes round in a circle"),
        ("datasets/arc1_training", {"tasks": "x"}, "datasets/arc1_training: the name is taken by ARC itself"),
        ("datasets/db695cfb", {"tasks": "x"}, "datasets/db695cfb: the name is taken by ARC itself"),
        ("datasets/arc2_new", {"tasks": "x"}, "subsets/arc2_new: a dataset has the same name, expected another one"),
        ("datasets/my-tasks", {"tasks": "x"}, "datasets: 'my-tasks', expected letters, digits and underscores"),
        ("subsets/mine", {"of": ["quik"], "not_in": ["quick"]}, "subsets/mine/of: dataset quik: unknown"),
        ("subsets/mine", {"of": ["quick"], "not_in": ["mine"]}, "subsets/mine/of: goes round in a circle"),
        ("subsets/mine", {"of": ["quick"]}, "subsets/mine: 'not_in' is a required property"),
    ],
)
def test_a_wrong_config_ends_in_one_line_with_key_and_remedy(config, path, value, said):
    with pytest.raises(InputError) as error:
        checked(changed(config, path, value))
    line = str(error.value)
    assert line.startswith("config: ")
    assert said in line
    assert any(word in line for word in ("expected", "required", "did you mean", "match", "minimum"))
    assert "\n" not in line


def test_a_circle_through_several_datasets_and_subsets_is_found(config):
    config["datasets"] |= {"one": {"of": "two", "shortest": 1}, "three": {"of": "one", "shortest": 1}}
    config["subsets"]["two"] = {"of": ["quick"], "not_in": ["three"]}
    with pytest.raises(InputError, match="goes round in a circle"):
        checked(config)
    config["subsets"]["two"]["not_in"] = ["quick"]
    checked(config)


def test_the_upper_layers_warm_up_replaces_the_lower_ones(config):
    config["runs"]["mine"] = {"folds": 2, "settings": {"training": {"warmup_steps": 5}}}
    training = resolve_run(config, "mine", lambda _: 16).settings["training"]
    assert training["warmup_steps"] == 5
    assert "warmup_ratio" not in training

"""What the config says of corpora and base models is checked before anything runs."""

import copy

import pytest

from arcfold.jobs.files import InputError
from arcfold.runs.recipes import check_recipes

GOOD = {
    "corpora": {
        "archived": {"path": "a.zip", "layout": "tasks"},
        "fetched": {"url": "http://x/a.zip", "sha256": "0" * 64, "layout": "pairs"},
        "made": {"families": {"tasks": 1}},
        "development": {"dataset": "arc1_training", "split": "development"},
    },
    "base_models": {
        "first": {"corpora": {"archived": 1, "made": 2}, "held_out": ["development"], "budget": {"steps": 1}},
        "second": {"corpora": {"made": 1}, "goes_on_from": "first", "budget": {"steps": 1}},
    },
}


def test_good_recipes_and_no_recipes_pass():
    check_recipes(GOOD, "config")
    check_recipes({}, "config")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("corpora", "archived"), {"layout": "tasks"}, "expected one of path, url, dataset and families"),
        (("corpora", "archived"), {"path": "a", "dataset": "arc1_training"}, "expected one of path"),
        (("corpora", "archived"), {"path": "a"}, "no layout"),
        (("corpora", "fetched"), {"url": "http://x", "layout": "tasks"}, "no sha256"),
        (("base_models", "first", "corpora"), {"unknown": 1}, "'unknown', expected one of archived"),
        (("base_models", "first", "held_out"), ["unknown"], "first/held_out: 'unknown'"),
        (("base_models", "first", "corpora"), {"development": 1}, "development is held out"),
        (("base_models", "first", "adapting"), {"to": "made"}, "none of its held_out"),
        (("base_models", "first", "goes_on_from"), "third", "no base model 'third'"),
        (("base_models", "first", "goes_on_from"), "second", "goes on from itself"),
    ],
)
def test_a_wrong_recipe_is_refused_by_its_key(path, value, said):
    config = copy.deepcopy(GOOD)
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(InputError, match=said):
        check_recipes(config, "config")

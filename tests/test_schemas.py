import json
from dataclasses import MISSING, fields

import pytest
from jsonschema import Draft7Validator
from shipped import ROOT

from arcfold.arc.folds import SPLITS
from arcfold.arc.selection import METHODS
from arcfold.arc.tasks import tasks_to_json
from arcfold.jobs.files import InputError, check_schema
from arcfold.training.backends import AUTO, SAME
from arcfold.training.job import BACKENDS, OPTIMIZERS, TrainingSettings

SCHEMAS = sorted((ROOT / "schemas").glob("*.schema.json"))


def schema(name):
    return json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name.split(".")[0])
def test_a_schema_is_valid_and_has_a_title(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    Draft7Validator.check_schema(content)
    assert content["title"]


def test_every_setting_has_a_description_and_stands_in_the_shipped_config():
    shipped = (ROOT / "config.yaml").read_text(encoding="utf-8")
    for section, part in schema("config")["properties"]["settings"]["properties"].items():
        assert part["additionalProperties"] is False
        for key, value in part["properties"].items():
            assert value["description"], f"{section}/{key}"
            assert key in shipped, f"{section}/{key}"


def test_the_config_offers_what_the_library_has():
    settings = schema("config")["properties"]["settings"]["properties"]
    assert set(settings["folds"]["properties"]["split"]["enum"]) == set(SPLITS)
    assert set(settings["selection"]["properties"]["method"]["enum"]) == set(METHODS)
    assert set(settings["training"]["properties"]["backend"]["enum"]) == {AUTO, *SAME, *BACKENDS}
    assert set(settings["training"]["properties"]["optimizer"]["enum"]) == set(OPTIMIZERS)
    needed = {field.name for field in fields(TrainingSettings) if field.default is MISSING}
    assert needed <= set(settings["training"]["properties"])


def test_arc_passes_the_tasks_schema(arc):
    check_schema(json.loads(json.dumps(tasks_to_json(arc["arc2_evaluation"]))), "tasks", "x")


@pytest.mark.parametrize(
    "grid",
    [[], [[]], [[10]], [[-1]], [[0.5]], [["1"]], [[0] * 31], [[0]] * 31, [0], None],
    ids=lambda grid: str(grid)[:9],
)
def test_the_schemas_refuse_what_is_no_grid(grid):
    attempt = {"attempt_1": [[1]], "attempt_2": grid}
    with pytest.raises(InputError, match="x: a/0/attempt_2"):
        check_schema({"a": [attempt]}, "submission", "x")


def test_a_submission_has_two_attempts_and_nothing_else():
    check_schema({"a": [{"attempt_1": [[1]], "attempt_2": [[1]]}]}, "submission", "x")
    for wrong in ({"attempt_1": [[1]]}, {"attempt_1": [[1]], "attempt_2": [[1]], "attempt_3": [[1]]}):
        with pytest.raises(InputError):
            check_schema({"a": [wrong]}, "submission", "x")

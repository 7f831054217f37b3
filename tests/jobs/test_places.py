"""Where relative paths of the config lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from arcfold.jobs.places import configs, found, missing, placed, unplaced


@pytest.fixture
def workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workflow's folder; the working folder is another one."""
    for name in ("workflow", "here"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "both.json").touch()
    (tmp_path / "workflow/models/small").mkdir(parents=True)
    (tmp_path / "workflow/config.yaml").touch()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "workflow"


def test_a_path_is_looked_up_where_the_user_works_and_then_beside_the_snakefile(workflow: Path) -> None:
    assert found("both.json", workflow) == "both.json"
    assert found("models/small", workflow) == f"{workflow}/models/small"
    assert found("nowhere.json", workflow) == "nowhere.json"
    assert found("/both.json", workflow) == "/both.json"


def test_a_miss_names_both_places(workflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing("x.json", workflow=workflow) == (
        f"x.json: no such file, neither in {workflow.parent}/here nor in {workflow}"
    )
    assert missing("/x.json", workflow=workflow) == "/x.json: no such file"
    monkeypatch.chdir(workflow)
    assert missing("x", "folder", workflow) == "x: no such folder"


def test_every_path_of_a_config_is_placed_and_nothing_else(workflow: Path) -> None:
    config = {
        "dataset": "both.json",
        "datasets": {
            "a": {"tasks": "models/small"},
            "b": {"challenges": "both.json", "solutions": "models"},
            "c": {"of": "models"},
        },
        "models": {"m": {"path": "models/small", "format": "models"}},
        "corpora": {"o": {"path": "config.yaml"}},
        "runs": {"r": {"submission": "config.yaml", "dataset": "models"}},
    }
    there = str(workflow)
    assert placed(config, workflow) == {
        "dataset": "both.json",
        "datasets": {
            "a": {"tasks": f"{there}/models/small"},
            "b": {"challenges": "both.json", "solutions": f"{there}/models"},
            "c": {"of": "models"},
        },
        "models": {"m": {"path": f"{there}/models/small", "format": "models"}},
        "corpora": {"o": {"path": f"{there}/config.yaml"}},
        "runs": {"r": {"submission": f"{there}/config.yaml", "dataset": "models"}},
    }
    assert unplaced(placed(config, workflow), workflow) == config


def test_a_config_where_the_user_works_lies_over_the_defaults(workflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert configs(workflow) == [workflow / "config.yaml"]
    Path("config.yaml").touch()
    assert configs(workflow) == [workflow / "config.yaml", Path("config.yaml")]
    monkeypatch.chdir(workflow)
    assert configs(workflow) == [Path("config.yaml")]

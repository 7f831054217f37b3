"""What of the store is kept: all that a run of the config, of a study, or with results may need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arcfold.planning.budget import new_budget
from arcfold.runs.cleaning import unneeded
from arcfold.runs.ensembles import resolve


def test_runs_of_studies_and_runs_that_have_results_need_their_files(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config["runs"]["both"] = {"ensemble": ["8folds", "4folds"]}
    config["studies"] = {"mine": {"base": "8folds", "grid": {"rank": [5]}}}

    def stored(name: str) -> set[str]:
        run = resolve(config, name, lambda _: 16)
        paths = [*run.paths("adapters"), *run.paths("candidates"), *run.paths("rescored"), *run.scorings()]
        for folder in (made := {path.rpartition("/")[0] for path in paths}):
            Path(folder).mkdir(parents=True, exist_ok=True)
        return made

    needed = stored("8folds-seed3") | stored("8folds_rank5-seed2") | stored("both-seed4") | stored("8folds_rank7-seed1")
    gone = stored("8folds_rank6")
    Path("results/runs/both-seed4").mkdir(parents=True)
    Path("results/score_8folds_rank7-seed1.json").touch()
    Path("results/score_no_such_run.json").touch()
    assert set(unneeded(config, lambda _: 16)) == gone - needed
    assert len(gone - needed) == 3


def test_what_a_deadline_has_cut_is_needed_as_long_as_its_run_is(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = {"name": "8folds", "dataset": "quick", "folds": 1, "seed": 0, "model": "base-15m"}
    budget = new_budget(run, [{"training": {}, "search": {}, "rescoring": {}}], 1, None)
    cut = "results/store/candidates/quick/1folds-seed0/0123456789ab"
    budget["folds"]["0"]["steps"]["search"] = {"rung": 0, "cut": {"views": 1}, "predicted": None, "store": cut}
    Path(cut).mkdir(parents=True)
    path = Path("results/runs/8folds/budget.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(budget))
    assert unneeded(config, lambda _: 16) == []
    path.unlink()
    assert unneeded(config, lambda _: 16) == [cut]

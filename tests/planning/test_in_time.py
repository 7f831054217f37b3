"""A fold under a deadline, in this process: a failure costs its own tasks, and what was found is answered."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from made_models import bigram_model
from shipped import CONFIG
from tiny_workflow import CONFIG as TINY
from tiny_workflow import TASKS, without_outputs

from arcfold.arc.tasks import read_tasks
from arcfold.jobs import checksums
from arcfold.jobs.files import InputError, check_schema, read_json, write_json
from arcfold.models.folder import model_record
from arcfold.planning import budget as budgets
from arcfold.planning import overhead
from arcfold.planning.in_time import Fold, do_fold
from arcfold.planning.rungs import rungs_of
from arcfold.planning.so_far import NAME
from arcfold.planning.summary import said_of
from arcfold.runs.predictions import read_submission

SETTINGS = {name: {**section, **TINY["settings"].get(name, {})} for name, section in CONFIG["settings"].items()}
RUN = {"name": "tiny", "dataset": "mine", "folds": 2, "seed": 0, "model": "bigram", "settings": SETTINGS}
RUNGS = rungs_of({step: SETTINGS[step] for step in budgets.STEPS}, [{"training": {"epochs": 0.5}}])
FOLDER = Path("results/runs/tiny")
LONG = {"began": time.time(), "deadline": time.time() + 3600, "stop": time.time() + 3600}
LAST = len(RUNGS) - 1


@pytest.fixture
def fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fold:
    """The first of two folds, of which nothing is done."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    bigram_model(Path("models/bigram"))
    write_json("tasks.json", {name: without_outputs(task) for name, task in TASKS.items()})
    write_json("folds.json", {"seed": 0, "folds": [["first"], ["second"]]}, "folds")
    write_json("model.json", model_record("bigram", "models/bigram", "embedded"), "model")
    weights = sorted(map(str, Path("models/bigram").iterdir()))
    inputs = {"tasks": "tasks.json", "folds": "folds.json", "model": "model.json", "weights": weights, "init": []}
    loading, config = {"dtype": "float32", "quantization": "none"}, {"report_to": "none", "keep_going": True}
    made = Fold(0, RUN, inputs, "models/bigram", loading, "auto", True, 0, 1, config)
    begin()
    return made


def begin(clock=LONG, replayed=None) -> None:
    """What a command does before its first job."""
    path = FOLDER / "budget.json"
    tasks = read_tasks("tasks.json")
    budgets.begin(path, RUN, RUNGS, tasks, devices=1, folds=(0, 1), clock=clock, replayed=replayed)


def answers():
    return read_submission(FOLDER / NAME, read_tasks("tasks.json"))


def damage(fold: Fold) -> None:
    """The weights of its adapter, without a hash by which that would be known."""
    adapter = Path(fold.paths(fold.settings({}))["training"])
    checksums.drop([str(adapter)])
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:40])


def undone(fold: Fold, *steps: str) -> None:
    """Removes what these steps have made."""
    budget = read_json(FOLDER / "budget.json", "budget")
    for step in steps:
        path = fold.paths(fold.settings({}))[step]
        Path(path).unlink()
        checksums.drop([path])
        del budget["folds"][str(fold.number)]["steps"][step]
    write_json(FOLDER / "budget.json", budget, "budget")


def test_a_fold_that_fails_costs_its_own_tasks(fold: Fold) -> None:
    do_fold(fold)
    first = answers()
    other = replace(fold, number=1)
    do_fold(other)
    undone(other, "search", "rescoring")
    damage(other)
    begin()
    kept = answers()
    assert kept["first"] == first["first"]
    with pytest.raises(InputError, match=r"adapter_model\.safetensors"):
        do_fold(other)
    assert answers() == kept
    budget = read_json(FOLDER / "budget.json", "budget")
    check_schema(budget, "budget", "budget")
    assert "adapter_model.safetensors" in budget["folds"]["1"]["failed"]
    assert overhead.is_over(budget["folds"]["1"])
    assert said_of(FOLDER / "budget.json", 0.0)[0] == (
        "tiny: 1 of 2 folds in full, 0 with settings that gave way, 0 out of time, 1 failed"
    )


def test_a_rescoring_that_fails_leaves_the_answers_of_the_search(fold: Fold) -> None:
    # the file of the full run cannot be written
    blocked = Path(fold.paths(fold.settings({}))["rescoring"])
    (blocked / "there").mkdir(parents=True)
    do_fold(fold)
    steps = read_json(FOLDER / "budget.json", "budget")["folds"]["0"]["steps"]
    assert {step: of["rung"] for step, of in steps.items()} == {"training": 0, "search": 0, "rescoring": LAST}
    assert steps["rescoring"]["cut"] == {"views": 0}
    rescored = read_json(FOLDER / "rescored/fold-0.json", "rescored")["tasks"]["first"]
    assert rescored["scoring_views"] == []
    assert any(output["candidates"] for output in rescored["test"])
    # what was decided once more is replayed as it was decided in the end
    begin(clock=None, replayed=read_json(FOLDER / "budget.json", "budget"))
    before = (FOLDER / "rescored/fold-0.json").read_bytes()
    do_fold(fold)
    assert (FOLDER / "rescored/fold-0.json").read_bytes() == before


def test_adapters_that_do_not_stay_go_when_their_fold_is_done(fold: Fold) -> None:
    temporary = replace(fold, keep_adapters=False, run={**RUN, "settings": SETTINGS})
    do_fold(temporary)
    paths = temporary.paths(temporary.settings({}))
    assert not Path(paths["training"]).exists()
    assert read_json(f"{paths['training']}.json", "training")["steps"] == 2
    assert (FOLDER / "adapters/fold-0.json").resolve() == Path(f"{paths['training']}.json").resolve()
    made, first = (FOLDER / "rescored/fold-0.json").read_bytes(), answers()
    # asked for again, nothing is trained again for an adapter that is gone
    shutil.rmtree(FOLDER)
    begin()
    do_fold(temporary)
    assert not Path(paths["training"]).exists()
    assert ((FOLDER / "rescored/fold-0.json").read_bytes(), answers()) == (made, first)

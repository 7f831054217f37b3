"""What a deadline cost is said in a few lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from arcfold.jobs.files import write_json
from arcfold.planning.budget import STEPS, new_budget
from arcfold.planning.summary import said_of

RUN = {"name": "mine", "dataset": "a", "folds": 4, "seed": 0, "model": "m"}


def fold(**cuts):
    return {"steps": {step: {"rung": 0, "cut": cuts.get(step, {}), "predicted": 1.0} for step in STEPS}}


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (60.0, "40 s before the deadline"),
        (190.0, "1 min 30 s after the deadline"),
    ],
)
def test_folds_are_counted_by_what_became_of_them(tmp_path: Path, now: float, last: str) -> None:
    rungs = [{step: {} for step in STEPS}]
    budget = new_budget(RUN, rungs, 1, {"began": 0.0, "deadline": 100.0, "stop": 90.0})
    cut = fold(search={"views": 4}, rescoring={"views": 4})
    failed = {"steps": {}, "failed": "x"}
    budget["folds"] = {"0": fold(), "1": cut, "2": {"steps": {}, "dropped": "0 s are left"}, "3": failed}
    path = tmp_path / "budget.json"
    write_json(path, budget, "budget")
    assert said_of(path, now) == [
        "mine: 1 of 4 folds in full, 1 with settings that gave way, 1 out of time, 1 failed",
        "gave way: rescoring/views 4 (1 fold), search/views 4 (1 fold)",
        last,
    ]
    budget["clock"]["scale"] = 0.05
    write_json(path, budget, "budget")
    would = "have ended in time, with what gave way here" if now < 100 else "not have ended in time"
    assert said_of(path, now)[-1] == f"rehearsal at 0.05 of the time: the run would {would}"
    assert said_of(tmp_path / "none.json", now) == []

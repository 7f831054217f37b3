"""Scores of different data or scorers are not compared."""

from __future__ import annotations

from typing import Any

import pytest
from made_tasks import task

from arcfold.jobs.files import InputError
from arcfold.runs.versions import check_comparable, data_version

ONE = [task("a", [("1", "2")], [("3", "4")]), task("b", [("1", "2")], [("3", "4"), ("5", "6")])]
OTHER = [ONE[0], task("b", [("1", "2")], [("3", "4"), ("5", "7")])]


def score(tasks: Any, scorer: str = "one") -> dict[str, Any]:
    return {"data": data_version("mine", "mine.json", tasks), "scorer": scorer}


def test_two_versions_of_a_dataset_that_differ_in_one_task_are_not_compared() -> None:
    check_comparable({"a.json": score(ONE), "b.json": score(ONE)})
    with pytest.raises(InputError, match=r"^b\.json: scored on mine \(mine\.json, 3 outputs, .*a\.json on mine"):
        check_comparable({"a.json": score(ONE), "b.json": score(OTHER)})


def test_scores_of_two_scorers_are_not_compared() -> None:
    with pytest.raises(InputError, match=r"^b\.json: counted by scorer two, a\.json by one"):
        check_comparable({"a.json": score(ONE), "b.json": score(ONE, "two")})

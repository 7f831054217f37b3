"""Candidates and scores of several members, put together by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arcfold.jobs.files import InputError
from arcfold.jobs.holes import Hole, leave_hole
from arcfold.runs.joining import by_member, found_by_others, joined, read_entries

TASK = {"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[3]]}]}
A, B, C = [[1]], [[2]], [[3, 3]]
VIEW = {"symmetry": "identity", "colours": list(range(10)), "order": [0]}
TURNED = {**VIEW, "symmetry": "rotate90"}


def found(grid: Any, *views: tuple[int, float]) -> dict[str, Any]:
    return {"grid": grid, "found": [{"view": view, "log_prob": log_prob} for view, log_prob in views]}


def searched(views: int, *candidates: Any, **more: Any) -> dict[str, Any]:
    output = {"candidates": list(candidates), "dropped": 1, "prompt_tokens": [5] * views, "margin": 0.1}
    return {"views": [VIEW] * views, "test": [{**output, **more}]}


def scored(*candidates: tuple[dict[str, Any], list[float]], **more: Any) -> dict[str, Any]:
    made = [{**candidate, "scored": scores} for candidate, scores in candidates]
    return {"scoring_views": [VIEW, TURNED], "test": [{"candidates": made, **more}]}


def test_a_member_is_given_what_only_others_found_with_the_views_of_all_counted_on() -> None:
    first = searched(2, found(A, (0, -0.5), (1, -0.7)))
    second = searched(3, found(B, (2, -1.0)), found(A, (0, -0.2)), found(C, (0, -1.5), (1, -0.4)))
    entry = found_by_others([first, second], 0)
    assert len(entry["views"]) == 5
    (output,) = entry["test"]
    assert output["candidates"] == [found(C, (2, -1.5), (3, -0.4)), found(B, (4, -1.0))]
    (none,) = found_by_others([first, second], 1)["test"]
    assert none["candidates"] == []


def test_all_candidates_have_the_scores_of_all_members_in_their_order() -> None:
    first = scored((found(A, (0, -0.5)), [-1.0, -2.0]))
    second = scored((found(B, (1, -0.3)), [-4.0, -5.0]), (found(A, (0, -0.6)), [-1.5, -2.5]))
    others = [scored((found(B, (3, -0.3)), [-0.1, -0.2])), scored()]
    entry = joined([first, second], others, [2, 2], "x")
    assert entry["scoring_views"] == [VIEW, TURNED, VIEW, TURNED]
    (output,) = entry["test"]
    assert output["candidates"] == [
        {**found(A, (0, -0.5), (2, -0.6)), "scored": [-1.0, -2.0, -1.5, -2.5]},
        {**found(B, (3, -0.3)), "scored": [-0.1, -0.2, -4.0, -5.0]},
    ]


def test_what_no_member_searched_stays_so_and_what_only_some_did_is_refused() -> None:
    skipped = scored(skipped="too long")
    assert joined([skipped, skipped], [skipped, skipped], [1, 1], "x")["test"] == [
        {"candidates": [], "skipped": "too long"}
    ]
    with pytest.raises(InputError, match=r"task a, test\[0\]: not searched by every member \(too long\)"):
        joined([skipped, scored()], [skipped, scored()], [1, 1], "task a")
    of_both = [searched(1, skipped="too long"), searched(1, found(A, (0, -0.5)))]
    assert found_by_others(of_both, 0)["test"][0]["candidates"] == []


def test_files_stand_member_by_member() -> None:
    assert by_member(["a", "b", "c", "d"], [3, 1]) == [["a", "b", "c"], ["d"]]


def test_only_the_folds_of_the_wanted_tasks_are_read_and_what_is_missing_is_one_line(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.json"
    tasks.write_text(json.dumps(dict.fromkeys("abc", TASK)))
    (tmp_path / "folds.json").write_text(json.dumps({"seed": 0, "folds": [["a"], ["b"], ["c"]]}))
    files = [str(tmp_path / f"fold-{fold}.json") for fold in range(3)]
    for fold, task_id in enumerate("ab"):
        content = {"fold": fold, "tasks": {task_id: scored()}, "provenance": {}}
        Path(files[fold]).write_text(json.dumps(content))
    leave_hole(files[2], "train_adapter", InputError("diverged"))
    entries, contents = read_entries(tmp_path / "folds.json", files, ["b", "a"], "rescored", tasks)
    assert list(entries) == ["b", "a"]
    assert len(contents) == 2
    with pytest.raises(Hole, match="train_adapter failed: diverged"):
        read_entries(tmp_path / "folds.json", files, ["c"], "rescored", tasks)
    with pytest.raises(InputError, match="no task d, expected the tasks of the other members"):
        read_entries(tmp_path / "folds.json", files, ["d"], "rescored", tasks)
    Path(files[0]).write_text(Path(files[1]).read_text())
    with pytest.raises(InputError, match=r"fold-0.json: no task a, expected all of fold 0"):
        read_entries(tmp_path / "folds.json", files, ["a"], "rescored", tasks)

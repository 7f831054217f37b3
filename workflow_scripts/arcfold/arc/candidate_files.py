"""Files of candidates and of rescored ones, read back: what their schemas cannot say of them.

The search writes a file for each fold, the rescoring reads it, the selection and the score read what that writes;
each may lie on disk for long, be copied, or be another run's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arcfold.arc.tasks import Task, grid_from_json, read_tasks
from arcfold.arc.views import View
from arcfold.jobs.files import InputError, one_line, read_json


def read_candidates(path: str | Path, fold: int, tasks: str | Path) -> tuple[dict[str, Any], list[Task]]:
    """The content of a candidates file, and its tasks, in its order.

    tasks: the file that they stand in
    Raises InputError for a file that is none, is of another fold, or does not fit the tasks.
    """
    found: dict[str, Any] = read_json(path, "candidates")
    if found["fold"] != fold:
        raise InputError(f"{path}: candidates of fold {found['fold']}, expected those of fold {fold}")
    known = {task.id: task for task in read_tasks(tasks)}
    for task_id, entry in found["tasks"].items():
        check_outputs(path, task_id, entry, known, str(tasks))
    return found, [known[task_id] for task_id in found["tasks"]]


def unscored(tasks: Mapping[str, Any]) -> dict[str, Any]:
    """The `tasks` of a rescored file in which nothing is scored yet. tasks: those of a candidates file"""
    return {
        task_id: {
            "scoring_views": [],
            "test": [
                {"candidates": [{**candidate, "scored": []} for candidate in output["candidates"]]}
                | {key: output[key] for key in ("skipped",) if key in output}
                for output in entry["test"]
            ],
        }
        for task_id, entry in tasks.items()
    }


def check_outputs(
    path: str | Path, task_id: str, entry: Mapping[str, Any], known: Mapping[str, Task], tasks: str | Path
) -> None:
    """Whether the candidates of a task in a file (or the rescored ones) are those of one of the tasks that are known.

    entry: as its schema has it. Raises InputError, naming the place in the file, for another task, another number of
    test inputs, a grid that is none or stands twice, and a view that was not searched.
    """
    where = f"{path}: task {one_line(task_id, 100)}"
    if task_id not in known:
        raise InputError(f"{where}: no such task in {tasks}, expected candidates of its tasks")
    if len(entry["test"]) != len(known[task_id].test):
        raise InputError(
            f"{where}: {len(entry['test'])} test outputs, expected {len(known[task_id].test)}, as many as in {tasks}"
        )
    for place, view in enumerate(entry.get("views") or entry["scoring_views"]):
        try:
            View.from_json(view)
        except InputError as error:
            raise InputError(f"{where}, view {place}: {error}") from None
    for test, output in enumerate(entry["test"]):
        grids = set()
        for place, candidate in enumerate(output["candidates"]):
            here = f"{where}, test[{test}], candidate {place}"
            grid = grid_from_json(candidate["grid"], here)
            if grid in grids:
                raise InputError(f"{here}: the same grid as one before it, expected each once")
            grids.add(grid)
            views = len(entry["views"]) if "views" in entry else None
            if views is not None and any(found["view"] >= views for found in candidate["found"]):
                raise InputError(f"{here}: found in view {max(v['view'] for v in candidate['found'])} of {views}")
            if "scored" in candidate and len(candidate["scored"]) != len(entry["scoring_views"]):
                raise InputError(
                    f"{here}: {len(candidate['scored'])} scores, expected one for each of the "
                    f"{len(entry['scoring_views'])} scoring views"
                )

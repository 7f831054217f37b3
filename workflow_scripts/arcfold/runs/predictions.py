"""A run's predictions, read back from its files."""

from __future__ import annotations

from collections.abc import Sequence

from arcfold.arc.candidate_files import check_outputs
from arcfold.arc.selection import Candidate
from arcfold.arc.tasks import Grid, Task, grid_from_json
from arcfold.jobs.files import InputError, one_line, read_json


def read_rescored(paths: Sequence[str], tasks: Sequence[Task]) -> dict[str, list[list[Candidate]]]:
    """The candidates of each task and test input, of all folds; the files in the order of the folds.

    Raises InputError unless each task stands in exactly one file, with as many test inputs as it has.
    """
    known = {task.id: task for task in tasks}
    found: dict[str, list[list[Candidate]]] = {}
    for fold, path in enumerate(paths):
        content = read_json(path, "rescored")
        if content["fold"] != fold:
            raise InputError(f"{path}: candidates of fold {content['fold']}, expected those of fold {fold}")
        for task_id, entry in content["tasks"].items():
            check_outputs(path, task_id, entry, known, "the run's tasks")
            if task_id in found:
                raise InputError(f"{path}: task {task_id}: stands in an earlier fold too, expected it once")
            found[task_id] = [
                [
                    Candidate(
                        _as_grid(candidate["grid"]),
                        tuple(view["log_prob"] for view in candidate["found"]),
                        tuple(candidate["scored"]),
                    )
                    for candidate in output["candidates"]
                ]
                for output in entry["test"]
            ]
    for task in tasks:
        if task.id not in found:
            raise InputError(f"{paths[-1]}: task {task.id} is in no fold's rescored file, expected it in one")
    return found


def read_submission(path: str, tasks: Sequence[Task]) -> dict[str, list[tuple[Grid, Grid]]]:
    """The two attempts of each task and test input.

    Raises InputError unless it has the tasks, all of them and no others, with as many outputs as they have.
    """
    attempts = {
        task_id: [
            (
                grid_from_json(output["attempt_1"], f"{path}: {one_line(task_id, 100)}/{place}/attempt_1"),
                grid_from_json(output["attempt_2"], f"{path}: {one_line(task_id, 100)}/{place}/attempt_2"),
            )
            for place, output in enumerate(outputs)
        ]
        for task_id, outputs in read_json(path, "submission").items()
    }
    for task in tasks:
        if task.id not in attempts:
            raise InputError(f"{path}: task {task.id} is missing, expected attempts for each of the {len(tasks)} tasks")
        if len(attempts[task.id]) != len(task.test):
            raise InputError(f"{path}: task {task.id}: {len(attempts[task.id])} outputs, expected {len(task.test)}")
    if unknown := sorted(attempts.keys() - {task.id for task in tasks}):
        raise InputError(f"{path}: task {one_line(unknown[0], 100)} is none of the tasks, expected only these")
    return attempts


def _as_grid(rows: Sequence[Sequence[int]]) -> Grid:
    return tuple(tuple(row) for row in rows)

"""A run's predictions, read back from its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcfold.arc.candidate_files import check_outputs
from arcfold.arc.misses import Reason, Unsearched
from arcfold.arc.selection import Candidate
from arcfold.arc.tasks import Grid, Task, grid_from_json
from arcfold.jobs.files import InputError, read_json
from arcfold.jobs.holes import OUT_OF_TIME, read_hole

NAMED = 5
"""How many tasks a line names at most."""


@dataclass(frozen=True)
class Predictions:
    """What the search of a run found, and where it found nothing because it did not look."""

    candidates: Mapping[str, list[list[Candidate]]]
    """For each task and test input, none where it is a hole."""
    holes: Mapping[str, Mapping[int, Unsearched]]
    """Why a test input was not searched, by its task and its number."""
    failed: Sequence[Mapping[str, Any]]
    """The folds whose job failed: `fold`, `rule`, `reason`."""

    @property
    def n_holes(self) -> int:
        return sum(map(len, self.holes.values()))


def read_predictions(tasks: Sequence[Task], folds: Sequence[Sequence[str]], rescored: Sequence[str]) -> Predictions:
    """The predictions for some tasks from the rescored files of their folds, in the order of the folds.

    Raises InputError for a file that does not fit its fold, or the tasks.
    """
    by_id = {task.id: task for task in tasks}
    candidates: dict[str, list[list[Candidate]]] = {}
    holes: dict[str, dict[int, Unsearched]] = {}
    failed = []
    for fold, (ids, path) in enumerate(zip(folds, rescored, strict=True)):
        hole = read_hole(path)
        if hole is not None:
            failed.append({"fold": fold, **hole})
            said = unsearched(fold, hole)
            for task_id in ids:
                tests = range(len(by_id[task_id].test))
                candidates[task_id] = [[] for _ in tests]
                holes[task_id] = dict.fromkeys(tests, said)
            continue
        entries = read_entries(path, fold, by_id)
        for task_id in ids:
            if task_id not in entries:
                raise InputError(f"{path}: no task {task_id}, expected all of fold {fold}")
            outputs = entries[task_id]["test"]
            candidates[task_id] = [candidates_of(output) for output in outputs]
            skipped = {
                test: Unsearched(Reason.DID_NOT_FIT, output["skipped"])
                for test, output in enumerate(outputs)
                if "skipped" in output
            }
            if skipped:
                holes[task_id] = skipped
    return Predictions(candidates, holes, failed)


def unsearched(fold: int, hole: Mapping[str, str]) -> Unsearched:
    """Why the tasks of a fold were not searched, as the hole in its place says."""
    if hole["reason"].startswith(OUT_OF_TIME):
        return Unsearched(Reason.OUT_OF_TIME, f"fold {fold}: {hole['reason']}")
    return Unsearched(Reason.FAILED, f"fold {fold}: {hole['rule']} failed: {hole['reason']}")


def read_rescored(paths: Sequence[str], tasks: Sequence[Task]) -> dict[str, list[list[Candidate]]]:
    """The candidates of each task and test input, of all folds that are no holes; the files in the order of the folds.

    Raises InputError unless each task stands in exactly one file, with as many test inputs as it has; behind a hole it
    may stand in none.
    """
    known = {task.id: task for task in tasks}
    found: dict[str, list[list[Candidate]]] = {}
    holes = [path for path in paths if read_hole(path) is not None]
    for fold, path in enumerate(paths):
        for task_id, entry in ({} if path in holes else read_entries(path, fold, known)).items():
            if task_id in found:
                raise InputError(f"{path}: task {task_id}: stands in an earlier fold too, expected it once")
            found[task_id] = [candidates_of(output) for output in entry["test"]]
    for task in tasks:
        if task.id not in found and not holes:
            raise InputError(f"{paths[-1]}: task {task.id} is in no fold's rescored file, expected it in one")
    return found


def read_entries(path: str, fold: int, known: Mapping[str, Task]) -> dict[str, Any]:
    """The `tasks` of a fold's rescored file, checked against the tasks."""
    content = read_json(path, "rescored")
    if content["fold"] != fold:
        raise InputError(f"{path}: candidates of fold {content['fold']}, expected those of fold {fold}")
    for task_id, entry in content["tasks"].items():
        check_outputs(path, task_id, entry, known, "the run's tasks")
    return dict(content["tasks"])


def candidates_of(output: Mapping[str, Any]) -> list[Candidate]:
    return [
        Candidate(
            as_grid(candidate["grid"]),
            tuple(view["log_prob"] for view in candidate["found"]),
            tuple(candidate["scored"]),
        )
        for candidate in output["candidates"]
    ]


def read_submission(path: str | Path, tasks: Sequence[Task]) -> dict[str, list[tuple[Grid, Grid]]]:
    """The two attempts of each test input of the tasks, by id, in the order of the tasks.

    Raises InputError, naming the file, for one of another layout, with a task too many or too few, or another
    number of outputs than a task has test inputs.
    """
    found = read_json(path, "submission")
    ids = {task.id for task in tasks}
    _refuse(path, sorted(set(found) - ids), "unknown", f"the {len(ids)} tasks of the dataset")
    _refuse(path, [task.id for task in tasks if task.id not in found], "missing", "every task of the dataset")
    for task in tasks:
        if len(found[task.id]) != len(task.test):
            raise InputError(
                f"{path}: {task.id}: attempts for {len(found[task.id])} outputs, expected {len(task.test)}, "
                "one for each test input"
            )
    return {
        task.id: [
            (
                grid_from_json(output["attempt_1"], f"{path}: {task.id}/{place}/attempt_1"),
                grid_from_json(output["attempt_2"], f"{path}: {task.id}/{place}/attempt_2"),
            )
            for place, output in enumerate(found[task.id])
        ]
        for task in tasks
    }


def _refuse(path: str | Path, ids: Sequence[str], what: str, expected: str) -> None:
    if ids:
        more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
        raise InputError(f"{path}: {', '.join(ids[:NAMED])}{more}: {what}, expected {expected}")


def as_grid(rows: Sequence[Sequence[int]]) -> Grid:
    """The grid of a candidate in a file that was checked."""
    return tuple(tuple(row) for row in rows)

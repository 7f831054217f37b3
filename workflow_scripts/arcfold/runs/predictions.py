"""A run's predictions, read back from its files."""

from __future__ import annotations

from collections.abc import Sequence

from arcfold.arc.selection import Candidate
from arcfold.arc.tasks import Grid
from arcfold.jobs.files import read_json


def as_grid(rows: Sequence[Sequence[int]]) -> Grid:
    return tuple(tuple(row) for row in rows)


def read_rescored(paths: Sequence[str]) -> dict[str, list[list[Candidate]]]:
    """The candidates of each task and test input, of all folds."""
    found: dict[str, list[list[Candidate]]] = {}
    for path in paths:
        for task_id, entry in read_json(path, "rescored")["tasks"].items():
            found[task_id] = [
                [
                    Candidate(
                        as_grid(candidate["grid"]),
                        tuple(view["log_prob"] for view in candidate["found"]),
                        tuple(candidate["scored"]),
                    )
                    for candidate in output["candidates"]
                ]
                for output in entry["test"]
            ]
    return found


def read_submission(path: str) -> dict[str, list[tuple[Grid, Grid]]]:
    """The two attempts of each task and test input."""
    return {
        task_id: [(as_grid(output["attempt_1"]), as_grid(output["attempt_2"])) for output in outputs]
        for task_id, outputs in read_json(path, "submission").items()
    }

"""Why a test output was missed: one reason for each that is wrong, and the share of each reason.

For example, of a test input whose output is 3 × 3:

    candidates (best first)        reason
    none, its prompt is too long   did_not_fit
    none, the deadline was near    out_of_time
    none, nothing was found        fallback
    wrong, wrong, right            ranked_later
    3 × 4, equal in 3 × 3, wrong   only_size
    wrong, wrong                   not_found
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from arcfold.arc.tasks import Grid, Task


class Reason(StrEnum):
    """Why an output is wrong, in the order in which tables have them."""

    NOT_FOUND = "not_found"
    """The search found candidates, and the right grid is none of them."""
    ONLY_SIZE = "only_size"
    """As before, but an attempt is right in all but its size, see `only_size_differs`."""
    RANKED_LATER = "ranked_later"
    """The right grid is a candidate, behind the two that became attempts."""
    FALLBACK = "fallback"
    """The search found no candidate at all, so the fallback answered."""
    DID_NOT_FIT = "did_not_fit"
    """It was not searched: the test input is too long."""
    OUT_OF_TIME = "out_of_time"
    """It was not searched: the deadline left no time for its fold."""
    FAILED = "failed"
    """It was not searched: a job of its fold failed for good."""


class Unsearched(NamedTuple):
    """Why a test input was not searched."""

    reason: Reason
    said: str
    """In words, for a person."""


SIZES = (25, 100, 225, 400, 900)
"""Cells of the largest output of each class of sizes: up to 5 × 5, 10 × 10, 15 × 15, 20 × 20 and 30 × 30."""


def reason_of(
    output: Grid, attempts: Sequence[Grid], candidates: Sequence[Grid], unsearched: Unsearched | None = None
) -> Reason | None:
    """Why none of the attempts at an output is right; None if one is.

    candidates: all that were found, best first; unsearched: given where there was no search
    """
    if unsearched is not None:
        return unsearched.reason
    if output in attempts:
        return None
    if not candidates:
        return Reason.FALLBACK
    if output in candidates:
        return Reason.RANKED_LATER
    # a test input that fills up the attempts was found by nobody
    if any(only_size_differs(grid, output) for grid in attempts if grid in candidates):
        return Reason.ONLY_SIZE
    return Reason.NOT_FOUND


def only_size_differs(grid: Grid, output: Grid) -> bool:
    """Whether a grid is the right one but for rows or columns at its edges, too many or too few.

    That is: they differ in size, and one can be laid over the other, in each direction the shorter within the longer,
    so that all cells that lie over each other are equal, and these are at least half of the cells of either grid.
    """
    (height, width), (rows, columns) = ((len(each), len(each[0])) for each in (grid, output))
    common = min(height, rows), min(width, columns)
    if (height, width) == (rows, columns) or 2 * common[0] * common[1] < max(height * width, rows * columns):
        return False
    return any(
        all(
            grid[row + max(down, 0)][max(right, 0) : max(right, 0) + common[1]]
            == output[row + max(-down, 0)][max(-right, 0) : max(-right, 0) + common[1]]
            for row in range(common[0])
        )
        for down in _offsets(height, rows)
        for right in _offsets(width, columns)
    )


def _offsets(length: int, other: int) -> range:
    """Where in the first of two lengths the other can begin; below 0 where the first begins in the other."""
    return range(min(length - other, 0), max(length - other, 0) + 1)


def misses(tasks: Iterable[Task], scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Number and share of the outputs that each reason cost, of all and of each class of sizes.

    scores: each task's part of the score file, as score_task gives it with candidates
    """
    outputs = [
        (len(pair.output) * len(pair.output[0]), scored.get("reason"))
        for task in tasks
        for pair, scored in zip(task.test, scores[task.id]["outputs"], strict=True)
        if pair.output is not None
    ]
    by_cells = []
    for before, largest in zip((0, *SIZES), SIZES, strict=False):
        reasons = [reason for cells, reason in outputs if before < cells <= largest]
        if reasons:
            by_cells.append({"cells": [before + 1, largest], **_counted(reasons)})
    return {**_counted([reason for _, reason in outputs]), "by_cells": by_cells}


def _counted(reasons: Sequence[str | None]) -> dict[str, Any]:
    """Outputs, right ones, and the number and percent of the wrong ones by reason. reasons: None for a right one"""
    return {
        "n_outputs": len(reasons),
        "n_correct": reasons.count(None),
        "reasons": {
            str(reason): {"n": reasons.count(reason), "percent": round(100.0 * reasons.count(reason) / len(reasons), 4)}
            for reason in Reason
        },
    }

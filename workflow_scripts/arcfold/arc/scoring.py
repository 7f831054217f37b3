"""Scoring: a submission against the known outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arcfold.arc.misses import Unsearched, reason_of
from arcfold.arc.tasks import Grid, Task

Attempts = Sequence[Sequence[Grid]]
"""For each test input of a task, its attempts."""


def score_task(
    task: Task, attempts: Attempts, candidates: Attempts | None = None, holes: Mapping[int, Unsearched] | None = None
) -> dict[str, Any]:
    """One task's part of the score file.

    candidates: for each test input all candidate grids, best first; None for attempts from elsewhere
    holes: why a test input was not searched, by its number

    A test input is correct when one of its attempts equals the known output in every cell, and wrong where it is a
    hole, whatever stands in for its answer; the task's score is the share of its correct test inputs. rank counts
    from 1 and is None where no candidate is right; source is `fallback` where there is no candidate; reason says why a
    wrong one is wrong.
    """
    outputs: list[dict[str, Any]] = [
        {"correct": any(grid == pair.output for grid in tried)} for pair, tried in zip(task.test, attempts, strict=True)
    ]
    if candidates is not None:
        for test, (output, pair, tried, found) in enumerate(zip(outputs, task.test, attempts, candidates, strict=True)):
            assert pair.output is not None  # a task without solutions has no score
            ranks = [place for place, grid in enumerate(found, start=1) if grid == pair.output]
            output |= {
                "rank": ranks[0] if ranks else None,
                "n_candidates": len(found),
                "source": "candidates" if found else "fallback",
            }
            unsearched = None if holes is None else holes.get(test)
            if unsearched is not None:
                output |= {"correct": False, "hole": unsearched.said}
            if not output["correct"]:
                output["reason"] = str(reason_of(pair.output, tried, found, unsearched))
    return {"score": sum(bool(output["correct"]) for output in outputs) / len(outputs), "outputs": outputs}


def total_score(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The totals over tasks as score_task gives them, in percent.

    score: mean over tasks of the share of correct test inputs (ARC Prize's rule)
    score_outputs: share of correct test inputs, every one counted alike (Kaggle's rule)
    oracle: share of tasks whose every test output is among the candidates; not for attempts from elsewhere
    n_fallback: number of test inputs without a candidate; not for attempts from elsewhere
    complete: whether no test input is a hole
    """
    outputs = [output for task in tasks.values() for output in task["outputs"]]
    totals = {
        "score": _percent(sum(task["score"] for task in tasks.values()), len(tasks)),
        "score_outputs": _percent(sum(output["correct"] for output in outputs), len(outputs)),
        "n_tasks": len(tasks),
        "n_outputs": len(outputs),
        "complete": not any("hole" in output for output in outputs),
    }
    if all("rank" in output for output in outputs):
        reachable = [all(output["rank"] is not None for output in task["outputs"]) for task in tasks.values()]
        totals["oracle"] = _percent(sum(reachable), len(reachable))
        totals["n_fallback"] = sum(output["source"] == "fallback" for output in outputs)
    return totals


def _percent(part: float, whole: int) -> float:
    return round(100.0 * part / whole, 4)

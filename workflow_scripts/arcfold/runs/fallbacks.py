"""Test inputs that a run has no candidate for: how many, which, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arcfold.jobs.holes import OUT_OF_TIME
from arcfold.runs.predictions import Predictions

NAMED = 10
"""Folds without time that a line names."""


def fallbacks(found: Predictions, leaks: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The content of a run's fallbacks.json.

    leaks: what the base model and the adapter had seen of the run's tasks (`leakage.leaks`)

    n_outputs, n_fallback: test inputs, and those answered without a candidate (`selection.two_attempts`)
    complete: whether all test inputs were searched; a search may well have found nothing
    failed: the folds whose job failed, with the rule and the reason; they are tried again when asked for again
    tasks: for each task the numbers of its test inputs without a candidate, with the reason where they were not
        searched, else None
    """
    tasks: dict[str, dict[str, str | None]] = {}
    for task_id, outputs in found.candidates.items():
        without = [test for test, candidates in enumerate(outputs) if not candidates]
        if without:
            holes = found.holes.get(task_id, {})
            tasks[task_id] = {str(test): holes[test].said if test in holes else None for test in without}
    return {
        "n_outputs": sum(map(len, found.candidates.values())),
        "n_fallback": sum(map(len, tasks.values())),
        "complete": found.n_holes == 0,
        "failed": [dict(failed) for failed in found.failed],
        "tasks": tasks,
        "leakage": [dict(leak) for leak in leaks],
    }


def summary(run: str, report: Mapping[str, Any]) -> list[str]:
    """What a person should know of a fallbacks.json, in lines; none if every test input was searched."""
    if report["complete"]:
        return []
    late = [str(failed["fold"]) for failed in report["failed"] if failed["reason"].startswith(OUT_OF_TIME)]
    lines = [
        f"warning: run {run}: fold {failed['fold']} is left out, since {failed['rule']} failed: {failed['reason']}"
        for failed in report["failed"]
        if not failed["reason"].startswith(OUT_OF_TIME)
    ]
    if late:
        more = f" and {len(late) - NAMED} more" if len(late) > NAMED else ""
        which = f"fold {late[0]}" if len(late) == 1 else f"{len(late)} folds ({', '.join(late[:NAMED])}{more})"
        lines.append(f"warning: run {run}: the deadline left no time for {which}")
    not_searched = [reason for of_task in report["tasks"].values() for reason in of_task.values() if reason is not None]
    lines.append(
        f"warning: run {run}: {len(not_searched)} of {report['n_outputs']} test inputs were not searched; "
        "the fallback answers them"
    )
    return lines

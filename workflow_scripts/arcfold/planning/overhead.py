"""What a fold's job takes beside its steps, on the machine as it is: Snakemake, the client, reading, writing, links.

On an idle machine that is a part of a second, on one with other work some. It counts for folds that are done, and for
those that are only told that there is no time: with 100 of these and 2 s each, time is over 200 s before the end.

    device free at 10.0 s, the fold's job begins at 10.4, its steps take 5 s, it ends at 15.9: 0.9 s
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from arcfold.planning.plan import JOB_SECONDS

KEPT = 9
"""Folds that are looked back at: the machine may become busier. One that was held up changes no median."""
TRUST = 2
"""As many folds as these does it count what an idle machine takes."""


def seconds_of_job(budget: Mapping[str, Any]) -> float:
    """The median of the last folds."""
    found = budget.get("overhead", {}).get("seconds", [])
    return statistics.median([*[JOB_SECONDS] * TRUST, *found])


def is_over(entry: Mapping[str, Any]) -> bool:
    """Whether a fold takes no more time, though not all of its steps are done."""
    return "dropped" in entry or "failed" in entry or bool(entry.get("there"))


def begin(budget: dict[str, Any], fold: int) -> None:
    """A fold's job begins, on the device that has been free for longest."""
    free = budget.setdefault("overhead", {"free": [], "seconds": []})["free"]
    # one that is begun again after its worker was stopped says nothing of an ordinary job
    budget["folds"][str(fold)].pop("free", None)
    if free:
        budget["folds"][str(fold)]["free"] = free.pop(0)


def end(budget: dict[str, Any], fold: int, now: float, worked: float) -> None:
    """It ends, having worked so many seconds in its steps."""
    overhead, entry = budget.setdefault("overhead", {"free": [], "seconds": []}), budget["folds"][str(fold)]
    if (since := entry.pop("free", None)) is not None:
        overhead["seconds"] = [*overhead["seconds"], round(max(now - since - worked, 0.0), 3)][-KEPT:]
    overhead["free"] = sorted([*overhead["free"], round(now, 3)])[-budget["devices"] :]

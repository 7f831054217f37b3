"""What a deadline cost a run, in lines for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arcfold.jobs.files import InputError
from arcfold.planning.budget import STEPS, Ledger
from arcfold.planning.plan import span


def said_of(path: str | Path, now: float) -> list[str]:
    """Lines of a budget; none where there is none. now: seconds since the epoch"""
    try:
        budget = Ledger(path).read()
    except InputError:
        return []
    whole: list[str] = []
    cut: list[str] = []
    dropped: list[str] = []
    failed: list[str] = []
    for fold, entry in budget["folds"].items():
        done = len(entry["steps"]) == len(STEPS)
        missed = failed if "failed" in entry else dropped
        (missed if not done else cut if _is_cut(entry) else whole).append(fold)
    lines = [
        f"{budget['run']}: {len(whole)} of {len(budget['folds'])} folds in full, "
        f"{len(cut)} with settings that gave way, {len(dropped)} out of time"
        + (f", {len(failed)} failed" if failed else "")
    ]
    counted = Counter(
        f"{step}/{key} {value}"
        for entry in budget["folds"].values()
        for step, of in entry["steps"].items()
        for key, value in of["cut"].items()
    )
    if counted:
        lines.append("gave way: " + ", ".join(f"{what} ({_folds(n)})" for what, n in sorted(counted.items())))
    if (clock := budget["clock"]) is not None:
        left = clock["deadline"] - now
        lines.append(f"{span(abs(left))} {'before' if left >= 0 else 'after'} the deadline")
        if "scale" in clock:
            lines.append(_rehearsed(left, clock["scale"], bool(cut or dropped)))
    return lines


def _folds(number: int) -> str:
    return f"{number} fold" if number == 1 else f"{number} folds"


def _is_cut(entry: Mapping[str, Any]) -> bool:
    return any(of["cut"] for of in entry["steps"].values())


def _rehearsed(left: float, scale: float, cut: bool) -> str:
    if left < 0:
        return f"rehearsal at {scale:.3g} of the time: the run would not have ended in time"
    return f"rehearsal at {scale:.3g} of the time: the run would have ended in time, " + (
        "with what gave way here" if cut else "in full"
    )

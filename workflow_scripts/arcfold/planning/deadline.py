"""When a run has to be done: minutes for the whole command, or a time.

720                        minutes from the start of the command on
17:30                      the next time that a clock here shows that
2026-11-28T03:00           that moment, here; with +00:00 behind it, in that zone
"""

from __future__ import annotations

import os
import re
import time
from datetime import datetime, timedelta
from pathlib import Path

from arcfold.jobs.files import InputError

EXPECTED = "minutes, a time of the day (17:30) or a moment (2026-11-28T03:00)"
LONGEST = 60 * 24 * 365
"""Minutes that a deadline may lie ahead."""
SCRIPTS_BEHIND = 4
LARGEST_RESERVE = 0.5
"""Part of a deadline's time that is kept back at most."""
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def moment_of(deadline: float | str, began: datetime) -> datetime:
    """The moment that a deadline means for a command that began at `began` (with a zone).

    Raises InputError for what is none of these, and for a moment that lay before the command began.
    """
    if isinstance(deadline, int | float):
        return began + timedelta(minutes=deadline)
    if match := _TIME.fullmatch(deadline.strip()):
        moment = began.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
        return moment if moment > began else moment + timedelta(days=1)
    try:
        moment = datetime.fromisoformat(deadline.strip())
    except ValueError:
        raise InputError(f"deadline: {deadline!r}, expected {EXPECTED}") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=began.tzinfo)
    if moment <= began:
        raise InputError(f"deadline: {deadline} is over, expected a moment that lies ahead")
    if moment - began > timedelta(minutes=LONGEST):
        raise InputError(f"deadline: {deadline} is more than a year ahead, expected one that is nearer")
    return moment


def began() -> datetime:
    """When this process began, in this machine's zone; it has read the workflow since then."""
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        age = 0.0
    return datetime.now().astimezone() - timedelta(seconds=max(age, 0.0))


def clock_of(moment: datetime, start: datetime, now: datetime) -> dict[str, float]:
    """The clock of a budget: the start of the command, the deadline, and when the last step has to be done.

    now: when the first job can begin

    What is kept back is for what comes behind: links, submission, score and page are scripts that read the workflow as
    this command has done since its start, one behind the other.
    """
    reserve = min(SCRIPTS_BEHIND * (now - start).total_seconds(), LARGEST_RESERVE * (moment - start).total_seconds())
    return {
        "began": round(start.timestamp(), 3),
        "deadline": round(moment.timestamp(), 3),
        "stop": round(moment.timestamp() - reserve, 3),
    }

"""What SLURM says of its partitions and of jobs that failed, each in one line for the user."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from arcfold.jobs.files import InputError

PATIENCE = 10.0
"""Seconds to wait for an answer: without its database sacct waits for one without end."""
_OOM = ("oom-kill", "out of memory", "exceeded memory limit", "memory limit at some point")
_NO_LIMIT = ("infinite", "UNLIMITED", "n/a", "NONE")


@dataclass(frozen=True)
class Limits:
    """What a job may ask for in a partition; None: no limit that SLURM tells."""

    partition: str
    minutes: int | None
    memory_mib: int | None
    """Of the largest node."""
    gpus: int | None
    """Of the node with the most."""


@dataclass(frozen=True)
class Request:
    """What a job will ask for."""

    what: str
    """The job, in words."""
    partition: str | None
    """None: the cluster's default."""
    minutes: int | None
    memory_mib: int | None
    gpus: int


def read_limits(text: str) -> dict[str | None, Limits]:
    """The limits by partition, the default one under None too, of what `sinfo --format %P|%l|%m|%G` writes."""
    found: dict[str | None, Limits] = {}
    for line in text.splitlines():
        name, _, rest = line.partition("|")
        time, memory, gres = rest.split("|")[:3]
        partition = name.rstrip("*")
        counts = [int(number) for number in re.findall(r"gpu:(?:[^:,(]+:)?(\d+)", gres)]
        limits = Limits(partition, minutes_of(time), int(memory.rstrip("+")) or None, sum(counts))
        before = found.get(partition)
        if before is not None:  # one line for each kind of node
            largest = max(before.memory_mib or 0, limits.memory_mib or 0) or None
            limits = Limits(partition, limits.minutes, largest, max(before.gpus or 0, limits.gpus or 0))
        found[partition] = limits
        if name.endswith("*"):
            found[None] = limits
    return found


def check_requests(requests: Iterable[Request], limits: Mapping[str | None, Limits]) -> None:
    """Raises InputError for the first job that its partition cannot ever run: it would wait for ever, or be refused."""
    for request in requests if limits else ():
        if request.partition is not None and request.partition not in limits:
            known = ", ".join(sorted(name for name in limits if name is not None))
            raise InputError(f"slurm_partition: no partition {request.partition}, expected one of {known}")
        of = limits.get(request.partition)
        if of is None:  # no default one: SLURM says so itself
            continue
        for asked, limit, unit, key in (
            (request.minutes, of.minutes, "minutes", "runtime"),
            (request.memory_mib, of.memory_mib, "MiB of memory", "mem_mb"),
            (request.gpus or None, of.gpus, "GPUs", "gpu"),
        ):
            if asked is not None and limit is not None and asked > limit:
                raise InputError(
                    f"{request.what}: asks for {asked} {unit}, and partition {of.partition} has at most {limit}; "
                    f"expected another slurm_partition, or less (--set-resources RULE:{key}={limit})"
                )


def minutes_of(time: str) -> int | None:
    """Minutes of a time as SLURM writes it (`5:00`, `1-02:00:00`), rounded up; None for no limit."""
    if time in _NO_LIMIT:
        return None
    days, _, rest = time.rpartition("-")
    hours, minutes, seconds = (0, *map(int, rest.split(":")))[-3:]
    return int(days or 0) * 1440 + hours * 60 + minutes + math.ceil(seconds / 60)


def ask_limits() -> dict[str | None, Limits]:
    """The limits of this cluster's partitions; none where SLURM does not answer."""
    return read_limits(_ask("sinfo", "--noheader", "--format", "%P|%l|%m|%G"))


def why_failed(job: str, log: str | Path | None = None) -> str | None:
    """Why SLURM ended a job, in words; None if it did not, or does not say. log: the file that SLURM wrote of it

    The accounting database knows best, since it knows the job's steps. Without one it is the controller and the log.
    """
    rows = _ask("sacct", "--noheader", "--parsable2", "--jobs", job, "--format", "State,ReqMem,Timelimit,NodeList")
    if rows:
        return _reason_of_rows([line.split("|") for line in rows.splitlines()])
    fields = dict(re.findall(r"(\w+)=(\S*)", _ask("scontrol", "show", "job", job)))
    memory = fields.get("MinMemoryNode") or fields.get("MinMemoryCPU", "?")
    row = [fields.get("JobState", ""), memory, fields.get("TimeLimit", "?"), fields.get("NodeList", "?")]
    said = Path(log).read_text(encoding="utf-8", errors="replace").lower() if log and Path(log).is_file() else ""
    states = [row]
    if any(words in said for words in _OOM):
        states.append(["OUT_OF_MEMORY", *row[1:]])
    if "node failure" in said:
        states.append(["NODE_FAIL", *row[1:]])
    return _reason_of_rows(states)


def _reason_of_rows(rows: list[list[str]]) -> str | None:
    """What the states of a job, which comes first, and of its steps mean."""
    states = [row[0].split()[0] if row[0] else "" for row in rows]
    _, memory, limit, nodes = rows[0][:4]
    if "OUT_OF_MEMORY" in states:
        return f"out of memory: it had {memory} (mem_mb)"
    if "TIMEOUT" in states or "DEADLINE" in states:
        return f"its time was over: it had {limit} (runtime)"
    if "NODE_FAIL" in states or "BOOT_FAIL" in states:
        return f"node {nodes} was lost"
    if states[0] == "PREEMPTED":
        return "another job took its place (preempted)"
    if states[0] == "CANCELLED":
        by = re.search(r"by (\d+)", rows[0][0])
        return f"it was cancelled{f' by user {by[1]}' if by else ''}"
    return None


def _ask(*command: str) -> str:
    """What a program of SLURM's says; nothing if it is not there, fails or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

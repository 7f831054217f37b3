"""Times on a device: seconds, memory bandwidth, and what share of a work's time kernels run."""

from __future__ import annotations

import cProfile
import itertools
import pstats
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

PAUSES = ((3, "up to 3 us"), (30, "3 to 30 us"), (300, "30 to 300 us"), (float("inf"), "over 300 us"))
"""Kinds of pauses between kernels: inside a CUDA graph, between launches, between steps, host work."""
TOP = 15
"""Kernels and functions that are named."""
GRAIN = 2**30
"""Bytes that the bandwidth is measured on, and as many again."""


def clock(device: torch.device) -> float:
    """Seconds of a clock, when the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call."""
    began = clock(device)
    work()
    return clock(device) - began


def event_seconds(work: Callable[[], Any], times: int) -> float:
    """Median seconds of one of `times` calls on a CUDA device, by CUDA events, after one that does not count."""
    work()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]
    events[0].record()
    for event in events[1:]:
        work()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(one.elapsed_time(two) for one, two in itertools.pairwise(events)) / 1e3


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second of a large copy on a CUDA device, read and written bytes together."""
    source = torch.zeros(GRAIN, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return 2 * len(source) / event_seconds(lambda: target.copy_(source), 10)


def read_bandwidth(device: torch.device) -> float:
    """Bytes a second of a large sum on a CUDA device, which only reads."""
    source = torch.zeros(GRAIN // 2, dtype=torch.int32, device=device)
    return source.nbytes / event_seconds(lambda: source.sum(dtype=torch.int32), 10)


def kernel_share(work: Callable[[], Any], device: torch.device) -> dict[str, Any]:
    """How much of a work's wall time at least one kernel ran on a CUDA device, by torch's profiler.

    The work is done twice, after a first call of the caller's own: without the profiler and with it. Copies
    and fills of memory are no kernels; on a CPU, torch's operators stand for them. Seconds of `pauses`: when
    nothing ran, by the length of the pause.
    """
    plain = seconds_of(work, device)
    kind = "CUDA" if device.type == "cuda" else "CPU"
    with torch.profiler.profile(activities=[getattr(torch.profiler.ProfilerActivity, kind)]) as profiler:
        profiled = seconds_of(work, device)
    events = [
        (event.start_ns(), event.start_ns() + event.duration_ns(), event.name())
        for event in profiler.profiler.kineto_results.events()
        if kind in str(event.device_type()) and event.duration_ns() > 0
    ]
    kernels = [event for event in events if not event[2].startswith(("Memcpy", "Memset"))]
    busy, _ = _union(kernels)
    _, pauses = _union(events)
    return {
        "wall_seconds": plain,
        "wall_seconds_with_profiler": profiled,
        "kernel_seconds": busy,
        "share": busy / profiled,
        "share_of_wall_without_profiler": busy / plain,
        "pauses": pauses,
        "kernels": _by_name(kernels),
    }


def _union(events: Iterable[tuple[int, int, str]]) -> tuple[float, dict[str, float]]:
    """Seconds in which at least one of the events (begin and end in ns) ran, and seconds of the pauses between."""
    busy, reached = 0, None
    pauses = dict.fromkeys((name for _, name in PAUSES), 0.0)
    for start, end, _ in sorted(events):
        if reached is not None and start > reached:
            kind = next(name for longest, name in PAUSES if start - reached <= longest * 1e3)
            pauses[kind] += (start - reached) / 1e9
        busy += max(0, end - max(start, reached or 0))
        reached = max(end, reached or 0)
    return busy / 1e9, pauses


def _by_name(events: Sequence[tuple[int, int, str]]) -> list[dict[str, Any]]:
    """The names with the most seconds, each with its share of all and its launches."""
    spent: Counter[str] = Counter()
    launches: Counter[str] = Counter()
    for start, end, name in events:
        spent[name] += end - start
        launches[name] += 1
    total = max(1, sum(spent.values()))
    return [
        {"name": name[:120], "seconds": time / 1e9, "share": time / total, "launches": launches[name]}
        for name, time in spent.most_common(TOP)
    ]


def host_functions(work: Callable[[], Any]) -> list[dict[str, Any]]:
    """The Python functions in which a work spends the most seconds, what they call left out."""
    profiler = cProfile.Profile()
    profiler.runcall(work)
    stats: dict[tuple[str, int, str], Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    most = sorted(stats.items(), key=lambda item: -item[1][2])[:TOP]
    return [
        {"name": f"{Path(file).name}:{line} {name}", "seconds": own, "with_callees": whole, "calls": calls}
        for (file, line, name), (_, calls, own, whole, _) in most
    ]


def peak_mib(device: torch.device) -> int | None:
    """Peak memory of a CUDA device since the last call with `reset_peak`, in MiB; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) // 2**20 if device.type == "cuda" else None


def reset_peak(device: torch.device) -> None:
    """Begins a new measurement of peak memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

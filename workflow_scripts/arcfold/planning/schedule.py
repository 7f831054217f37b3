"""The schedule that Snakemake makes of a run's jobs on some devices: what it can start it starts, without waiting.

Its greedy scheduler prefers the jobs with the largest inputs, so that a fold which is trained is searched before
another one's training begins. With two devices and three folds whose jobs take 6, 2 and 1 seconds:

    device 0   train 0   search 0   rescore 0   train 2   search 2   rescore 2      18 s
    device 1   train 1   search 1   rescore 1                                        9 s
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """When the jobs of some chains end."""

    seconds: float
    """From the first job's start to the last one's end."""
    ends: tuple[float, ...]
    """Of each chain's last job."""
    busy: tuple[float, ...]
    """Seconds that each device works."""


def schedule(
    chains: Sequence[Sequence[float]],
    devices: int,
    *,
    start: float = 0.0,
    each: float = 0.0,
    free: Sequence[float] = (),
) -> Schedule:
    """List scheduling of chains of jobs, each of which begins when the one before it has ended.

    chains: seconds of the jobs of each fold
    start: seconds that a device needs before its first job; each: what every job takes besides
    free: when each device becomes free, if not at 0
    """
    at = list(free) or [0.0] * devices
    running: list[tuple[float, int, int]] = [(time, device, -1) for device, time in enumerate(at)]
    heapq.heapify(running)
    # what is ready: the chain that is farthest goes first, then the one with the smallest number
    ready = [(0, number) for number, chain in enumerate(chains) if chain]
    idle: list[int] = []
    stages: dict[int, int] = {}
    ends, busy = [0.0] * len(chains), [0.0] * len(at)
    while running:
        now = running[0][0]
        while running and running[0][0] == now:
            _, device, number = heapq.heappop(running)
            heapq.heappush(idle, device)
            if number >= 0:
                done = stages[number] = stages.get(number, 0) + 1
                if done < len(chains[number]):
                    heapq.heappush(ready, (-done, number))
        while ready and idle:
            device, (minus, number) = heapq.heappop(idle), heapq.heappop(ready)
            seconds = chains[number][-minus] + each + (0.0 if busy[device] else start)
            busy[device] += seconds
            ends[number] = now + seconds
            heapq.heappush(running, (now + seconds, device, number))
    return Schedule(max(ends, default=0.0), tuple(ends), tuple(busy))

"""A schedule is the one that Snakemake's greedy scheduler makes."""

from __future__ import annotations

import random

from arcfold.planning.schedule import schedule


def simulated(chains, devices, start, each):
    """The same second by second: a device that is free takes the farthest chain that is ready, then the first."""
    left = [[round(seconds + each) for seconds in chain] for chain in chains]
    stage = [0] * len(chains)
    working: dict[int, tuple[int, int]] = {}
    used: set[int] = set()
    second = 0
    while working or any(stage[n] < len(chain) for n, chain in enumerate(left)):
        for device in range(devices):
            busy = {number for number, _ in working.values()}
            ready = [n for n, chain in enumerate(left) if stage[n] < len(chain) and n not in busy]
            if device not in working and ready:
                number = min(ready, key=lambda n: (-stage[n], n))
                working[device] = number, left[number][stage[number]] + (0 if device in used else start)
                used.add(device)
        second += 1
        for device, (number, seconds) in list(working.items()):
            working[device] = number, seconds - 1
            if seconds == 1:
                stage[number] += 1
                del working[device]
    return second


def test_a_chain_that_has_begun_goes_before_one_that_has_not():
    made = schedule([(6, 2, 1)] * 3, 2)
    assert (made.seconds, made.ends, made.busy) == (18, (9, 9, 18), (18, 9))


def test_devices_start_once_and_jobs_cost_something_each():
    assert schedule([(6, 2, 1)] * 3, 1, start=5, each=1).seconds == 3 * 12 + 5
    assert schedule([], 3).seconds == 0


def test_a_device_that_is_not_free_is_waited_for():
    assert schedule([(1,)] * 4, 2, free=[3, 0]).ends == (1, 2, 3, 4)


def test_it_is_that_of_a_simulation_second_by_second():
    draws = random.Random(0)
    for _ in range(200):
        chains = [[draws.randint(1, 9) for _ in range(draws.randint(1, 3))] for _ in range(draws.randint(1, 7))]
        devices, start, each = draws.randint(1, 4), draws.randint(0, 3), draws.randint(0, 2)
        assert schedule(chains, devices, start=start, each=each).seconds == simulated(chains, devices, start, each)

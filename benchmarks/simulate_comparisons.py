"""How often the intervals of comparisons hold the truth, and how often there is a false alarm, in simulated runs.

    python benchmarks/simulate_comparisons.py --out simulated.json
    python benchmarks/simulate_comparisons.py --repeats 500

Two configurations that are equal are run on the same tasks with as many seeds, as tests/helpers/simulated_runs.py
says. For each situation and method: in how many of a hundred repetitions the 95 % interval holds the true difference,
which is 0, and how wide it is, in points. All others are false alarms. `power` is in how many a difference of the size
that is called detectable is seen.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "workflow_scripts"), str(ROOT / "tests" / "helpers")]

from simulated_runs import Situation, bootstrap  # noqa: E402

from arcfold.comparisons import statistics  # noqa: E402

KINDS = (
    ("400 tasks, half solved", Situation(400, 1)),
    ("120 tasks, 8 % solved", Situation(120, 1, level=-5.0)),
    ("16 tasks, 80 % solved", Situation(16, 1, level=3.0)),
)
SEED_EFFECTS = (("nothing", 0.0), ("much", 0.2))
"""What a seed does to all tasks, in log-odds."""
SEEDS = (1, 2, 3, 5)
BOOTSTRAPS = 4
"""So many times fewer repetitions of the bootstraps, which take their time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=8000, help="of each situation")
    parser.add_argument("--out", help="a file for the figures")
    arguments = parser.parse_args()
    rows = []
    for kind, situation in KINDS:
        for said, effect in SEED_EFFECTS:
            for seeds in SEEDS:
                rows.append(
                    {"kind": kind, "seed_effect": said, "seeds": seeds}
                    | measured(replace(situation, seeds=seeds, seed_effect=effect), arguments.repeats)
                )
                print(json.dumps(rows[-1]), flush=True)
    if arguments.out:
        Path(arguments.out).write_text(json.dumps({"repeats": arguments.repeats, "rows": rows}), encoding="utf-8")


def measured(situation: Situation, repeats: int) -> dict[str, Any]:
    """The figures of one situation in which both configurations are equal."""
    one, other = situation.draw(repeats)
    few = repeats // BOOTSTRAPS
    ours = statistics.difference(other, one)
    both = bootstrap(one[:few], other[:few], seeds_too=True)
    tasks = bootstrap(one[:few], other[:few], seeds_too=False)
    truth = situation.difference
    score = statistics.mean(one)
    made: dict[str, Any] = {
        "deviation_of_seeds": 100 * float(one.mean(-2).std(-1, ddof=1).mean()) if situation.seeds > 1 else None,
        "score_holds": 100 * float(np.mean((score.low <= situation.score) & (situation.score <= score.high))),
        "ours": holds(np.stack([ours.low, ours.high], -1), truth),
        "bootstrap_of_tasks": holds(tasks, truth),
        "bootstrap_of_tasks_and_seeds": holds(both, truth),
    }
    return made | {"power": power(situation, repeats)}


def holds(intervals: Any, truth: float) -> dict[str, float]:
    inside = (intervals[:, 0] <= truth) & (truth <= intervals[:, 1])
    return {"holds": 100 * float(inside.mean()), "width": 100 * float((intervals[:, 1] - intervals[:, 0]).mean())}


def power(situation: Situation, repeats: int) -> float | None:
    """How many of a hundred find a difference of the size that is called detectable; None where it is too large."""
    one, other = situation.draw(repeats)
    wanted = float(np.mean(statistics.difference(other, one).detectable()))
    low, high = 0.0, 20.0
    for _ in range(60):
        effect = (low + high) / 2
        low, high = (effect, high) if replace(situation, effect=effect).difference < wanted else (low, effect)
    real = replace(situation, effect=high, generator=situation.generator + 1)
    if real.difference < 0.99 * wanted:
        return None
    one, other = real.draw(repeats)
    found = statistics.difference(other, one)
    return 100 * float(np.mean((found.p < 0.05) & (found.value > 0)))


if __name__ == "__main__":
    main()

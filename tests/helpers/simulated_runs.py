"""Runs whose true scores are known: what statistics of comparisons are checked against.

The log-odds that a run solves a task are those of the task, plus what the configuration makes of this task, plus what
the seed does to all tasks. Tasks spread as ARC's do: most are nearly always solved, or nearly never.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

TASK_SPREAD = 3.0
"""Deviation of the log-odds between tasks."""
TASTE = 0.5
"""Deviation of what a configuration makes of single tasks."""


@dataclass(frozen=True)
class Situation:
    """Two configurations that are run on the same tasks."""

    tasks: int
    seeds: int
    level: float = 0.0
    """Mean log-odds of the first."""
    effect: float = 0.0
    """By how much those of the second are higher."""
    seed_effect: float = 0.0
    """Deviation of what a seed does to all tasks, in log-odds."""
    shared: bool = False
    """Whether a seed does the same to both, as where they have the same adapters."""
    generator: int = field(default=0, repr=False)

    def draw(self, repeats: int) -> tuple[Array, Array]:
        """Scores (R, T, S) of both, 0 or 1, R times."""
        random = np.random.default_rng(self.generator)
        of_tasks = random.normal(self.level, TASK_SPREAD, (repeats, self.tasks, 1))
        made = []
        of_seeds = None
        for effect in (0.0, self.effect):
            if of_seeds is None or not self.shared:
                of_seeds = random.normal(0, self.seed_effect, (repeats, 1, self.seeds))
            taste = random.normal(0, TASTE, (repeats, self.tasks, 1))
            odds = of_tasks + taste + of_seeds + effect
            made.append((random.random(odds.shape) < 1 / (1 + np.exp(-odds))).astype(float))
        return made[0], made[1]

    @property
    def score(self) -> float:
        """The true score of the first."""
        return self._mean(self.level)

    @property
    def difference(self) -> float:
        """The true difference, second minus first."""
        return self._mean(self.level + self.effect) - self._mean(self.level)

    def _mean(self, level: float) -> float:
        """The mean over all tasks and seeds, by Gauss and Hermite."""
        deviation = (TASK_SPREAD**2 + TASTE**2 + self.seed_effect**2) ** 0.5
        places, weights = np.polynomial.hermite_e.hermegauss(80)
        return float((weights / (1 + np.exp(-(level + deviation * places)))).sum() / weights.sum())


def bootstrap(one: Array, other: Array, *, seeds_too: bool, generator: int = 1, resamples: int = 400) -> Array:
    """95 % percentile intervals (R, 2) of second minus first, resampling tasks together and seeds apart."""
    random = np.random.default_rng(generator)
    repeats, tasks, seeds = one.shape
    chosen = random.multinomial(tasks, np.full(tasks, 1 / tasks), resamples) / tasks
    found = np.empty((repeats, 2))
    for number in range(repeats):
        means = []
        for scores in (other[number], one[number]):
            of_seeds = np.full((resamples, seeds), 1 / seeds)
            if seeds_too:
                of_seeds = random.multinomial(seeds, of_seeds[0], resamples) / seeds
            means.append(((chosen @ scores) * of_seeds).sum(-1))
        found[number] = np.quantile(means[0] - means[1], [0.025, 0.975])
    return found

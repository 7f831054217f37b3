"""How far the mean of some runs, or the difference of two configurations, can be trusted.

Scores are shares of right outputs, 0 to 1, in arrays (..., T, S): T tasks, and S runs that differ in their seed.
What stands before T are data sets that are worked on side by side, as simulations do.

A score differs from what it would be over all tasks and seeds for three reasons, and two ways to average show them:

    score[t, s] = mean + task[t] + seed[s] + flip[t, s]

    variance of the tasks' means / T    holds task and flip         (`tasks`)
    variance of the seeds' means / S    holds seed and flip         (what is beyond flip is `seeds`)
    residuals of both                   hold flip alone             (`flips`)

So the variance of the mean is that of the tasks' means, and what the seeds' means vary beyond the flips. A bootstrap
that resamples tasks and seeds counts the flips up to three times, and one that resamples tasks alone misses what a
seed does to all tasks at once; docs/studies.md has what each makes of simulated runs. The interval is Student's, with
Satterthwaite's degrees of freedom. Two configurations are compared task by task, and seed by seed where the same seed
stands for the same draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]

LEVEL = 0.95
"""Of all intervals."""
POWER = 0.8
MOST_SEEDS = 1000
"""How many seeds are thought of."""
_ROUNDS = 40
_SAME = 1e-9
"""Two means that differ by less are equal."""


@dataclass(frozen=True)
class Noise:
    """Variances of a mean, by what they come from; arrays (...)."""

    tasks: Array
    """Of the choice of tasks, and the flips that are in it."""
    seeds: Array
    """Of what a seed does to all tasks at once; 0 where no more than one seed is known."""
    flips: Array
    """The part of `tasks` that more seeds would take away; 0 where no more than one seed is known."""
    n_tasks: int
    seeds_freedom: int
    """Degrees of freedom of `seeds`; 0 where no more than one seed is known."""

    @property
    def variance(self) -> Array:
        return self.tasks + self.seeds

    @property
    def freedom(self) -> Array:
        """Degrees of freedom of the variance (Satterthwaite)."""
        seeds = self.seeds**2 / self.seeds_freedom if self.seeds_freedom else 0 * self.seeds
        parts = self.tasks**2 / (self.n_tasks - 1) + seeds
        with np.errstate(invalid="ignore", divide="ignore"):
            found = self.variance**2 / parts
        return np.where(parts > 0, found, self.n_tasks - 1.0)


@dataclass(frozen=True)
class Mean:
    """The mean of a configuration's runs, with its interval for other tasks and seeds; arrays (...)."""

    value: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Difference:
    """The mean of one configuration minus that of another; arrays (...)."""

    value: Array
    low: Array
    high: Array
    error: Array
    """Standard error."""
    freedom: Array
    p: Array
    """Of no difference, two-sided."""
    noise: Noise
    won: npt.NDArray[np.int64]
    """Tasks whose mean over seeds is higher in the first."""
    lost: npt.NDArray[np.int64]
    differing: Array
    """The mean over tasks of how much they differ, to whichever side."""
    size: Array
    """By how much a task differs that differs: the mean of squares over the mean of sizes."""

    def detectable(self, level: float = LEVEL) -> Array:
        """The smallest true difference that would be told from none with a probability of `POWER`; 1 where none is.

        A true difference turns tasks that are lost into tasks that are won, and more tasks differ then: where won and
        lost are w and l of a hundred, sqrt(w l) stays, so that w + l is the root of (w - l)^2 and a constant.
        """
        quantiles = _quantiles(self.freedom, level)
        found = quantiles * self.error
        for _ in range(_ROUNDS):
            more = self.size * (np.hypot(self.differing, found) - self.differing) / self.noise.n_tasks
            found = quantiles * np.sqrt(self.error**2 + more)
        return np.minimum(found, 1.0)


def mean(scores: Array, weights: Array | None = None) -> Mean:
    """The mean of scores (..., T, S) over tasks and seeds, each task counted with its weight (T,).

    The interval is Wilson's for as many tasks as would have this variance if each were right or wrong, so that it
    stays between 0 and 1 and has a width where all are right.
    """
    tasks, _ = scores.shape[-2:]
    weights = np.ones(tasks) if weights is None else weights / weights.mean()
    value = (scores.mean(-1) * weights).mean(-1)
    noise = _noise([(scores - value[..., None, None]) * weights[:, None]], [scores.shape[-1]])
    spread = np.maximum(value * (1 - value), 0)
    if tasks == 1:
        return Mean(value, 0 * value, 0 * value + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.where(noise.variance > 0, spread / noise.variance, float(tasks))
    size = np.maximum(size, 1e-9)
    t = stats.t.ppf((1 + LEVEL) / 2, noise.freedom)
    centre = (value + t**2 / (2 * size)) / (1 + t**2 / size)
    half = t * np.sqrt(spread / size + t**2 / (4 * size**2)) / (1 + t**2 / size)
    return Mean(value, np.clip(centre - half, 0, value), np.clip(centre + half, value, 1))


def difference(one: Array, other: Array, *, paired: bool = False) -> Difference:
    """How much higher the first is: scores (..., T, S1) and (..., T, S2) of the same tasks.

    paired: whether seed s stands for the same draws in both; else seeds are taken as independent, which is on the
        safe side where they are not
    """
    tasks = one.shape[-2]
    by_task = one.mean(-1) - other.mean(-1)
    value = by_task.mean(-1)
    won, lost = (by_task > _SAME).sum(-1), (by_task < -_SAME).sum(-1)
    groups = [one - other] if paired else [one, other]
    noise = _noise(groups, [group.shape[-1] for group in groups], by_task)
    differing = np.abs(by_task).mean(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.where(won + lost > 0, (by_task**2).mean(-1) / differing, 1.0)
    if tasks == 1:  # of one task nothing follows for another
        all_ = np.ones_like(value)
        return Difference(value, -all_, all_, all_, all_, all_, noise, won, lost, differing, all_)
    freedom, error = noise.freedom, np.sqrt(noise.variance)
    t = stats.t.ppf((1 + LEVEL) / 2, freedom)
    # Where no task differs there is no variance to see: so many equal ones still allow for this share of others.
    equal = (won + lost) == 0
    error = np.where(equal, (1 - ((1 - LEVEL) / 2) ** (1 / tasks)) / t, error)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.where(error > 0, 2 * stats.t.sf(np.abs(value) / error, freedom), 0.0)
    # If the k tasks that differ had each fallen to either side by chance, all to one side is the rarest outcome:
    # below its probability nothing can be told.
    rarest = np.minimum(2.0 ** (1 - (won + lost)), 1.0)
    told = p < 1 - LEVEL
    p = np.maximum(p, rarest)
    doubtful = told & (p >= 1 - LEVEL)
    low, high = np.clip(value - t * error, -1, 1), np.clip(value + t * error, -1, 1)
    low, high = np.where(doubtful, np.minimum(low, 0), low), np.where(doubtful, np.maximum(high, 0), high)
    return Difference(value, low, high, error, freedom, np.minimum(p, 1), noise, won, lost, differing, size)


def more_seeds(found: Difference, seeds: int, level: float = LEVEL) -> int | None:
    """How many seeds of each beside these would tell a true difference of this size with a probability of `POWER`.

    found: of one data set; seeds: of each configuration now, the larger number where they differ
    None where no number would, or more than `MOST_SEEDS`, or where one seed is all that is known.
    """
    noise, tasks = found.noise, found.noise.n_tasks
    if noise.seeds_freedom == 0 or abs(float(found.value)) < _SAME:
        return None
    counts = np.arange(seeds + 1, MOST_SEEDS + 1)
    shrinking = seeds / counts
    of_tasks = max(float(noise.tasks - noise.flips), 0.0) + float(noise.flips) * shrinking
    of_seeds = float(noise.seeds) * shrinking
    freedom = noise.seeds_freedom / max(seeds - 1, 1) * (counts - 1)
    planned = Noise(of_tasks, of_seeds, 0 * of_seeds, tasks, 1)
    parts = of_tasks**2 / (tasks - 1) + of_seeds**2 / freedom
    needed = _quantiles(planned.variance**2 / np.maximum(parts, 1e-300), level) * np.sqrt(planned.variance)
    enough = np.flatnonzero(abs(float(found.value)) >= needed)
    return int(counts[enough[0]] - seeds) if len(enough) else None


def mcnemar(won: int, lost: int) -> float:
    """McNemar's exact test: how probable it is that of tasks that fell to either side at least so many fell to one."""
    return float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """P-values of several comparisons, corrected so that any false alarm among them is as rare as in one (Holm)."""
    order = sorted(range(len(p)), key=lambda place: p[place])
    corrected, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, p[place] * (len(p) - rank)))
        corrected[place] = largest
    return corrected


def spread(scores: Array) -> float | None:
    """The deviation between the means (S,) of runs; None of one."""
    return float(scores.std(ddof=1)) if len(scores) > 1 else None


def _noise(groups: Sequence[Array], seeds: Sequence[int], by_task: Array | None = None) -> Noise:
    """The noise of a mean, or of a difference of means whose differences by task (..., T) are given.

    groups: scores (..., T, S) that vary with seeds of their own
    """
    if by_task is None:
        by_task = groups[0].mean(-1)
    tasks = by_task.shape[-1]
    of_tasks = by_task.var(-1, ddof=1) / tasks if tasks > 1 else 0 * by_task[..., 0]
    known = [(_common(group), _residual(group)) for group in groups if group.shape[-1] > 1 and tasks > 1]
    if not known:
        nothing: Any = 0 * of_tasks
        return Noise(of_tasks, nothing, nothing, tasks, 0)
    # a configuration with one seed is taken to vary as the other does
    usual = tuple(sum(part) / len(known) for part in zip(*known, strict=True))
    found = iter(known)
    each = [next(found) if number > 1 else usual for number in seeds]
    common = sum(of_seeds / number for (of_seeds, _), number in zip(each, seeds, strict=True))
    flips = sum(residual / (tasks * number) for (_, residual), number in zip(each, seeds, strict=True))
    freedom = sum(number - 1 for number in seeds)
    return Noise(of_tasks, np.maximum(common, 0), np.minimum(flips, of_tasks), tasks, freedom)


def _common(scores: Array) -> Array:
    """The variance of what a seed does to all tasks, an estimate that may fall below 0."""
    return scores.mean(-2).var(-1, ddof=1) - _residual(scores) / scores.shape[-2]


def _residual(scores: Array) -> Array:
    """The variance of a flip: what neither the task nor the seed explains."""
    tasks, seeds = scores.shape[-2:]
    rest = scores - scores.mean(-1, keepdims=True) - scores.mean(-2, keepdims=True)
    rest = rest + scores.mean((-2, -1), keepdims=True)
    return (rest**2).sum((-2, -1)) / ((tasks - 1) * (seeds - 1))


def _quantiles(freedom: Any, level: float) -> Any:
    """What a difference must have in standard errors to be told at this level with a probability of `POWER`."""
    return stats.t.ppf((1 + level) / 2, freedom) + stats.t.ppf(POWER, freedom)

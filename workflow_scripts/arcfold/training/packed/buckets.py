"""Few shapes for many micro-batches: a captured graph serves one shape, so that near sizes share one.

All sizes of a training are known before it begins. They are sorted and cut into as few runs as the
bound on padding allows; every micro-batch is then padded to the largest of its run.

Micro-batches of 1000, 2030, 1005, 2000 and 1010 tokens, at most 1.8 % padding:

    rounded up to 16   1008, 2032, 1008, 2000, 1024; 7045 tokens of samples allow 102 more than these 7072
    one run            all to 2032: 3088 more, too many
    two runs           1008 1008 1024 | 2000 2032: 16 + 16 and 32 more, fits
    shapes             1024, 2032, 1024, 2032, 1024: 7136 computed tokens, 1.3 % padding, two captures for five
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# A capture takes longer than its step takes launched, and its memory stays: padding buys fewer of them.
PADDING = 0.018
"""Largest share of the computed tokens that may be padding, over a whole training."""
MULTIPLE = 16
"""Tokens and scored positions of a padded row are multiples of it, as fast matrix products like them."""


@dataclass(frozen=True)
class Shape:
    """What a row's tensors are as large as."""

    tokens: int
    """Tokens of the row, T."""
    scored: int
    """Positions with a loss, L."""
    samples: int
    """Pieces that attention keeps apart; what is left of the row behind the last is one more."""
    longest: int
    """Tokens of the longest piece."""


def plan_shapes(sizes: Sequence[Shape], padding: float = PADDING) -> list[Shape]:
    """For each micro-batch the shape that it is padded to, with as few different ones as `padding` allows.

    The padding of the whole list, in tokens over computed tokens, stays under `padding` unless
    rounding up to `MULTIPLE` alone is more. sizes: the exact shapes, not empty, in any order.
    """
    tokens = np.array([_up(size.tokens) for size in sizes])
    order = np.argsort(tokens, kind="stable")
    # sum / (1 - padding) tokens may be computed; what rounding has not used up is left for the runs
    allowed = sum(size.tokens for size in sizes) / (1 - padding) - int(tokens.sum())
    cuts = _fewest_runs(tokens[order], allowed)
    samples = max(size.samples for size in sizes)
    shapes: list[Shape | None] = [None] * len(sizes)
    for first, last in pairwise(cuts):
        members = order[first:last]
        widest = int(tokens[members].max())
        # the padding is a piece too: `longest` bounds it with the others
        rest = max(widest - sizes[i].tokens for i in members)
        shape = Shape(
            tokens=widest,
            scored=_up(max(sizes[i].scored for i in members)),
            samples=samples,
            longest=max(rest, *(sizes[i].longest for i in members)),
        )
        for i in members:
            shapes[i] = shape
    return [shape for shape in shapes if shape is not None]


def _up(count: int) -> int:
    return -(-count // MULTIPLE) * MULTIPLE


def _fewest_runs(tokens: np.ndarray, allowed: float) -> list[int]:
    """Where sorted sizes are cut: [0, …, n], the fewest runs whose paddings to their last sum to at most `allowed`.

    Dynamic programming over the number of runs: best[j] is the least padding of the first j sizes in
    r runs, best'[j] = min over i < j of best[i] + tokens[j - 1] (j - i) - (tokens[i] + … + tokens[j - 1]).
    """
    n = len(tokens)
    total = np.concatenate([[0], np.cumsum(tokens)])
    at = np.arange(n + 1)
    waste = np.full((n + 1, n + 1), np.inf)  # [i, j]: of a run from i to j
    for j in range(1, n + 1):
        waste[:j, j] = tokens[j - 1] * (j - at[:j]) - (total[j] - total[:j])
    best = waste[0]
    back: list[np.ndarray] = []
    while best[n] > max(allowed, 0):
        sums = best[:, None] + waste
        back.append(sums.argmin(0))
        best = sums.min(0)
    cuts = [n]
    for came_from in reversed(back):
        cuts.append(int(came_from[cuts[-1]]))
    return [0, *reversed(cuts)]

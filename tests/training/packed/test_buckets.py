"""Shapes for micro-batches: the bound on padding, and the fewest runs against trying every way to cut."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from arcfold.training.packed.buckets import MULTIPLE, Shape, _fewest_runs, plan_shapes


def shapes_of(tokens: list[int]) -> list[Shape]:
    return [Shape(n, n // 3 + 1, 4, n // 2 + 1) for n in tokens]


@given(st.lists(st.integers(200, 20000), min_size=1, max_size=60), st.floats(0.005, 0.2))
def test_every_micro_batch_fits_and_padding_stays_under_its_bound(tokens: list[int], padding: float) -> None:
    sizes = shapes_of(tokens)
    planned = plan_shapes(sizes, padding)
    for size, shape in zip(sizes, planned, strict=True):
        assert shape.tokens % MULTIPLE == shape.scored % MULTIPLE == 0
        assert shape.tokens >= size.tokens
        assert shape.scored >= size.scored
        assert shape.samples >= size.samples
        assert shape.longest >= max(size.longest, shape.tokens - size.tokens)
    computed, rounded = (sum(n) for n in ([s.tokens for s in planned], [-(-n // MULTIPLE) * MULTIPLE for n in tokens]))
    assert computed <= max(sum(tokens) / (1 - padding), rounded)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 60))
def test_no_fewer_runs_would_do(tokens: list[int], allowed: int) -> None:
    tokens = sorted(tokens)
    n = len(tokens)

    def waste(cuts: tuple[int, ...]) -> int:
        return sum(tokens[last - 1] * (last - first) - sum(tokens[first:last]) for first, last in pairwise(cuts))

    found = _fewest_runs(np.array(tokens), allowed)
    assert waste(tuple(found)) <= allowed
    fewest = min(
        len(inner) + 1
        for count in range(n)
        for inner in combinations(range(1, n), count)
        if waste((0, *inner, n)) <= allowed
    )
    assert len(found) - 1 == fewest

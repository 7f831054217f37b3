"""Grids, tasks and views for the tests: drawn by hypothesis, or small ones with a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from arcfold.arc.tasks import Grid, Pair, Task
from arcfold.arc.views import SYMMETRIES, View


@st.composite
def grids(draw: Any, longest: int = 30) -> Grid:
    """Any grid; one draw of bytes keeps large ones cheap."""
    rows, columns = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    cells = draw(st.binary(min_size=rows * columns, max_size=rows * columns))
    return tuple(tuple(cell % 10 for cell in cells[start : start + columns]) for start in range(0, len(cells), columns))


@st.composite
def tasks(draw: Any, longest: int = 6, solved: bool = True) -> Task:
    """A task of up to 4 demonstrations and 3 test inputs."""
    train = draw(st.lists(st.builds(Pair, grids(longest), grids(longest)), min_size=1, max_size=4))
    outputs = grids(longest) if solved else st.none() | grids(longest)
    test = draw(st.lists(st.builds(Pair, grids(longest), outputs), min_size=1, max_size=3))
    return Task(draw(st.text("0123456789abcdef", min_size=8, max_size=8)), tuple(train), tuple(test))


def views(demonstrations: int = 3) -> st.SearchStrategy[View]:
    return st.builds(
        View,
        st.sampled_from(sorted(SYMMETRIES)),
        st.permutations(range(10)).map(tuple),
        st.permutations(range(demonstrations)).map(tuple),
    )


def grid(text: str) -> Grid:
    """`grid("12 30")` has the rows 1 2 and 3 0."""
    return tuple(tuple(int(cell) for cell in row) for row in text.split())


def task(name: str, train: Sequence[tuple[str, str]], test: Sequence[tuple[str, str | None]]) -> Task:
    """A task of grids written as in `grid`."""
    return Task(
        name,
        tuple(Pair(grid(given), grid(answer)) for given, answer in train),
        tuple(Pair(grid(given), None if answer is None else grid(answer)) for given, answer in test),
    )


def square(side: int, colour: int = 1) -> Grid:
    return tuple((colour,) * side for _ in range(side))


def as_array(cells: Grid) -> np.ndarray:
    return np.array(cells, dtype=np.int64)


def as_grid(array: np.ndarray) -> Grid:
    return tuple(tuple(int(cell) for cell in row) for row in array)

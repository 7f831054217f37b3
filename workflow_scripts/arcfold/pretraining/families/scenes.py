"""Inputs for rules that apply to any grid: scenes of several kinds, drawn for a whole task."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from arcfold.pretraining.families.canvas import (
    Draws,
    Grid,
    Size,
    any_shape,
    blank,
    drawn,
    noise,
    placed,
    put,
    thing,
)

Scene = Callable[[Size], Grid]


def any_scene(draws: Draws, small: bool = False) -> Scene:
    """A kind of scene for a task: cells, objects, bars or rectangles, in colours of its own.

    small: for grids of few cells, in which objects have no place
    """
    kinds = [cells, full_cells, two_colours] if small else [cells, objects, objects, rectangles, bars, full_cells]
    return draws.pick(kinds)(draws)


def cells(draws: Draws) -> Scene:
    """Scattered cells."""
    palette, share = draws.colours(draws.randint(1, 4)), draws.uniform(0.15, 0.6)
    return lambda size: noise(draws, *size, palette, share)


def two_colours(draws: Draws) -> Scene:
    """Cells of one colour on the background."""
    role, share = draws.role(), draws.uniform(0.35, 0.65)
    return lambda size: noise(draws, *size, [role()], share)


def full_cells(draws: Draws) -> Scene:
    """No background at all."""
    palette = draws.colours(draws.randint(2, 5))
    return lambda size: noise(draws, *size, palette)


def objects(draws: Draws) -> Scene:
    """Objects apart from each other."""
    palette, most = draws.colours(draws.randint(1, 5)), draws.randint(2, 5)

    def scene(size: Size) -> Grid:
        largest = max(2, min(5, min(size) // 2))
        count = draws.randint(1, max(1, min(most, size[0] * size[1] // 14)))
        return drawn(
            size, placed(draws, size, [thing(any_shape(draws, 1, largest), draws.pick(palette)) for _ in range(count)])
        )

    return scene


def rectangles(draws: Draws) -> Scene:
    """Rectangles that cover each other."""
    palette = draws.colours(draws.randint(2, 5))

    def scene(size: Size) -> Grid:
        grid = blank(*size)
        for _ in range(draws.many(2, 5)):
            top, left = draws.randrange(size[0]), draws.randrange(size[1])
            bottom, right = draws.randint(top, size[0] - 1), draws.randint(left, size[1] - 1)
            grid[top : bottom + 1, left : right + 1] = draws.pick(palette)
        return grid

    return scene


def bars(draws: Draws) -> Scene:
    """Bars that stand on the ground."""
    palette = draws.colours(draws.randint(1, 4))

    def scene(size: Size) -> Grid:
        grid = blank(*size)
        for column in range(size[1]):
            height = draws.randint(0, size[0])
            if height and draws.chance(0.75):
                grid[size[0] - height :, column] = draws.pick(palette)
        return grid

    return scene


def dots(draws: Draws, size: Size, count: int, colours: Sequence[int], gap: int = 1, border: int = 0) -> Grid:
    """Single cells apart from each other, the n-th of the n-th colour (in turn)."""
    items = [thing(np.ones((1, 1), bool), colours[number % len(colours)]) for number in range(count)]
    grid = blank(*size)
    for item in placed(draws, size, items, gap=gap, border=border):
        put(grid, item)
    return grid

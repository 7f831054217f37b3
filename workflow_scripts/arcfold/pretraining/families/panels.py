"""Panels: several grids of one size beside each other, and a logic that makes one of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from arcfold.pretraining.families.canvas import Draws, Grid, RejectError, noise, turned
from arcfold.pretraining.families.registry import Family, Made, MakePair, family, register

Logic = Callable[[np.ndarray, np.ndarray], np.ndarray]

LOGIC: dict[str, Logic] = {
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "nor": lambda a, b: ~(a | b),
    "nand": lambda a, b: ~(a & b),
    "same": lambda a, b: ~(a ^ b),
    "first_only": lambda a, b: a & ~b,
    "second_only": lambda a, b: b & ~a,
}
"""What two panels make of a cell: filled or not."""


def joined(draws: Draws, panels: list[Grid], line: int | None, down: bool) -> Grid:
    """Panels beside (or below) each other, with a line between them if there is one."""
    parts: list[Grid] = []
    for number, panel in enumerate(panels):
        panel = panel.T if down else panel
        if number and line is not None:
            parts.append(np.full((panel.shape[0], 1), line, np.uint8))
        parts.append(panel)
    made = np.concatenate(parts, axis=1)
    if made.shape[1] > 30:
        raise RejectError
    return made.T if down else made


def _logic(name: str) -> Family:
    def made(draws: Draws) -> MakePair:
        first, second, line, paint = draws.colours(4)
        if draws.chance(0.4):
            second = first
        sizes, down = draws.sizes(2, 9), draws.chance(0.5)
        with_line = draws.chance(0.75)
        shares = draws.uniform(0.35, 0.65), draws.uniform(0.35, 0.65)

        def make() -> Made:
            size = sizes()
            a, b = noise(draws, *size, [first], shares[0]), noise(draws, *size, [second], shares[1])
            answer = LOGIC[name](a > 0, b > 0)
            return Made(joined(draws, [a, b], line if with_line else None, down), (answer * paint).astype(np.uint8))

        return make

    return made


for _name in LOGIC:
    register(f"panels_{_name}", _logic(_name))


@family
def panels_logic_by_line(draws: Draws) -> MakePair:
    """The colour of the line between two panels says which logic applies."""
    first, second, paint = draws.colours(3)
    names = draws.sample(list(LOGIC), 2)
    lines = draws.colours(2, [first, second])
    sizes = draws.sizes(3, 8)

    def make() -> Made:
        size, kind = sizes(), draws.randrange(2)
        a, b = noise(draws, *size, [first], 0.5), noise(draws, *size, [second], 0.5)
        answer = LOGIC[names[kind]](a > 0, b > 0)
        return Made(joined(draws, [a, b], lines[kind], False), (answer * paint).astype(np.uint8))

    return make


@family
def panels_overlay(draws: Draws) -> MakePair:
    """Panels of different colours lie on top of each other, in a fixed order of priority."""
    count = draws.randint(2, 4)
    colours = draws.colours(count)
    priority, line = draws.sample(range(count), count), draws.colour(colours)
    sizes, down, with_line = draws.sizes(2, 6), draws.chance(0.5), draws.chance(0.6)

    def make() -> Made:
        size = sizes()
        panels = [noise(draws, *size, [colour], 0.5) for colour in colours]
        answer = np.zeros(size, np.uint8)
        for number in reversed(priority):
            answer = np.where(panels[number] > 0, panels[number], answer)
        return Made(joined(draws, panels, line if with_line else None, down), answer)

    return make


@family
def panels_two_by_two(draws: Draws) -> MakePair:
    """Four panels in a square, one over the other in a fixed order."""
    colours = draws.colours(4)
    line, priority = draws.colour(colours), draws.sample(range(4), 4)
    sizes = draws.sizes(2, 7)

    def make() -> Made:
        size = sizes()
        panels = [noise(draws, *size, [colour], 0.45) for colour in colours]
        rows = [joined(draws, panels[:2], line, False), joined(draws, panels[2:], line, False)]
        bar = np.full((1, rows[0].shape[1]), line, np.uint8)
        answer = np.zeros(size, np.uint8)
        for number in reversed(priority):
            answer = np.where(panels[number] > 0, panels[number], answer)
        return Made(np.concatenate([rows[0], bar, rows[1]]), answer)

    return make


@family
def panels_mask(draws: Draws) -> MakePair:
    """One panel is a coloured picture, the other a mask: the picture shows where the mask is filled (or empty)."""
    mask_colour, line, *palette = draws.colours(6)
    filled, sizes, first = draws.chance(0.6), draws.sizes(3, 9), draws.chance(0.5)

    def make() -> Made:
        size = sizes()
        picture, mask = noise(draws, *size, palette), noise(draws, *size, [mask_colour], 0.5)
        answer = np.where((mask > 0) == filled, picture, 0).astype(np.uint8)
        return Made(joined(draws, [picture, mask] if first else [mask, picture], line, False), answer)

    return make


@family
def panels_difference(draws: Draws) -> MakePair:
    """Two nearly equal panels: the cells that differ are marked."""
    line, mark, *palette = draws.colours(5)
    keep, sizes = draws.chance(0.5), draws.sizes(3, 9)

    def make() -> Made:
        size = sizes()
        a = noise(draws, *size, palette, 0.7)
        b = a.copy()
        for _ in range(draws.randint(1, 4)):
            b[draws.randrange(size[0]), draws.randrange(size[1])] = draws.pick([0, *palette])
        if (a == b).all():
            raise RejectError
        answer = np.where(a != b, mark, a if keep else 0).astype(np.uint8)
        return Made(joined(draws, [a, b], line, False), answer)

    return make


@family
def panels_vote(draws: Draws) -> MakePair:
    """Three damaged copies of a picture: each cell is what two of them agree on."""
    line, *palette = draws.colours(4)
    sizes = draws.sizes(3, 8)

    def make() -> Made:
        size = sizes()
        picture = noise(draws, *size, palette, 0.8)
        panels = [picture.copy() for _ in range(3)]
        for row in range(size[0]):
            for column in range(size[1]):
                if draws.chance(0.4):
                    draws.pick(panels)[row, column] = draws.pick([0, *palette])
        return Made(joined(draws, panels, line, False), picture)

    return make


@family
def panels_odd_one(draws: Draws) -> MakePair:
    """Of three panels two are the same; the third is the answer."""
    line, *palette = draws.colours(4)
    sizes, turns = draws.sizes(3, 7, square=True), draws.chance(0.3)

    def make() -> Made:
        size = sizes()
        usual, odd = noise(draws, *size, palette, 0.6), noise(draws, *size, palette, 0.6)
        panels = [usual, turned(usual, draws.randrange(8)) if turns else usual, odd]
        if any((turned(usual, number) == odd).all() for number in range(8)):
            raise RejectError
        draws.shuffle(panels)
        return Made(joined(draws, panels, line, False), odd)

    return make


@family
def panels_symmetric_one(draws: Draws) -> MakePair:
    """The panel that is its own mirror image."""
    line, colour = draws.colours(2)
    sizes, count = draws.sizes(3, 7, square=True), draws.randint(2, 3)

    def make() -> Made:
        size = sizes()
        panels = [noise(draws, *size, [colour], 0.5) for _ in range(count)]
        half = size[1] // 2
        panels[0][:, size[1] - half :] = panels[0][:, :half][:, ::-1]
        if any((p == p[:, ::-1]).all() or (p == p[::-1]).all() or (p == p.T).all() for p in panels[1:]):
            raise RejectError
        answer = panels[0]
        draws.shuffle(panels)
        return Made(joined(draws, panels, line, False), answer)

    return make


@family
def panels_fullest(draws: Draws) -> MakePair:
    """The panel with the most (or fewest) filled cells; or its colour as a single cell."""
    line, count, most, as_cell = draws.colour(), draws.randint(2, 4), draws.chance(0.7), draws.chance(0.3)
    sizes = draws.sizes(2, 6)

    def make() -> Made:
        size = sizes()
        colours = draws.colours(count, [line])
        panels = [noise(draws, *size, [colour], draws.uniform(0.1, 0.9)) for colour in colours]
        counts = [int((p > 0).sum()) for p in panels]
        best = max(counts) if most else min(counts)
        if counts.count(best) > 1 or not best:
            raise RejectError
        number = counts.index(best)
        answer = np.array([[colours[number]]], np.uint8) if as_cell else panels[number]
        return Made(joined(draws, panels, line, draws.chance(0.5)), answer)

    return make


@family
def panels_recolour(draws: Draws) -> MakePair:
    """The first panel's shape in the second panel's colour."""
    line, sizes, down = draws.colour(), draws.sizes(2, 8), draws.chance(0.5)

    def make() -> Made:
        size = sizes()
        colours = draws.colours(2, [line])
        a, b = (noise(draws, *size, [colour], 0.5) for colour in colours)
        if not a.any() or not b.any():
            raise RejectError
        return Made(joined(draws, [a, b], line, down), ((a > 0) * colours[1]).astype(np.uint8))

    return make


@family
def panels_stack_where_fit(draws: Draws) -> MakePair:
    """The filled cells of the second panel fill the empty ones of the first, if none of them collides; else only
    the first is shown."""
    first, second, line = draws.colours(3)
    sizes = draws.sizes(2, 6)

    def make() -> Made:
        size = sizes()
        a = noise(draws, *size, [first], 0.5)
        if draws.chance(0.5):
            b = np.where(a == 0, noise(draws, *size, [second], 0.7), 0).astype(np.uint8)
        else:
            b = noise(draws, *size, [second], 0.5)
        fits = not ((a > 0) & (b > 0)).any()
        answer = np.where(a > 0, a, b) if fits else a
        return Made(joined(draws, [a, b], line, False), answer.astype(np.uint8))

    return make


@family
def panels_in_sequence(draws: Draws) -> MakePair:
    """A cell walks one step from panel to panel; the answer is the panel that comes next."""
    dot, line = draws.colours(2)
    step, side = draws.pick([(0, 1), (1, 0), (1, 1), (0, 2), (1, 2)]), draws.randint(3, 5)

    def make() -> Made:
        count = draws.randint(3, 4)
        row, column = draws.randrange(side), draws.randrange(side)
        panels = []
        for number in range(count + 1):
            panel = np.zeros((side, side), np.uint8)
            panel[(row + number * step[0]) % side, (column + number * step[1]) % side] = dot
            panels.append(panel)
        return Made(joined(draws, panels[:-1], line, False), panels[-1])

    return make


@family
def panels_turning_sequence(draws: Draws) -> MakePair:
    """Each panel shows the one before it a quarter further; the answer is the next."""
    line, *palette = draws.colours(3)
    side, turn = draws.randint(2, 5), draws.pick([1, 3])

    def make() -> Made:
        panel = noise(draws, side, side, palette, 0.6)
        if (np.rot90(panel) == panel).all() or (np.rot90(panel, 2) == panel).all():
            raise RejectError
        panels = [np.rot90(panel, turn * number) for number in range(4)]
        return Made(joined(draws, panels[:3], line, False), panels[3])

    return make

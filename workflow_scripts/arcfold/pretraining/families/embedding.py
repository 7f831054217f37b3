"""Rules in a wider setting: any family's pair inside a frame, in every panel, under noise, after a choice.

A pair of some family becomes a part of a larger grid, so that a rule is found, cut out or told from others before it
is applied: two or three steps where the family alone has one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from arcfold.pretraining.families import arranging, composing, deciding, exemplars, quilts, restoring, ways
from arcfold.pretraining.families.canvas import LONGEST, Draws, Grid, RejectError, blank, noise
from arcfold.pretraining.families.registry import FAMILIES, Made, MakePair, register
from arcfold.pretraining.families.whole import LOCAL, RULES, applied

PARTS = tuple(
    name
    for name in sorted(FAMILIES)
    if name not in ("followed", "preceded", "two_side_by_side") and not name.startswith(("backwards_", "row_"))
)
"""Families that are put into a wider setting."""
_NAMED = (arranging, composing, deciding, exemplars, quilts, restoring, ways)
"""The modules that register what PARTS has, when they are imported."""


def _part(draws: Draws, longest: int, same_shape: bool = False) -> Callable[[], Made]:
    """A family's pairs with sides of at most `longest` cells, small ones: the setting is what is wide.

    same_shape: a family whose inputs and outputs have one shape, the same in all pairs
    A family that has none such is rejected after a few pairs, before anything is built on it.
    """
    draws.wide = False
    make_pair = FAMILIES[draws.pick(PARTS)](draws)

    def make() -> Made:
        for _ in range(4):
            pair = make_pair()
            if max(*pair.input.shape, *pair.output.shape) <= longest:
                return pair
        raise RejectError

    shapes = {grid.shape for pair in (make(), make()) for grid in pair}
    if same_shape and len(shapes) > 1:
        raise RejectError
    return make


def _room(draws: Draws, inner: Grid) -> tuple[Grid, int, int]:
    """A larger empty grid, and where the inner one goes, with one cell around it at least."""
    rows = draws.randint(min(inner.shape[0] + 3, LONGEST), min(inner.shape[0] + 10, LONGEST))
    columns = draws.randint(min(inner.shape[1] + 3, LONGEST), min(inner.shape[1] + 10, LONGEST))
    if rows < inner.shape[0] + 2 or columns < inner.shape[1] + 2:
        raise RejectError
    top, left = draws.randint(1, rows - inner.shape[0] - 1), draws.randint(1, columns - inner.shape[1] - 1)
    return blank(rows, columns), top, left


def _framed(draws: Draws) -> MakePair:
    """The rule holds for what is in the frame alone: the answer is that part, or the whole grid with it."""
    in_place, share = draws.chance(0.5), draws.uniform(0.0, 0.25)
    edge, litter = draws.colour(), draws.colours(2)
    part = _part(draws, 20)

    def make() -> Made:
        first, last = part()
        if (first == edge).any() or (in_place and first.shape != last.shape):
            raise RejectError
        grid, top, left = _room(draws, first)
        scattered = noise(draws, grid.shape[0], grid.shape[1], [c for c in litter if c != edge] or [1], share)
        framed = np.pad(first, 1, constant_values=edge)
        made = scattered.copy()
        made[top - 1 : top + framed.shape[0] - 1, left - 1 : left + framed.shape[1] - 1] = framed
        if not in_place:
            return Made(made, last)
        answer = made.copy()
        answer[top : top + last.shape[0], left : left + last.shape[1]] = last
        return Made(made, answer)

    return make


def _cornered(draws: Draws) -> MakePair:
    """Four cells mark the corners of the part that the rule holds for; the answer is that part."""
    part, mark = _part(draws, 18), draws.colour()
    litter, share = draws.colours(2, [mark]), draws.uniform(0.0, 0.2)

    def make() -> Made:
        first, last = part()
        if (first == mark).any():
            raise RejectError
        grid, top, left = _room(draws, first)
        made = noise(draws, grid.shape[0], grid.shape[1], litter, share)
        made[top : top + first.shape[0], left : left + first.shape[1]] = first
        for row in (top - 1, top + first.shape[0]):
            for column in (left - 1, left + first.shape[1]):
                made[row, column] = mark
        return Made(made, last)

    return make


def _in_panels(draws: Draws) -> MakePair:
    """Several grids with lines between them, the rule in each (or only in those with a mark on the line above)."""
    part, line = _part(draws, 13, same_shape=True), draws.colour()
    only_marked, mark = draws.chance(0.4), draws.colour([line])
    across, down = draws.pick([(2, 1), (1, 2), (2, 2), (3, 1), (2, 3), (1, 3)])

    def make() -> Made:
        pairs: list[Made] = []
        for _ in range(3 * across * down):
            pair = part()
            if pair.input.shape == pair.output.shape and (not pairs or pair.input.shape == pairs[0].input.shape):
                pairs.append(pair)
            if len(pairs) == across * down:
                break
        else:
            raise RejectError
        rows, columns = pairs[0].input.shape
        size = (down * (rows + 1) + 1, across * (columns + 1) + 1)
        first, last = blank(*size, line), blank(*size, line)
        chosen = [draws.chance(0.5) for _ in pairs]
        if only_marked and (all(chosen) or not any(chosen)):
            raise RejectError
        for number, pair in enumerate(pairs):
            top, left = (number // across) * (rows + 1) + 1, (number % across) * (columns + 1) + 1
            acts = chosen[number] or not only_marked
            first[top : top + rows, left : left + columns] = pair.input
            last[top : top + rows, left : left + columns] = pair.output if acts else pair.input
            if only_marked and acts:
                first[top - 1, left : left + columns] = last[top - 1, left : left + columns] = mark
        return Made(first, last)

    return make


def _then(draws: Draws) -> MakePair:
    """Two rules on whole grids behind a family's own."""
    part = _part(draws, 20)
    rules = [RULES[name](draws) for name in draws.sample(LOCAL, 2)]

    def make() -> Made:
        first, last = part()
        once = applied(rules[0], last)
        twice = applied(rules[1], once)
        if any(a.shape == b.shape and (a == b).all() for a, b in ((last, once), (once, twice), (last, twice))):
            raise RejectError
        return Made(first, twice)

    return make


def _by_indicator(draws: Draws) -> MakePair:
    """The colour of a bar above the grid says which rule follows the family's own."""
    part, count = _part(draws, 20), draws.randint(2, 3)
    codes = draws.colours(count)
    rules = [RULES[name](draws) for name in draws.sample(LOCAL, count)]

    def make() -> Made:
        first, last = part()
        kind = draws.randrange(count)
        answer = applied(rules[kind], last)
        if answer.shape == last.shape and (answer == last).all():
            raise RejectError
        bar = np.full((1, first.shape[1]), codes[kind], np.uint8)
        return Made(np.concatenate([bar, first]), answer)

    return make


def _speckled(draws: Draws) -> MakePair:
    """Specks of one colour lie on the input and mean nothing."""
    part, speck, share = _part(draws, 24), draws.colour(), draws.uniform(0.02, 0.06)

    def make() -> Made:
        first, last = part()
        if (first == speck).any() or (last == speck).any() or first.size < 60:
            raise RejectError
        made = first.copy()
        for row, column in np.argwhere(first == 0).tolist():
            if draws.chance(share):
                made[row, column] = speck
        return Made(made, last)

    return make


def _shown_twice(draws: Draws) -> MakePair:
    """The answer beside the grid that it came from, a line between them."""
    part, line, down = _part(draws, 14, same_shape=True), draws.colour(), draws.chance(0.5)

    def make() -> Made:
        first, last = part()
        if first.shape != last.shape:
            raise RejectError
        bar = np.full((1, first.shape[1]) if down else (first.shape[0], 1), line, np.uint8)
        axis = 0 if down else 1
        empty = np.zeros_like(first)
        return Made(np.concatenate([first, bar, empty], axis=axis), np.concatenate([first, bar, last], axis=axis))

    return make


register("framed", _framed, weight=25)
register("marked_out", _cornered, weight=15)
register("in_panels", _in_panels, weight=25)
register("then_two", _then, weight=20)
register("by_indicator", _by_indicator, weight=15)
register("speckled", _speckled, weight=12)
register("shown_twice", _shown_twice, weight=8)

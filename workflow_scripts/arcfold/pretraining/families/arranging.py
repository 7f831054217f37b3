"""Objects put in order: pulled to a side that the grid tells, stacked, lined up, sorted, counted into pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from arcfold.pretraining.families.canvas import (
    Draws,
    Grid,
    RejectError,
    Size,
    Thing,
    any_shape,
    blank,
    blob,
    box,
    drawn,
    frame,
    holes,
    placed,
    put,
    shape_key,
    thing,
)
from arcfold.pretraining.families.registry import Family, Made, MakePair, family, register

_WAYS = ((1, 0), (-1, 0), (0, 1), (0, -1))


def _slid(grid: Grid, item: Thing, way: tuple[int, int]) -> Thing:
    """The object moved on until the border or something drawn stops it."""
    while True:
        new = item.moved(*way)
        if new.top < 0 or new.left < 0 or new.bottom >= grid.shape[0] or new.right >= grid.shape[1]:
            return item
        if (grid[new.top : new.bottom + 1, new.left : new.right + 1][new.mask] > 0).any():
            return item
        item = new


def _fall(size: Size, fixed: list[Thing], loose: list[Thing], way: tuple[int, int]) -> Grid:
    """The loose objects slide one way, the first in that direction first."""
    grid = drawn(size, fixed)
    first = {
        (1, 0): lambda i: -i.bottom, (-1, 0): lambda i: i.top, (0, 1): lambda i: -i.right, (0, -1): lambda i: i.left,
    }[way]  # fmt: skip
    for item in sorted(loose, key=first):
        put(grid, _slid(grid, item, way))
    return grid


@family
def pulled_to_marked_side(draws: Draws) -> MakePair:
    """A bar at one side pulls all objects; what is fixed holds them up."""
    bar, stone, *palette = draws.colours(4)
    sizes, with_stones = draws.sizes(10, 22), draws.chance(0.5)

    def make() -> Made:
        size, turn = sizes(), draws.randrange(4)
        items = [thing(any_shape(draws, 1, 3), draws.pick(palette)) for _ in range(draws.many(3, 5))]
        stones = [thing(box(1, draws.randint(1, 3)), stone) for _ in range(draws.randint(1, 3) if with_stones else 0)]
        everything = placed(draws, size, [*items, *stones], border=1)
        floor = thing(box(1, size[1]), bar, size[0] - 1, 0)
        loose, fixed = everything[: len(items)], [*everything[len(items) :], floor]
        first, last = drawn(size, [*everything, floor]), _fall(size, fixed, loose, (1, 0))
        return Made(np.rot90(first, turn), np.rot90(last, turn))

    return make


@family
def pulled_by_colours_code(draws: Draws) -> MakePair:
    """A cell in the corner says by its colour which way all objects slide."""
    codes, palette = draws.colours(4), draws.colours(2)
    sizes = draws.sizes(9, 20)

    def make() -> Made:
        size, kind = sizes(), draws.randrange(4)
        items = [thing(any_shape(draws, 1, 3), draws.pick(palette)) for _ in range(draws.many(2, 5))]
        things = placed(draws, size, items)
        last = _fall(size, [], things, _WAYS[kind])
        code = blank(2, size[1])
        code[0, 0] = codes[kind]
        return Made(np.concatenate([code, drawn(size, things)]), last)

    return make


@family
def drawn_to_own_colour(draws: Draws) -> MakePair:
    """Dots fly straight to the block of their colour and stick to it; dots of other colours vanish."""
    sizes = draws.sizes(10, 22)

    def make() -> Made:
        size = sizes()
        colours = draws.colours(3)
        block = thing(box(draws.randint(2, 5), draws.randint(2, 5)), colours[0])
        everything = placed(draws, size, [block, *[thing(box(1, 1), draws.pick(colours)) for _ in range(6)]], border=1)
        anchor, dots = everything[0], everything[1:]
        last = drawn(size, [anchor])
        moved = 0
        for dot in dots:
            if dot.colour != anchor.colour:
                continue
            if anchor.top <= dot.top <= anchor.bottom:
                way = (0, 1 if dot.left < anchor.left else -1)
            elif anchor.left <= dot.left <= anchor.right:
                way = (1 if dot.top < anchor.top else -1, 0)
            else:
                put(last, dot)
                continue
            put(last, _slid(last, dot, way))
            moved += 1
        if not moved:
            raise RejectError
        return Made(drawn(size, everything), last)

    return make


Measure = Callable[[Thing], int]
MEASURES: dict[str, Measure] = {
    "size": lambda item: item.size,
    "height": lambda item: item.rows,
    "width": lambda item: item.columns,
    "holes": lambda item: holes(item.mask),
    "place": lambda item: item.left,
    "depth": lambda item: item.top,
}


def _different(draws: Draws, name: str, count: int) -> list[np.ndarray]:
    """Shapes that differ in a measure."""
    if name == "holes":
        made = []
        for number in draws.sample(range(4), min(count, 4)):
            mask = frame(3, 2 * number + 1) if number else box(3, 2)
            for place in range(1, number):
                mask[:, 2 * place] = True
            made.append(mask)
        return made
    if name in ("height", "width"):
        sides = draws.sample(range(1, 7), min(count, 6))
        masks = [blob(draws, side, draws.randint(2, 3), 0.7) for side in sides]
        return masks if name == "height" else [mask.T for mask in masks]
    return [any_shape(draws, 1, 4) for _ in range(count)]


def _ordered(name: str, how: str) -> Family:
    """Objects in the order of a measure: lined up on the ground, stacked at the left, listed by colour, painted by
    rank, or the one in the middle alone."""

    def made(draws: Draws) -> MakePair:
        sizes, backwards = draws.sizes(11, 24), draws.chance(0.5)
        paint, grey = draws.colours(4), draws.colour()

        def make() -> Made:
            size, count = sizes(), draws.randint(3, 5)
            shapes = _different(draws, name, count)
            colours = [grey] * len(shapes) if how == "ranked" else draws.colours(len(shapes))
            items = [thing(mask, colour) for mask, colour in zip(shapes, colours, strict=True)]
            things = placed(draws, size, items)
            values = [MEASURES[name](item) for item in things]
            if len(set(values)) < len(values):
                raise RejectError
            order = sorted(things, key=MEASURES[name], reverse=backwards)
            first = drawn(size, things)
            if how == "listed":
                return Made(first, np.array([[item.colour for item in order]], np.uint8))
            if how == "middle":
                if len(order) % 2 == 0:
                    raise RejectError
                return Made(first, order[len(order) // 2].cells)
            if how == "ranked":
                if len(order) > len(paint):
                    raise RejectError
                return Made(first, drawn(size, [i.painted(c) for i, c in zip(order, paint, strict=False)]))
            last, place = blank(*size), 0
            for item in order:
                new = Thing(size[0] - item.rows, place, item.cells) if how == "lined" else Thing(place, 0, item.cells)
                place += (item.columns if how == "lined" else item.rows) + (1 if how == "lined" else 0)
                if place > size[1 if how == "lined" else 0] + 1:
                    raise RejectError
                put(last, new)
            return Made(first, last)

        return make

    return made


for _name in MEASURES:
    for _how in ("listed", "lined", "stacked", "ranked", "middle"):
        register(f"order_{_name}_{_how}", _ordered(_name, _how))


@family
def lined_up_with_marked(draws: Draws) -> MakePair:
    """All objects move up or down until their tops are in line with the marked one's."""
    mark, *palette = draws.colours(4)
    sizes = draws.sizes(10, 22)

    def make() -> Made:
        size = sizes()
        items = [thing(any_shape(draws, 2, 4), draws.pick(palette)) for _ in range(draws.randint(2, 4))]
        things = placed(draws, size, items)
        spans = sorted((i.left, i.right) for i in things)
        if any(a[1] >= b[0] for a, b in pairwise(spans)):
            raise RejectError
        cells = things[0].cells.copy()
        row, column = draws.pick(np.argwhere(things[0].mask).tolist())
        cells[row, column] = mark
        things[0] = things[0].with_cells(cells)
        top = things[0].top
        if any(top + item.rows > size[0] for item in things) or all(item.top == top for item in things):
            raise RejectError
        return Made(drawn(size, things), drawn(size, [item.moved(top - item.top, 0) for item in things]))

    return make


# --- amounts -------------------------------------------------------------------------------------------


def _amount(name: str, how: str) -> Family:
    """A number that the grid tells (of objects, colours, holes, shapes, the commonest) decides about the answer."""

    def made(draws: Draws) -> MakePair:
        sizes, palette = draws.sizes(9, 20), draws.colours(3)
        paint, other = draws.colours(2)
        picture = blob(draws, 2, draws.randint(2, 3), 0.7)

        def make() -> Made:
            size = sizes()
            count = draws.randint(1, 6)
            if name == "holes":
                masks = [frame(3, 3) if draws.chance(0.5) else box(2, 3) for _ in range(count)]
            else:
                masks = [any_shape(draws, 1, 3) for _ in range(count)]
            if name == "shapes":
                few = masks[: draws.randint(1, 3)]
                masks = [draws.pick(few) for _ in range(count)]
            things = placed(draws, size, [thing(mask, draws.pick(palette)) for mask in masks])
            number = {
                "objects": len(things),
                "colours": len({i.colour for i in things}),
                "holes": sum(holes(i.mask) for i in things),
                "shapes": len({shape_key(i.mask) for i in things}),
                "commonest": Counter(i.colour for i in things).most_common(1)[0][1],
            }[name]
            if not 1 <= number <= 6:
                raise RejectError
            first = drawn(size, things)
            if how == "square":
                return Made(first, np.full((number, number), paint, np.uint8))
            if how == "diagonal":
                return Made(first, (np.eye(number, dtype=np.uint8) * paint).astype(np.uint8))
            if how == "row":
                row = np.full((1, 6), other, np.uint8)
                row[0, :number] = paint
                return Made(first, row)
            if how == "rings":
                r, c = np.indices((2 * number - 1, 2 * number - 1))
                ring = np.maximum(abs(r - number + 1), abs(c - number + 1))
                return Made(first, np.where(ring % 2 == 0, paint, other).astype(np.uint8))
            return Made(first, np.tile((picture * paint).astype(np.uint8), (1, number)))

        return make

    return made


for _name in ("objects", "colours", "holes", "shapes", "commonest"):
    for _how in ("square", "diagonal", "row", "rings", "tiles"):
        register(f"amount_{_name}_{_how}", _amount(_name, _how), weight=0.5)

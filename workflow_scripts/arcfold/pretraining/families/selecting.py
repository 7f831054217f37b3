"""One property picks objects, one action happens to them: every combination is a family.

`largest` and `remove` make the family select_largest_remove, and so on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from arcfold.pretraining.families.canvas import (
    LETTERS,
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
    grown,
    holes,
    is_mirrored,
    placed,
    put,
    shape_key,
    thing,
    things_in,
    turned,
)
from arcfold.pretraining.families.registry import Family, Made, MakePair, register

Flags = list[bool]
Choose = Callable[[Draws], Callable[[Sequence[Thing], Size], Flags]]
"""Draws what a property leaves open, and returns what tells which objects have it."""
Act = Callable[[Draws], Callable[[Size, Sequence[Thing], Flags], Grid]]
"""Draws what an action leaves open, and returns what makes the output."""


# --- properties ----------------------------------------------------------------------------------------


def _extreme(measure: Callable[[Thing], float], highest: bool) -> Choose:
    """The one object with the highest (or lowest) measure; a tie is no task."""

    def choose(draws: Draws) -> Callable[[Sequence[Thing], Size], Flags]:
        def flags(things: Sequence[Thing], size: Size) -> Flags:
            values = [measure(item) for item in things]
            best = max(values) if highest else min(values)
            if values.count(best) > 1:
                raise RejectError
            return [value == best for value in values]

        return flags

    return choose


def _each(test: Callable[[Thing, Size], bool]) -> Choose:
    """All objects that pass a test."""
    return lambda draws: lambda things, size: [test(item, size) for item in things]


def _touches_border(item: Thing, size: Size) -> bool:
    return item.top == 0 or item.left == 0 or item.bottom == size[0] - 1 or item.right == size[1] - 1


def _unique_shape(draws: Draws) -> Callable[[Sequence[Thing], Size], Flags]:
    def flags(things: Sequence[Thing], size: Size) -> Flags:
        keys = [shape_key(item.mask) for item in things]
        return [keys.count(key) == 1 for key in keys]

    return flags


def _unique_colour(draws: Draws) -> Callable[[Sequence[Thing], Size], Flags]:
    def flags(things: Sequence[Thing], size: Size) -> Flags:
        colours = [item.colour for item in things]
        return [colours.count(colour) == 1 for colour in colours]

    return flags


def _commonest_colour(draws: Draws) -> Callable[[Sequence[Thing], Size], Flags]:
    def flags(things: Sequence[Thing], size: Size) -> Flags:
        (first, count), *others = Counter(item.colour for item in things).most_common(2)
        if not others or others[0][1] == count:
            raise RejectError
        return [item.colour == first for item in things]

    return flags


def _of_colour(draws: Draws) -> Callable[[Sequence[Thing], Size], Flags]:
    wanted = draws.colour()
    return lambda things, size: [item.colour == wanted for item in things]


def _of_size(draws: Draws) -> Callable[[Sequence[Thing], Size], Flags]:
    wanted = draws.randint(2, 5)
    return lambda things, size: [item.size == wanted for item in things]


PROPERTIES: dict[str, Choose] = {
    "largest": _extreme(lambda item: item.size, True),
    "smallest": _extreme(lambda item: item.size, False),
    "widest": _extreme(lambda item: item.columns, True),
    "leftmost": _extreme(lambda item: item.left, False),
    "bordering": _each(_touches_border),
    "holed": _each(lambda item, size: holes(item.mask) > 0),
    "mirrored": _each(lambda item, size: is_mirrored(item.mask) or is_mirrored(item.mask.T)),
    "boxlike": _each(lambda item, size: bool(item.mask.all())),
    "flat": _each(lambda item, size: item.columns > item.rows),
    "squarish": _each(lambda item, size: item.columns == item.rows),
    "unique_shape": _unique_shape,
    "unique_colour": _unique_colour,
    "commonest_colour": _commonest_colour,
    "of_colour": _of_colour,
    "of_size": _of_size,
    "even": _each(lambda item, size: item.size % 2 == 0),
}


# --- actions -------------------------------------------------------------------------------------------


def _recolour(draws: Draws) -> Callable[[Size, Sequence[Thing], Flags], Grid]:
    colour = draws.colour()

    def act(size: Size, things: Sequence[Thing], flags: Flags) -> Grid:
        return drawn(size, [item.painted(colour) if flag else item for item, flag in zip(things, flags, strict=True)])

    return act


def _two_colours(draws: Draws) -> Callable[[Size, Sequence[Thing], Flags], Grid]:
    yes, no = draws.colours(2)

    def act(size: Size, things: Sequence[Thing], flags: Flags) -> Grid:
        return drawn(size, [item.painted(yes if flag else no) for item, flag in zip(things, flags, strict=True)])

    return act


def _remove(draws: Draws) -> Callable[[Size, Sequence[Thing], Flags], Grid]:
    return lambda size, things, flags: drawn(size, [i for i, flag in zip(things, flags, strict=True) if not flag])


def _keep(draws: Draws) -> Callable[[Size, Sequence[Thing], Flags], Grid]:
    return lambda size, things, flags: drawn(size, [i for i, flag in zip(things, flags, strict=True) if flag])


def _crop(draws: Draws) -> Callable[[Size, Sequence[Thing], Flags], Grid]:
    def act(size: Size, things: Sequence[Thing], flags: Flags) -> Grid:
        if sum(flags) != 1:
            raise RejectError
        return things[flags.index(True)].cells

    return act


def _crop_mirrored(draws: Draws) -> Callable[[Size, Sequence[Thing], Flags], Grid]:
    def act(size: Size, things: Sequence[Thing], flags: Flags) -> Grid:
        if sum(flags) != 1:
            raise RejectError
        cells = things[flags.index(True)].cells
        return np.concatenate([cells, cells[:, ::-1]], axis=1)

    return act


def _halo(draws: Draws) -> Callable[[Size, Sequence[Thing], Flags], Grid]:
    colour = draws.colour()

    def act(size: Size, things: Sequence[Thing], flags: Flags) -> Grid:
        around = [
            thing(grown(item.mask, 1), colour, item.top - 1, item.left - 1)
            for item, flag in zip(things, flags, strict=True)
            if flag
        ]
        return drawn(size, [*around, *things])

    return act


def _fill_box(draws: Draws) -> Callable[[Size, Sequence[Thing], Flags], Grid]:
    colour = draws.colour()

    def act(size: Size, things: Sequence[Thing], flags: Flags) -> Grid:
        made = [
            item.with_cells(np.where(item.mask, item.cells, colour).astype(np.uint8)) if flag else item
            for item, flag in zip(things, flags, strict=True)
        ]
        return drawn(size, made)

    return act


def _fall(draws: Draws) -> Callable[[Size, Sequence[Thing], Flags], Grid]:
    """Those that have the property fall, the lowest first, until the ground or another object stops them."""

    def act(size: Size, things: Sequence[Thing], flags: Flags) -> Grid:
        grid = drawn(size, [item for item, flag in zip(things, flags, strict=True) if not flag])
        falling = [item for item, flag in zip(things, flags, strict=True) if flag]
        for item in sorted(falling, key=lambda one: -one.bottom):
            while item.bottom + 1 < size[0] and not _meets(grid, item.moved(1, 0)):
                item = item.moved(1, 0)
            put(grid, item)
        return grid

    return act


def _meets(grid: Grid, item: Thing) -> bool:
    area = grid[item.top : item.top + item.rows, item.left : item.left + item.columns]
    return bool((area[item.mask] > 0).any())


def _flip(draws: Draws) -> Callable[[Size, Sequence[Thing], Flags], Grid]:
    def act(size: Size, things: Sequence[Thing], flags: Flags) -> Grid:
        made = [
            item.with_cells(item.cells[:, ::-1]) if flag else item for item, flag in zip(things, flags, strict=True)
        ]
        return drawn(size, made)

    return act


def _dot(draws: Draws) -> Callable[[Size, Sequence[Thing], Flags], Grid]:
    """A dot on the border, in line with each object's first row."""
    colour = draws.colour()

    def act(size: Size, things: Sequence[Thing], flags: Flags) -> Grid:
        grid = drawn(size, things)
        for item, flag in zip(things, flags, strict=True):
            if flag:
                grid[item.top : item.bottom + 1, 0][grid[item.top : item.bottom + 1, 0] == 0] = colour
        return grid

    return act


def _count(draws: Draws) -> Callable[[Size, Sequence[Thing], Flags], Grid]:
    """A row with one cell for each object, filled for those that have the property."""
    colour = draws.colour()

    def act(size: Size, things: Sequence[Thing], flags: Flags) -> Grid:
        made = blank(1, len(things))
        made[0, : sum(flags)] = colour
        return made

    return act


def _row_and_column(draws: Draws) -> Callable[[Size, Sequence[Thing], Flags], Grid]:
    """The rows of those that have the property are filled where they are empty."""
    colour = draws.colour()

    def act(size: Size, things: Sequence[Thing], flags: Flags) -> Grid:
        grid = blank(*size)
        for item, flag in zip(things, flags, strict=True):
            if flag:
                grid[item.top : item.bottom + 1] = colour
        for item in things:
            put(grid, item)
        return grid

    return act


ACTIONS: dict[str, Act] = {
    "recolour": _recolour,
    "two_colours": _two_colours,
    "remove": _remove,
    "keep": _keep,
    "crop": _crop,
    "crop_mirrored": _crop_mirrored,
    "halo": _halo,
    "fill_box": _fill_box,
    "fall": _fall,
    "flip": _flip,
    "dot": _dot,
    "count": _count,
    "band": _row_and_column,
}

SENSELESS = {
    ("mirrored", "flip"), ("boxlike", "flip"), ("boxlike", "fill_box"), ("bordering", "dot"), ("bordering", "halo"),
    ("leftmost", "fall"), ("largest", "count"), ("smallest", "count"), ("widest", "count"), ("leftmost", "count"),
    ("smallest", "fill_box"), ("smallest", "flip"), ("holed", "flip"), ("even", "fill_box"), ("even", "flip"),
    ("of_size", "fill_box"), ("of_size", "flip"), ("commonest_colour", "crop"), ("commonest_colour", "crop_mirrored"),
    ("of_colour", "two_colours"), ("commonest_colour", "two_colours"), ("unique_colour", "fill_box"),
}  # fmt: skip
"""Combinations in which nothing would change or be learnt."""


# --- scenes --------------------------------------------------------------------------------------------


def _shapes(draws: Draws, kind: str, count: int) -> list[np.ndarray]:
    """Shapes among which some have the property and some do not, more likely than not."""
    if kind == "holed":
        return [
            frame(draws.randint(3, 5), draws.randint(3, 5))
            if draws.chance(0.5)
            else blob(draws, 3, draws.randint(2, 4))
            for _ in range(count)
        ]
    if kind == "boxlike":
        return [
            box(draws.randint(1, 4), draws.randint(2, 4)) if draws.chance(0.5) else any_shape(draws, 2, 4)
            for _ in range(count)
        ]
    if kind == "unique_shape":
        first, other = draws.sample(list(LETTERS), 2)
        shapes = [turned(first, draws.randrange(8)) for _ in range(count - 1)]
        return [*shapes, turned(other, draws.randrange(8))]
    if kind in ("of_size", "even"):
        return [blob(draws, draws.randint(1, 3), draws.randint(1, 3), draws.uniform(0.4, 1)) for _ in range(count)]
    return [any_shape(draws, draws.randint(1, 2), draws.randint(3, 5)) for _ in range(count)]


def _family(name: str, action: str) -> Family:
    def made(draws: Draws) -> MakePair:
        sizes, gap = draws.sizes(8, 20), 3 if action == "halo" else draws.randint(1, 2)
        choose, act = PROPERTIES[name](draws), ACTIONS[action](draws)
        by_colour = name in ("unique_colour", "commonest_colour", "of_colour")
        one_colour = not by_colour and draws.chance(0.6)
        role = draws.role()
        palette = draws.colours(draws.randint(2, 3) if by_colour else 4)
        if name == "of_colour":
            wanted = next(colour for colour in range(1, 10) if _has(choose, colour))
            palette = [wanted, *draws.colours(draws.randint(1, 3), [wanted])]

        def colouring(count: int) -> list[int]:
            if one_colour:
                return [role()] * count
            if name == "unique_colour":
                common = draws.pick(palette)
                return [common] * (count - 1) + [draws.pick([c for c in palette if c != common])]
            return [draws.pick(palette) for _ in range(count)]

        def make() -> Made:
            size, count = sizes(), draws.many(3, 6)
            shapes = _shapes(draws, name, count)
            items = [thing(shape, colour) for shape, colour in zip(shapes, colouring(count), strict=True)]
            things = placed(draws, size, items, gap=gap)
            if name == "bordering":
                things = [_to_border(draws, item, size) if draws.chance(0.4) else item for item in things]
                if len(things_in(drawn(size, things), diagonal=True, many_colours=True)) < count:
                    raise RejectError  # two of them met
            flags = choose(things, size)
            if all(flags) or not any(flags):
                raise RejectError
            result = act(size, things, flags)
            return Made(drawn(size, things), result)

        return make

    return made


def _has(choose: Callable[[Sequence[Thing], Size], Flags], colour: int) -> bool:
    return choose([thing(box(1, 1), colour)], (1, 1))[0]


def _to_border(draws: Draws, item: Thing, size: Size) -> Thing:
    """The object moved to one of the four sides."""
    down = draws.pick([-item.top, size[0] - 1 - item.bottom, 0, 0])
    right = draws.pick([-item.left, size[1] - 1 - item.right]) if down == 0 else 0
    return item.moved(down, right)


for _property in PROPERTIES:
    for _action in ACTIONS:
        if (_property, _action) not in SENSELESS:
            register(f"select_{_property}_{_action}", _family(_property, _action))

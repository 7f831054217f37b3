"""An attribute of each object decides its colour: by size, rank, shape, holes, place, count, neighbours, keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from arcfold.pretraining.families.canvas import (
    LETTERS,
    Draws,
    RejectError,
    Size,
    Thing,
    any_shape,
    blank,
    blob,
    box,
    drawn,
    enclosed,
    frame,
    holes,
    is_mirrored,
    placed,
    put,
    reachable,
    shape_key,
    thing,
    turned,
)
from arcfold.pretraining.families.registry import Family, Made, MakePair, family, register

Attribute = Callable[[Sequence[Thing], Size], list[int]]
"""A number from 0 for each object."""


def _ranks(measure: Callable[[Thing], int]) -> Attribute:
    def attribute(things: Sequence[Thing], size: Size) -> list[int]:
        values = [measure(item) for item in things]
        if len(set(values)) < len(values):
            raise RejectError
        return [sorted(values, reverse=True).index(value) for value in values]

    return attribute


def _each(measure: Callable[[Thing], int]) -> Attribute:
    return lambda things, size: [measure(item) for item in things]


def _orientation(item: Thing) -> int:
    return 0 if item.rows == item.columns else 1 if item.rows > item.columns else 2


def _symmetry(item: Thing) -> int:
    return is_mirrored(item.mask) + 2 * is_mirrored(item.mask.T)


def _repeats(things: Sequence[Thing], size: Size) -> list[int]:
    keys = [shape_key(item.mask) for item in things]
    return [min(keys.count(key), 3) - 1 for key in keys]


def _quadrant(things: Sequence[Thing], size: Size) -> list[int]:
    made = []
    for item in things:
        if item.top < size[0] / 2 <= item.bottom or item.left < size[1] / 2 <= item.right:
            raise RejectError
        made.append(2 * (item.top >= size[0] / 2) + (item.left >= size[1] / 2))
    return made


def _border(things: Sequence[Thing], size: Size) -> list[int]:
    return [
        (item.top == 0 or item.left == 0 or item.bottom == size[0] - 1 or item.right == size[1] - 1) + 0
        for item in things
    ]


def _reading_order(things: Sequence[Thing], size: Size) -> list[int]:
    lefts = [item.left for item in things]
    if len(set(lefts)) < len(lefts):
        raise RejectError
    return [sorted(lefts).index(left) % 3 for left in lefts]


ATTRIBUTES: dict[str, tuple[Attribute, int]] = {
    "size": (_each(lambda item: min(item.size, 6) - 1), 6),
    "size_rank": (_ranks(lambda item: item.size), 5),
    "height": (_each(lambda item: item.rows - 1), 5),
    "height_rank": (_ranks(lambda item: item.rows), 5),
    "width_rank": (_ranks(lambda item: item.columns), 5),
    "holes": (_each(lambda item: min(holes(item.mask), 3)), 4),
    "orientation": (_each(_orientation), 3),
    "symmetry": (_each(_symmetry), 4),
    "repeats": (_repeats, 3),
    "quadrant": (_quadrant, 4),
    "border": (_border, 2),
    "reading_order": (_reading_order, 3),
    "filled": (_each(lambda item: int(item.mask.all())), 2),
    "odd_size": (_each(lambda item: item.size % 2), 2),
    "position_parity": (_each(lambda item: item.left % 2), 2),
}
"""What tells objects apart, and how many values it has."""


def _shape_for(draws: Draws, name: str) -> np.ndarray:
    if name == "size":
        return blob(draws, draws.randint(1, 3), draws.randint(1, 3), draws.uniform(0.4, 1))
    if name == "holes":
        return _holed(draws, draws.randint(0, 3))
    if name == "filled":
        return (box if draws.chance(0.5) else frame)(draws.randint(3, 5), draws.randint(3, 5))
    if name == "orientation":
        return box(draws.randint(1, 4), draws.randint(1, 4))
    return any_shape(draws, 1 if "rank" in name else 2, 5)


def _holed(draws: Draws, count: int) -> np.ndarray:
    """A frame with bars that part it into `count` chambers; without chambers a blob."""
    if count == 0:
        return blob(draws, 3, draws.randint(2, 4), 0.6)
    width = draws.randint(1, 2)
    mask = np.zeros((draws.randint(3, 4), count * (width + 1) + 1), bool)
    mask[[0, -1]] = True
    mask[:, :: width + 1] = True
    return mask


def _by_attribute(name: str) -> Family:
    attribute, count = ATTRIBUTES[name]

    def made(draws: Draws) -> MakePair:
        palette, sizes = draws.colours(min(count, 8)), draws.sizes(9, 20)
        role = draws.role(palette)
        only_repainted = draws.chance(0.3)
        many = draws.many(3, 6) if name not in ("size_rank", "height_rank", "width_rank") else min(count, 4)

        def make() -> Made:
            size, base = sizes(), role()
            if name == "repeats":
                shapes = [turned(m, draws.randrange(8)) for m in draws.sample(list(LETTERS), 3) for _ in range(3)]
                shapes = draws.sample(shapes, many)
            else:
                shapes = [_shape_for(draws, name) for _ in range(many)]
            things = placed(draws, size, [thing(shape, base) for shape in shapes])
            values = attribute(things, size)
            if len(set(values)) < 2:
                raise RejectError
            # with `only_repainted`, objects of value 0 keep their colour
            new = [
                item if only_repainted and value == 0 else item.painted(palette[value])
                for item, value in zip(things, values, strict=True)
            ]
            return Made(drawn(size, things), drawn(size, new))

        return make

    return made


for _name in ATTRIBUTES:
    register(f"colour_by_{_name}", _by_attribute(_name))


@family
def colour_by_dot_inside(draws: Draws) -> MakePair:
    """Objects of one colour hold a dot of another: the object takes the dot's colour."""
    base, sizes = draws.colour(), draws.sizes(9, 20)
    keep = draws.chance(0.5)

    def make() -> Made:
        size, items, new = sizes(), [], []
        for _ in range(draws.many(2, 5)):
            mask = blob(draws, draws.randint(2, 4), draws.randint(3, 5), 0.75)
            colour = draws.colour([base])
            cells = (mask * base).astype(np.uint8)
            row, column = draws.pick([tuple(cell) for cell in np.argwhere(mask).tolist()])
            cells[row, column] = colour
            items.append(Thing(0, 0, cells))
        things = placed(draws, size, items)
        for item in things:
            dot = int(item.cells[(item.cells != base) & item.mask][0])
            painted = item.painted(dot)
            if keep:
                painted.cells[item.cells == dot] = base
            new.append(painted)
        return Made(drawn(size, things), drawn(size, new))

    return make


@family
def colour_by_majority(draws: Draws) -> MakePair:
    """Objects of two colours become all of the colour that most (or fewest) of their cells have."""
    most, sizes = draws.chance(0.6), draws.sizes(8, 18)

    def make() -> Made:
        size, items = sizes(), []
        for _ in range(draws.many(2, 4)):
            mask, (first, second) = any_shape(draws, 3, 4), draws.colours(2)
            share = draws.pick([0.25, 0.75])
            cells = np.where(mask, [[first if draws.chance(share) else second for _ in row] for row in mask], 0)
            counts = sorted(np.bincount(cells[mask])[[first, second]] if cells.max() >= max(first, second) else [0, 0])
            if counts[0] == 0 or counts[0] == counts[1]:
                raise RejectError
            items.append(Thing(0, 0, cells.astype(np.uint8)))
        things = placed(draws, size, items, gap=1)
        new = []
        for item in things:
            used, count = np.unique(item.cells[item.mask], return_counts=True)
            new.append(item.painted(int(used[count.argmax() if most else count.argmin()])))
        return Made(drawn(size, things), drawn(size, new))

    return make


@family
def colour_by_shape_key(draws: Draws) -> MakePair:
    """Each shape has its colour in all pairs of the task; objects come in grey and are painted."""
    shapes = draws.sample(list(LETTERS), draws.randint(2, 4))
    base, *palette = draws.colours(len(shapes) + 1)
    free, sizes = draws.chance(0.5), draws.sizes(9, 20)

    def make() -> Made:
        size, kinds = sizes(), [draws.randrange(len(shapes)) for _ in range(draws.many(3, 6))]
        items = [thing(turned(shapes[k], draws.randrange(8) if free else 0), base) for k in kinds]
        things = placed(draws, size, items)
        new = [item.painted(palette[k]) for item, k in zip(things, kinds, strict=True)]
        return Made(drawn(size, things), drawn(size, new))

    return make


@family
def colour_by_twin(draws: Draws) -> MakePair:
    """Grey objects take the colour of the coloured object of the same shape."""
    base, sizes, free = draws.colour(), draws.sizes(11, 22), draws.chance(0.4)

    def make() -> Made:
        size, count = sizes(), draws.randint(2, 3)
        shapes, palette = draws.sample(list(LETTERS), count), draws.colours(count, [base])
        kinds = [draws.randrange(count) for _ in range(draws.many(2, 4))]
        models = [thing(shape, colour) for shape, colour in zip(shapes, palette, strict=True)]
        grey = [thing(turned(shapes[k], draws.randrange(8) if free else 0), base) for k in kinds]
        things = placed(draws, size, [*models, *grey])
        new = [
            item if place < count else item.painted(palette[kinds[place - count]]) for place, item in enumerate(things)
        ]
        return Made(drawn(size, things), drawn(size, new))

    return make


@family
def colour_key_in_corner(draws: Draws) -> MakePair:
    """A column of colour pairs at the left side says what becomes what elsewhere."""
    sizes, both = draws.sizes(8, 18), draws.chance(0.3)

    def make() -> Made:
        size, count = sizes(), draws.randint(2, 3)
        colours = draws.colours(2 * count)
        keys = list(zip(colours[::2], colours[1::2], strict=True))
        taken = np.zeros(size, bool)
        taken[: 2 * count, :3] = True
        used = [draws.pick(keys) for _ in range(draws.many(2, 5))]
        turn = [draws.chance(0.5) and both for _ in used]
        items = [thing(any_shape(draws, 1, 4), key[1] if t else key[0]) for key, t in zip(used, turn, strict=True)]
        things = placed(draws, size, items, taken=taken)
        first = drawn(size, things)
        new = [item.painted(k[0] if t else k[1]) for item, k, t in zip(things, used, turn, strict=True)]
        last = drawn(size, new)
        for number, key in enumerate(keys):
            first[2 * number, :2] = last[2 * number, :2] = key
        return Made(first, last)

    return make


@family
def colour_of_header(draws: Draws) -> MakePair:
    """Each column's filled cells take the colour of the column's head."""
    base, sizes, share = draws.colour(), draws.sizes(5, 14), draws.uniform(0.25, 0.6)
    keep_head = draws.chance(0.7)

    def make() -> Made:
        rows, columns = sizes()
        first = blank(rows, columns)
        heads = [draws.colour([base]) if draws.chance(0.8) else 0 for _ in range(columns)]
        last = blank(rows, columns)
        first[0] = heads
        last[0] = heads if keep_head else 0
        for row in range(2, rows):
            for column in range(columns):
                if heads[column] and draws.chance(share):
                    first[row, column], last[row, column] = base, heads[column]
        return Made(first, last)

    return make


@family
def colour_spreads_in_object(draws: Draws) -> MakePair:
    """An object that holds a coloured cell takes that colour; the others stay."""
    base, sizes = draws.colour(), draws.sizes(9, 20)

    def make() -> Made:
        size, seeds = sizes(), []
        items = [thing(any_shape(draws, 2, 5), base) for _ in range(draws.many(3, 6))]
        things = placed(draws, size, items)
        first, last = drawn(size, things), drawn(size, things)
        for item in things:
            if draws.chance(0.5):
                row, column = draws.pick(np.argwhere(item.mask).tolist())
                colour = draws.colour([base])
                seeds.append(colour)
                first[item.top + row, item.left + column] = colour
                put(last, item.painted(colour))
        if not seeds or len(seeds) == len(things):
            raise RejectError
        return Made(first, last)

    return make


@family
def colour_if_touching(draws: Draws) -> MakePair:
    """Objects beside a cell of the marking colour change colour."""
    base, mark, new = draws.colours(3)
    sizes, keep_mark = draws.sizes(9, 20), draws.chance(0.5)

    def make() -> Made:
        size = sizes()
        things = placed(draws, size, [thing(any_shape(draws, 2, 4), base) for _ in range(draws.many(3, 6))], gap=2)
        first = drawn(size, things)
        last, flags = first.copy(), []
        for item in things:
            flags.append(draws.chance(0.5))
            if not flags[-1]:
                continue
            padded = np.pad(item.mask, 1)
            beside = (
                np.roll(padded, 1, 0) | np.roll(padded, -1, 0) | np.roll(padded, 1, 1) | np.roll(padded, -1, 1)
            ) & ~padded
            spots = [
                (r + item.top - 1, c + item.left - 1)
                for r, c in np.argwhere(beside).tolist()
                if 0 <= r + item.top - 1 < size[0] and 0 <= c + item.left - 1 < size[1]
            ]
            spot = draws.pick(spots)
            first[spot] = mark
            put(last, item.painted(new))
            last[spot] = mark if keep_mark else 0
        if all(flags) or not any(flags):
            raise RejectError
        return Made(first, last)

    return make


@family
def colour_joined_to_source(draws: Draws) -> MakePair:
    """Wires joined to the source take its colour; wires that are not stay as they are."""
    base, source, sizes = *draws.colours(2), draws.sizes(8, 18)

    def make() -> Made:
        rows, columns = sizes()
        free = np.zeros((rows, columns), bool)
        for _ in range(draws.many(4, 7)):
            row, column, length = draws.randrange(rows), draws.randrange(columns), draws.randint(3, 8)
            if draws.chance(0.5):
                free[row, column : column + length] = True
            else:
                free[row : row + length, column] = True
        start = tuple(draws.pick(np.argwhere(free).tolist()))
        joined = reachable(free, [(start[0], start[1])])
        if joined.sum() < 4 or joined.sum() == free.sum():
            raise RejectError
        first = (free * base).astype(np.uint8)
        first[start] = source
        return Made(first, np.where(joined, source, free * base).astype(np.uint8))

    return make


@family
def colour_inside_by_frame(draws: Draws) -> MakePair:
    """Cells inside a frame take the frame's colour; cells outside stay or vanish."""
    base, sizes, outside_stays = draws.colour(), draws.sizes(11, 22), draws.chance(0.6)

    def make() -> Made:
        size = sizes()
        items = [
            thing(frame(draws.randint(4, 7), draws.randint(4, 7)), draws.colour([base]))
            for _ in range(draws.many(1, 3))
        ]
        taken = np.zeros(size, bool)
        things = placed(draws, size, items, taken=taken)
        first, last = drawn(size, things), drawn(size, things)
        for item in things:
            inside = np.argwhere(enclosed(item.mask)).tolist()
            for row, column in draws.sample(inside, draws.randint(1, len(inside) // 2)):
                first[item.top + row, item.left + column] = base
                last[item.top + row, item.left + column] = item.colour
            taken[item.top : item.bottom + 1, item.left : item.right + 1] = True
        for row, column in np.argwhere(~taken).tolist():
            if draws.chance(0.06):
                first[row, column] = base
                last[row, column] = base if outside_stays else 0
        return Made(first, last)

    return make


@family
def colour_ends_of_lines(draws: Draws) -> MakePair:
    """The two ends (or the middle) of every line take a colour."""
    base, mark, sizes, middle = *draws.colours(2), draws.sizes(8, 20), draws.chance(0.4)

    def make() -> Made:
        size, items = sizes(), []
        for _ in range(draws.many(2, 5)):
            length = 2 * draws.randint(1, 3) + 1
            items.append(thing(box(1, length) if draws.chance(0.5) else box(length, 1), base))
        things = placed(draws, size, items)
        new = []
        for item in things:
            cells = item.cells.copy()
            flat = cells.reshape(-1)
            flat[[len(flat) // 2] if middle else [0, -1]] = mark
            new.append(item.with_cells(cells))
        return Made(drawn(size, things), drawn(size, new))

    return make


@family
def colour_crossings(draws: Draws) -> MakePair:
    """Where lines of two directions cross, the cell takes a colour."""
    first_colour, second_colour, mark = draws.colours(3)
    if draws.chance(0.4):
        second_colour = first_colour
    sizes, over = draws.sizes(7, 20), draws.chance(0.5)

    def make() -> Made:
        rows, columns = sizes()
        grid = blank(rows, columns)
        across = draws.sample(range(0, rows, 2), draws.randint(1, min(3, (rows + 1) // 2)))
        down = draws.sample(range(0, columns, 2), draws.randint(1, min(3, (columns + 1) // 2)))
        grid[across] = first_colour
        for column in down:
            chosen = np.ones(rows, bool) if over else grid[:, column] == 0
            grid[chosen, column] = second_colour
        last = grid.copy()
        for row in across:
            last[row, down] = mark
        return Made(grid, last)

    return make


@family
def colour_by_column_position(draws: Draws) -> MakePair:
    """Bars take colours in turn, from left to right, whatever their height."""
    base, *palette = draws.colours(draws.randint(3, 4))
    sizes = draws.sizes(6, 16)

    def make() -> Made:
        rows, columns = sizes()
        first, last = blank(rows, columns), blank(rows, columns)
        number = 0
        for column in range(draws.many(0, 1), columns, 2):
            if draws.chance(0.85):
                height = draws.randint(1, rows - 1)
                first[rows - height :, column] = base
                last[rows - height :, column] = palette[number % len(palette)]
                number += 1
        if number < 2:
            raise RejectError
        return Made(first, last)

    return make

"""Stamps and keys: templates copied to marks, keys that say what becomes what."""

from __future__ import annotations

import numpy as np

from arcfold.pretraining.families.canvas import (
    LETTERS,
    Draws,
    Grid,
    RejectError,
    Thing,
    any_shape,
    blank,
    blob,
    box,
    drawn,
    noise,
    placed,
    put,
    thing,
    turned,
)
from arcfold.pretraining.families.registry import Made, MakePair, family


def _picture(draws: Draws, palette: list[int], side: int) -> Grid:
    """A connected picture of odd sides whose middle cell is filled."""
    mask = blob(draws, side, side, draws.uniform(0.5, 0.8))
    mask[side // 2, side // 2] = True
    return np.where(mask, noise(draws, side, side, palette), 0).astype(np.uint8)


@family
def stamp_at_dots(draws: Draws) -> MakePair:
    """The picture is copied to each dot, its middle on the dot."""
    dot, *palette = draws.colours(4)
    sizes, stays = draws.sizes(11, 22), draws.chance(0.6)

    def make() -> Made:
        size = sizes()
        model = Thing(0, 0, _picture(draws, palette, 3))
        room = [thing(box(3, 3), 1) for _ in range(draws.many(1, 4))]
        anchor, *spots = placed(draws, size, [model, *room])
        first = drawn(size, [anchor])
        last = drawn(size, [anchor] if stays else [])
        for spot in spots:
            first[spot.top + 1, spot.left + 1] = dot
            put(last, spot.with_cells(model.cells))
        return Made(first, last)

    return make


@family
def stamp_in_dots_colour(draws: Draws) -> MakePair:
    """The grey picture is copied to each dot in the dot's colour."""
    base, sizes = draws.colour(), draws.sizes(11, 22)

    def make() -> Made:
        size = sizes()
        mask = _picture(draws, [1], 3) > 0
        room = [thing(box(3, 3), 1) for _ in range(draws.many(1, 4))]
        anchor, *spots = placed(draws, size, [thing(mask, base), *room])
        first, last = drawn(size, [anchor]), drawn(size, [anchor])
        for spot in spots:
            colour = draws.colour([base])
            first[spot.top + 1, spot.left + 1] = colour
            put(last, thing(mask, colour, spot.top, spot.left))
        return Made(first, last)

    return make


@family
def stamp_hooked_by_colour(draws: Draws) -> MakePair:
    """One cell of the picture has the hook colour: copies hang on the hooks elsewhere."""
    hook, *palette = draws.colours(4)
    sizes = draws.sizes(11, 22)

    def make() -> Made:
        size, side = sizes(), draws.randint(2, 4)
        mask = blob(draws, side, side, 0.6)
        cells = np.where(mask, noise(draws, side, side, palette), 0).astype(np.uint8)
        row, column = draws.pick(np.argwhere(mask).tolist())
        cells[row, column] = hook
        rooms = [thing(mask, 1) for _ in range(draws.many(1, 3))]
        anchor, *spots = placed(draws, size, [Thing(0, 0, cells), *rooms])
        first, last = drawn(size, [anchor]), drawn(size, [anchor])
        for spot in spots:
            first[spot.top + row, spot.left + column] = hook
            put(last, spot.with_cells(cells))
        return Made(first, last)

    return make


@family
def cells_to_pictures(draws: Draws) -> MakePair:
    """Every colour stands for a small picture: each cell becomes its picture."""
    side, count = draws.randint(2, 3), draws.randint(2, 3)
    keys, palette = draws.colours(count), draws.colours(3)
    pictures = [noise(draws, side, side, palette, 0.7) for _ in keys]
    if len({p.tobytes() for p in pictures}) < count:
        raise RejectError
    sizes = draws.sizes(2, 6)

    def make() -> Made:
        first = noise(draws, *sizes(), keys, 0.7)
        last = np.zeros((first.shape[0] * side, first.shape[1] * side), np.uint8)
        for row, column in np.argwhere(first).tolist():
            last[row * side : (row + 1) * side, column * side : (column + 1) * side] = pictures[
                keys.index(int(first[row, column]))
            ]
        return Made(first, last)

    return make


@family
def picture_at_pattern(draws: Draws) -> MakePair:
    """A small picture and a small map beside each other: the picture appears at the map's filled cells."""
    line, mark, *palette = draws.colours(5)
    first_picture = draws.chance(0.5)

    def make() -> Made:
        side = draws.randint(2, 4)
        picture, where = noise(draws, side, side, palette, 0.7), noise(draws, side, side, [mark], 0.5)
        if not where.any() or not picture.any():
            raise RejectError
        parts = [picture, np.full((side, 1), line, np.uint8), where]
        first = np.concatenate(parts if first_picture else parts[::-1], axis=1)
        return Made(first, np.kron((where > 0).astype(np.uint8), picture))

    return make


@family
def key_of_shapes(draws: Draws) -> MakePair:
    """A key beside the grid pairs shapes with colours: grey shapes are painted by it."""
    base, line = draws.colours(2)
    sizes = draws.sizes(10, 18)

    def make() -> Made:
        rows, columns = sizes()
        count = min(draws.randint(2, 3), (rows + 1) // 4)
        shapes = [mask for mask in draws.sample(list(LETTERS), 12) if mask.shape == (3, 3)][:count]
        if len(shapes) < count or count < 2:
            raise RejectError
        colours = draws.colours(count, [base, line])
        kinds = [draws.randrange(count) for _ in range(draws.many(2, 4))]
        things = placed(draws, (rows, columns - 4), [thing(shapes[kind], base) for kind in kinds])
        key = blank(rows, 4)
        key[:, 3] = line
        for number, (mask, colour) in enumerate(zip(shapes, colours, strict=True)):
            put(key, thing(mask, colour, 4 * number, 0))
        grey = drawn((rows, columns - 4), things)
        new = [item.painted(colours[kind]) for item, kind in zip(things, kinds, strict=True)]
        return Made(np.concatenate([key, grey], axis=1), np.concatenate([key, drawn((rows, columns - 4), new)], axis=1))

    return make


@family
def key_in_column(draws: Draws) -> MakePair:
    """A table of two columns gives a new colour for each old one; the answer is the picture alone, recoloured."""
    line = draws.colour()
    sizes = draws.sizes(4, 10)

    def make() -> Made:
        rows, columns = sizes()
        count = min(draws.randint(2, 4), rows)
        colours = draws.colours(2 * count if 2 * count <= 8 else 8, [line])
        old, new = colours[: len(colours) // 2], colours[len(colours) // 2 :]
        table = blank(rows, 3)
        table[:, 2] = line
        for number, (a, b) in enumerate(zip(old, new, strict=True)):
            if number >= rows:
                raise RejectError
            table[number, :2] = a, b
        picture = noise(draws, rows, columns, old, draws.uniform(0.5, 1))
        lookup = np.arange(10, dtype=np.uint8)
        lookup[old] = new
        return Made(np.concatenate([table, picture], axis=1), lookup[picture])

    return make


@family
def complete_partial_copies(draws: Draws) -> MakePair:
    """Copies of the one whole picture have only some of their cells; they are completed."""
    palette, sizes = draws.colours(3), draws.sizes(11, 22)

    def make() -> Made:
        size, side = sizes(), draws.randint(3, 4)
        mask = blob(draws, side, side, 0.7)
        key = draws.pick(np.argwhere(mask).tolist())
        cells = np.where(mask, palette[0], 0).astype(np.uint8)
        cells[tuple(key)] = palette[1]
        anchor, *spots = placed(draws, size, [Thing(0, 0, cells)] * draws.randint(2, 4))
        first, last = drawn(size, [anchor]), drawn(size, [anchor, *spots])
        for spot in spots:
            part = np.where(cells == palette[1], cells, 0)
            for row, column in np.argwhere(cells == palette[0]).tolist():
                if draws.chance(0.3):
                    part[row, column] = cells[row, column]
            put(first, spot.with_cells(part.astype(np.uint8)))
        return Made(first, last)

    return make


@family
def copy_beside(draws: Draws) -> MakePair:
    """Each object is copied to its right, one cell apart, in another colour (or mirrored)."""
    paint, own, mirrored = draws.colour(), draws.chance(0.4), draws.chance(0.4)
    role, sizes = draws.role([paint]), draws.sizes(8, 20)

    def make() -> Made:
        size, colour = sizes(), role()
        shapes = [any_shape(draws, 2, 4) for _ in range(draws.many(1, 3))]
        rooms = [thing(box(mask.shape[0], 2 * mask.shape[1] + 1), 1) for mask in shapes]
        spots = placed(draws, size, rooms)
        first, last = blank(*size), blank(*size)
        for spot, mask in zip(spots, shapes, strict=True):
            item = thing(mask, colour, spot.top, spot.left)
            copy = thing(mask[:, ::-1] if mirrored else mask, colour if own else paint, spot.top, spot.left)
            put(first, item)
            put(last, item)
            put(last, copy.moved(0, mask.shape[1] + 1))
        return Made(first, last)

    return make


@family
def copy_to_empty_frame(draws: Draws) -> MakePair:
    """The object is copied into the empty frame of its size."""
    edge, *palette = draws.colours(4)
    sizes = draws.sizes(11, 20)

    def make() -> Made:
        size = sizes()
        picture = noise(draws, draws.randint(2, 4), draws.randint(2, 4), palette, 0.9)
        rim = np.pad(np.zeros_like(picture), 1, constant_values=edge)
        model, target = placed(draws, size, [Thing(0, 0, picture), thing(box(*rim.shape), 1)])
        first = drawn(size, [model, target.with_cells(rim)])
        last = drawn(size, [model, target.with_cells(np.pad(picture, 1, constant_values=edge))])
        return Made(first, last)

    return make


@family
def decorate_corners(draws: Draws) -> MakePair:
    """Every rectangle gets dots at its four corners, outside (or inside)."""
    base, mark, outside, sizes = *draws.colours(2), draws.chance(0.5), draws.sizes(9, 20)

    def make() -> Made:
        size = sizes()
        items = [thing(box(draws.randint(2, 5), draws.randint(2, 5)), base) for _ in range(draws.many(1, 3))]
        things = placed(draws, size, items, gap=3, border=1)
        last = drawn(size, things)
        by = 1 if outside else 0
        for item in things:
            for row in (item.top - by, item.bottom + by):
                for column in (item.left - by, item.right + by):
                    last[row, column] = mark
        return Made(drawn(size, things), last)

    return make


@family
def turn_by_key(draws: Draws) -> MakePair:
    """The colour of the corner cell says how the picture is turned."""
    *palette, one, two, three = draws.colours(5)
    moves = dict(zip((one, two, three), draws.sample(range(1, 8), 3), strict=True))
    sizes = draws.sizes(3, 7, square=True)

    def make() -> Made:
        picture, key = noise(draws, *sizes(), palette, 0.5), draws.pick([one, two, three])
        first = np.pad(picture, ((2, 0), (0, 0)))
        first[0, 0] = key
        return Made(first, turned(picture, moves[key]))

    return make


@family
def zoom_by_key(draws: Draws) -> MakePair:
    """As many key cells in the top row as the picture below is to be enlarged by."""
    key, *palette = draws.colours(4)
    sizes = draws.sizes(3, 5)

    def make() -> Made:
        picture, factor = noise(draws, *sizes(), palette, 0.7), draws.randint(1, 4)
        first = np.pad(picture, ((2, 0), (0, 4)))[:, : max(picture.shape[1], factor)]
        first[0, :factor] = key
        return Made(first, np.kron(picture, np.ones((factor, factor), np.uint8)))

    return make


@family
def paint_by_numbers(draws: Draws) -> MakePair:
    """A strip of colours below gives, column by column, the colour of the filled cells above."""
    base, sizes, goes = draws.colour(), draws.sizes(4, 13), draws.chance(0.5)

    def make() -> Made:
        rows, columns = sizes()
        picture = noise(draws, rows, columns, [base], 0.5)
        strip = np.array([[draws.colour([base]) for _ in range(columns)]], np.uint8)
        painted = np.where(picture > 0, strip, 0).astype(np.uint8)
        first = np.concatenate([picture, strip])
        return Made(first, painted if goes else np.concatenate([painted, strip]))

    return make


@family
def connect_stamps(draws: Draws) -> MakePair:
    """Squares in the same row or column are joined by a line of one cell's width between their middles."""
    base, line, side = *draws.colours(2), draws.pick([1, 3])
    low = draws.randint(3, 4)

    def make() -> Made:
        step = side + draws.randint(2, 3)
        rows, columns = low, draws.randint(3, 4)
        size = (rows * step, columns * step)
        where = noise(draws, rows, columns, [1], 0.5) > 0
        first, last = blank(*size), blank(*size)
        middle = side // 2
        for lines, turn in ((where, False), (where.T, True)):
            target = last.T if turn else last
            for row, cells in enumerate(lines):
                filled = np.flatnonzero(cells)
                if len(filled) > 1:
                    target[row * step + middle, filled[0] * step + middle : filled[-1] * step + middle + 1] = line
        if not last.any():
            raise RejectError
        for row, column in np.argwhere(where).tolist():
            item = thing(box(side, side), base, row * step, column * step)
            put(first, item)
            put(last, item)
        return Made(first, last)

    return make

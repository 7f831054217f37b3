"""Denoising: what does not belong there goes, what was damaged comes back."""

from __future__ import annotations

import numpy as np

from arcfold.pretraining.families.canvas import (
    Draws,
    RejectError,
    any_shape,
    box,
    drawn,
    frame,
    noise,
    placed,
    put,
    thing,
)
from arcfold.pretraining.families.registry import Made, MakePair, family


@family
def remove_specks(draws: Draws) -> MakePair:
    """Single cells scattered around solid rectangles vanish, also those of the rectangles' colour."""
    base, speck, sizes, share = *draws.colours(2), draws.sizes(9, 20), draws.uniform(0.03, 0.1)
    if draws.chance(0.4):
        speck = base

    def make() -> Made:
        size = sizes()
        taken = np.zeros(size, bool)
        items = [thing(box(draws.randint(2, 6), draws.randint(2, 6)), base) for _ in range(draws.many(1, 3))]
        things = placed(draws, size, items, gap=2, taken=taken)
        last = drawn(size, things)
        first = last.copy()
        for row, column in np.argwhere(last == 0).tolist():
            near = first[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            if draws.chance(share) and not near.any():
                first[row, column] = speck
        return Made(first, last)

    return make


@family
def remove_specks_everywhere(draws: Draws) -> MakePair:
    """Cells of the noise colour, on objects and beside them, are repaired."""
    base, speck, sizes, share = *draws.colours(2), draws.sizes(9, 20), draws.uniform(0.04, 0.15)

    def make() -> Made:
        size = sizes()
        items = [thing(box(draws.randint(3, 7), draws.randint(3, 7)), base) for _ in range(draws.many(1, 3))]
        last = drawn(size, placed(draws, size, items))
        first = np.where(noise(draws, *size, [1], share) > 0, speck, last).astype(np.uint8)
        for number in range(2):  # a rectangle must show all of its sides
            lines = first.T if number else first
            whole = last.T if number else last
            for a, b in zip(lines, whole, strict=True):
                if (b == base).any() and not (a == base).any():
                    raise RejectError
        return Made(first, last)

    return make


@family
def repair_lines(draws: Draws) -> MakePair:
    """Interrupted lines across the grid are closed."""
    sizes, share = draws.sizes(7, 20), draws.uniform(0.1, 0.35)
    role = draws.role()

    def make() -> Made:
        rows, columns = sizes()
        first, last = np.zeros((rows, columns), np.uint8), np.zeros((rows, columns), np.uint8)
        for row in draws.sample(range(rows), max(1, rows // 4)):
            last[row] = role()
            first[row] = [0 if draws.chance(share) else cell for cell in last[row].tolist()]
        if (first == last).all():
            raise RejectError
        return Made(first, last)

    return make


@family
def repair_frames(draws: Draws) -> MakePair:
    """Gaps in frames are closed, in a marking colour or their own."""
    base, mark, own, sizes = *draws.colours(2), draws.chance(0.5), draws.sizes(9, 20)

    def make() -> Made:
        size = sizes()
        items = [thing(frame(draws.randint(4, 7), draws.randint(4, 7)), base) for _ in range(draws.many(1, 3))]
        things = placed(draws, size, items)
        first, last = drawn(size, things), drawn(size, things)
        for item in things:
            corners = ([0, item.rows - 1], [0, item.columns - 1])
            cells = [c for c in np.argwhere(item.mask).tolist() if c[0] not in corners[0] or c[1] not in corners[1]]
            for row, column in draws.sample(cells, draws.randint(1, 3)):
                first[item.top + row, item.left + column] = 0
                last[item.top + row, item.left + column] = base if own else mark
        return Made(first, last)

    return make


@family
def fields_to_majority(draws: Draws) -> MakePair:
    """Each field of a mosaic becomes all of its commonest colour."""
    side, share = draws.randint(3, 5), draws.uniform(0.1, 0.3)
    palette = draws.colours(4)

    def make() -> Made:
        rows, columns = draws.randint(2, 4), draws.randint(2, 4)
        fields = noise(draws, rows, columns, palette)
        last = np.kron(fields, np.ones((side, side), np.uint8))
        if max(last.shape) > 20:
            raise RejectError
        height, width = last.shape
        first = np.where(noise(draws, height, width, [1], share) > 0, noise(draws, height, width, palette), last)
        for row in range(rows):
            for column in range(columns):
                part = first[row * side : (row + 1) * side, column * side : (column + 1) * side]
                counts = np.bincount(part.ravel(), minlength=10)
                if counts.argmax() != fields[row, column] or (counts == counts.max()).sum() > 1:
                    raise RejectError
        return Made(first.astype(np.uint8), last)

    return make


@family
def uncover_stripes(draws: Draws) -> MakePair:
    """Objects of the covering colour lie on stripes: the stripes are restored."""
    cover, sizes = draws.colour(), draws.sizes(7, 20)

    def make() -> Made:
        rows, columns = sizes()
        palette = draws.colours(3, [cover])
        last = np.array([draws.pick(palette) for _ in range(rows)], np.uint8)[:, None].repeat(columns, axis=1)
        items = [thing(any_shape(draws, 2, 4), cover) for _ in range(draws.many(1, 4))]
        first = last.copy()
        for item in placed(draws, (rows, columns), items):
            put(first, item)
        if (first == cover).all(axis=1).any():
            raise RejectError
        return Made(first, last)

    return make


@family
def keep_solid_objects(draws: Draws) -> MakePair:
    """Only objects of at least so many cells stay; smaller ones vanish (or change colour)."""
    least, role, sizes, mark = draws.randint(3, 5), draws.role(), draws.sizes(8, 20), draws.pick([0, draws.colour()])

    def make() -> Made:
        size, colour = sizes(), role()
        if colour == mark:
            raise RejectError
        items = [thing(any_shape(draws, 1, 3), colour) for _ in range(draws.many(4, 8))]
        things = placed(draws, size, items)
        flags = [item.size >= least for item in things]
        if all(flags) or not any(flags):
            raise RejectError
        new = [item if flag else item.painted(mark) for item, flag in zip(things, flags, strict=True)]
        return Made(drawn(size, things), drawn(size, new))

    return make


@family
def erase_colour_behind(draws: Draws) -> MakePair:
    """A line of the erasing colour crosses objects; it goes and the objects are whole again."""
    eraser, *palette = draws.colours(4)
    sizes = draws.sizes(8, 20)

    def make() -> Made:
        size = sizes()
        items = [
            thing(box(draws.randint(3, 6), draws.randint(3, 6)), draws.pick(palette)) for _ in range(draws.many(1, 3))
        ]
        things = placed(draws, size, items)
        last = drawn(size, things)
        first = last.copy()
        row = draws.randint(1, size[0] - 2)
        first[row] = eraser
        crossed = [item for item in things if item.top < row < item.bottom]
        if not crossed or any(item.top == row or item.bottom == row for item in things):
            raise RejectError
        return Made(first, last)

    return make


@family
def align_shifted_rows(draws: Draws) -> MakePair:
    """Rows of a picture of upright stripes were rolled by some cells: all are brought in line with the first."""
    sizes = draws.sizes(4, 14)

    def make() -> Made:
        rows, columns = sizes()
        row = noise(draws, 1, columns, draws.colours(3), 0.6)[0]
        if len({np.roll(row, n).tobytes() for n in range(columns)}) < columns:
            raise RejectError
        first = np.stack([row, *(np.roll(row, draws.randint(0, 2)) for _ in range(rows - 1))])
        return Made(first, np.tile(row, (rows, 1)))

    return make


@family
def drop_broken_copies(draws: Draws) -> MakePair:
    """Of the frames only those without a gap stay."""
    role, sizes = draws.role(), draws.sizes(10, 20)

    def make() -> Made:
        size, colour = sizes(), role()
        items, flags = [], []
        for _ in range(draws.many(3, 5)):
            mask = frame(draws.randint(3, 5), draws.randint(3, 5))
            flags.append(draws.chance(0.5))
            if not flags[-1]:
                mask[0, draws.randint(1, mask.shape[1] - 2)] = False
            items.append(thing(mask, colour))
        if all(flags) or not any(flags):
            raise RejectError
        things = placed(draws, size, items)
        return Made(drawn(size, things), drawn(size, [i for i, flag in zip(things, flags, strict=True) if flag]))

    return make

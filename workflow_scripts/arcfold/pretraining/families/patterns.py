"""Patterns: what is periodic, mirrored or growing is continued, repaired or filled in."""

from __future__ import annotations

import numpy as np

from arcfold.pretraining.families.canvas import (
    Draws,
    Grid,
    RejectError,
    any_shape,
    blank,
    box,
    drawn,
    noise,
    placed,
    put,
    thing,
    turned,
)
from arcfold.pretraining.families.registry import Made, MakePair, family


def _wallpaper(draws: Draws, rows: int, columns: int, tile: Grid, shift: int = 0) -> Grid:
    """A tile repeated over the grid; each repetition downwards shifted sideways."""
    height, width = tile.shape
    r, c = np.indices((rows, columns))
    made: Grid = tile[r % height, (c + shift * (r // height)) % width]
    return made


def _tile(draws: Draws, low: int = 2, high: int = 4) -> Grid:
    return noise(draws, draws.randint(low, high), draws.randint(low, high), draws.colours(draws.randint(2, 4)))


@family
def repair_wallpaper(draws: Draws) -> MakePair:
    """Holes in a periodic pattern are filled."""
    lost = draws.pick([0, draws.colour()])
    sizes, shift = draws.sizes(8, 20), draws.pick([0, 0, 1])

    def make() -> Made:
        rows, columns = sizes()
        tile = _tile(draws)
        if (tile == lost).any():
            raise RejectError
        last = _wallpaper(draws, rows, columns, tile, shift)
        first = last.copy()
        for _ in range(draws.randint(1, 4)):
            height, width = draws.randint(1, 4), draws.randint(1, 4)
            row, column = draws.randint(0, rows - height), draws.randint(0, columns - width)
            first[row : row + height, column : column + width] = lost
        return Made(first, last)

    return make


@family
def extract_from_wallpaper(draws: Draws) -> MakePair:
    """The part of a periodic pattern that lies under the cover."""
    cover, sizes = draws.colour(), draws.sizes(8, 18)

    def make() -> Made:
        rows, columns = sizes()
        tile = _tile(draws)
        if (tile == cover).any():
            raise RejectError
        whole = _wallpaper(draws, rows, columns, tile)
        first = whole.copy()
        height, width = draws.randint(2, 4), draws.randint(2, 5)
        row, column = draws.randint(0, rows - height), draws.randint(0, columns - width)
        first[row : row + height, column : column + width] = cover
        return Made(first, whole[row : row + height, column : column + width])

    return make


@family
def continue_wallpaper(draws: Draws) -> MakePair:
    """A pattern in the upper part goes on to the bottom of the grid."""
    sizes, shift = draws.sizes(8, 20), draws.pick([0, 0, 1])

    def make() -> Made:
        rows, columns = sizes()
        tile = _tile(draws, 2, 3)
        last = _wallpaper(draws, rows, columns, tile, shift)
        known = min(2 * tile.shape[0] + draws.randint(0, 2) + (2 if shift else 0), rows - 1)
        first = last.copy()
        first[known:] = 0
        return Made(first, last)

    return make


@family
def smallest_tile(draws: Draws) -> MakePair:
    """The smallest tile that a pattern is made of."""

    def make() -> Made:
        tile = _tile(draws)
        rows, columns = draws.randint(2, 4), draws.randint(2, 4)
        for axis in (0, 1):
            length = tile.shape[axis]
            if any(length % n == 0 and (np.roll(tile, n, axis) == tile).all() for n in range(1, length)):
                raise RejectError
        return Made(np.tile(tile, (rows, columns)), tile)

    return make


@family
def longer_row(draws: Draws) -> MakePair:
    """A periodic row (of some height) grows to twice its length."""
    height, factor = draws.randint(1, 4), draws.randint(2, 3)

    def make() -> Made:
        tile = noise(draws, height, draws.randint(2, 4), draws.colours(3), draws.uniform(0.7, 1))
        length = draws.randint(2 * tile.shape[1], 10)
        if length * factor > 30:
            raise RejectError
        row = np.tile(tile, (1, 15))
        return Made(row[:, :length], row[:, : length * factor])

    return make


@family
def diagonal_stripes(draws: Draws) -> MakePair:
    """Colours on some diagonals fill all diagonals in their order."""
    sizes, direction = draws.sizes(5, 16, square=True), draws.pick([1, -1])
    count = draws.randint(2, 4)

    def make() -> Made:
        rows, columns = sizes()
        palette = np.array(draws.colours(count), np.uint8)
        r, c = np.indices((rows, columns))
        which = (r + c) if direction == 1 else (r - c + 30 * count)
        last = palette[which % count]
        first = blank(rows, columns)
        start = draws.randint(0, rows + columns - 2 - count)
        seen = (r + c if direction == 1 else r - c + columns - 1) - start
        first[(seen >= 0) & (seen < count)] = last[(seen >= 0) & (seen < count)]
        return Made(first, last)

    return make


@family
def growing_bars(draws: Draws) -> MakePair:
    """Rows grow by the same step: the next ones are added below until the grid is full."""
    role, step, sizes, centred = draws.role(), draws.randint(1, 2), draws.sizes(6, 15), draws.chance(0.3)

    def make() -> Made:
        rows, columns = sizes()
        if centred:
            columns = columns | 1
        colour, start = role(), draws.randint(1, 2)
        first, last = blank(rows, columns), blank(rows, columns)
        for row in range(rows):
            length = start + step * row
            if centred:
                length = 1 + 2 * step * row
            if length > columns:
                break
            left = (columns - length) // 2 if centred else 0
            last[row, left : left + length] = colour
            if row < 3:
                first[row] = last[row]
        if (first == last).all():
            raise RejectError
        return Made(first, last)

    return make


@family
def colour_cycle(draws: Draws) -> MakePair:
    """Objects in a row have colours in turn; the colourless ones at the end get theirs."""
    base, sizes = draws.colour(), draws.sizes(3, 5)
    side = draws.randint(1, 3)

    def make() -> Made:
        cycle = draws.colours(draws.randint(2, 3), [base])
        count = min(draws.randint(2 * len(cycle), 9), 30 // (side + 1))
        known = draws.randint(2 * len(cycle) - 1, count - 1) if count > 2 * len(cycle) - 1 else 0
        if known <= 0:
            raise RejectError
        rows = max(sizes()[0], side + 1)
        top = draws.randint(0, rows - side)
        first, last = blank(rows, count * (side + 1)), blank(rows, count * (side + 1))
        for number in range(count):
            place = (slice(top, top + side), slice(number * (side + 1), number * (side + 1) + side))
            last[place] = cycle[number % len(cycle)]
            first[place] = last[place] if number < known else base
        return Made(first, last)

    return make


@family
def walking_object(draws: Draws) -> MakePair:
    """An object appears three times, each one step further: its next places are filled up to the border."""
    sizes, own, paint = draws.sizes(10, 20), draws.chance(0.6), draws.colour()
    role = draws.role([paint])

    def make() -> Made:
        size, colour = sizes(), role()
        item = thing(any_shape(draws, 1, 3), colour)
        down, right = draws.randint(0, item.rows + 1), draws.randint(0, item.columns + 1)
        if max(down - item.rows, right - item.columns) < 0:
            raise RejectError
        item = item.moved(draws.randint(0, 2), draws.randint(0, 2))
        first, last = blank(*size), blank(*size)
        for number in range(20):
            copy = item.moved(number * down, number * right)
            if copy.top >= size[0] or copy.left >= size[1]:
                break
            if number < 3:
                put(first, copy)
                put(last, copy)
            else:
                put(last, copy if own else copy.painted(paint))
        if (first == last).all() or number < 4:
            raise RejectError
        return Made(first, last)

    return make


@family
def chessboard_repair(draws: Draws) -> MakePair:
    """Noise on a chess board (or stripes) of two colours is removed."""
    sizes, stripes = draws.sizes(5, 16), draws.chance(0.4)
    spot = draws.colour()

    def make() -> Made:
        rows, columns = sizes()
        a, b = draws.colours(2, [spot])
        r, c = np.indices((rows, columns))
        last = np.where((c if stripes else r + c) % 2 == 0, a, b).astype(np.uint8)
        first = last.copy()
        for _ in range(draws.randint(2, rows * columns // 6 + 2)):
            first[draws.randrange(rows), draws.randrange(columns)] = spot
        return Made(first, last)

    return make


@family
def sum_rule_rows(draws: Draws) -> MakePair:
    """A cell is filled if exactly one of the two cells diagonally above it is: from the first row downwards."""
    role, sizes = draws.role(), draws.sizes(5, 16)
    kind = draws.randrange(3)

    def make() -> Made:
        rows, columns = sizes()
        colour = role()
        last = np.zeros((rows, columns), bool)
        for _ in range(draws.randint(1, 2)):
            last[0, draws.randrange(columns)] = True
        for row in range(1, rows):
            above = np.pad(last[row - 1], 1)
            left, right = above[:-2], above[2:]
            last[row] = (left ^ right, left | right, above[1:-1] ^ left)[kind]
        first = last.copy()
        first[1:] = False
        return Made((first * colour).astype(np.uint8), (last * colour).astype(np.uint8))

    return make


@family
def mirror_into_empty_half(draws: Draws) -> MakePair:
    """The picture on one side is mirrored into the empty side; its colours may be swapped there."""
    swap, sizes, turned_over = draws.colours(2), draws.sizes(3, 10), draws.chance(0.3)
    swapped = draws.chance(0.4)

    def make() -> Made:
        rows, columns = sizes()
        side = noise(draws, rows, columns, swap, 0.4)
        other = side[::-1, ::-1] if turned_over else side[:, ::-1]
        if swapped:
            other = np.select([other == swap[0], other == swap[1]], [swap[1], swap[0]], 0)
        empty = np.zeros_like(side)
        return Made(np.concatenate([side, empty], axis=1), np.concatenate([side, other.astype(np.uint8)], axis=1))

    return make


@family
def complete_rotation(draws: Draws) -> MakePair:
    """A quarter of a pinwheel is completed around its middle."""
    palette, turn = draws.colours(3), draws.chance(0.5)
    low = draws.randint(2, 5)

    def make() -> Made:
        side = draws.randint(low, low + 3)
        corner = noise(draws, side, side, palette, 0.5)
        if not corner.any():
            raise RejectError
        if turn:
            last = np.block([[corner, np.rot90(corner, -1)], [np.rot90(corner), np.rot90(corner, 2)]])
        else:
            last = np.block([[corner, corner[:, ::-1]], [corner[::-1], corner[::-1, ::-1]]])
        first = np.zeros_like(last)
        first[:side, :side] = corner
        shift = draws.randrange(4)
        return Made(turned(first, shift), turned(last, shift))

    return make


@family
def symmetric_object_repair(draws: Draws) -> MakePair:
    """An object with two mirror axes has lost some cells, which are put back (in a marking colour)."""
    role, mark, sizes, own = draws.role(), draws.colour(), draws.sizes(9, 20), draws.chance(0.5)

    def make() -> Made:
        size, colour = sizes(), role()
        if colour == mark:
            raise RejectError
        half = any_shape(draws, 2, 4)
        mask = np.concatenate([half, half[:, ::-1]], axis=1)
        mask = np.concatenate([mask, mask[::-1]])
        item = placed(draws, size, [thing(mask, colour)])[0]
        first = drawn(size, [item])
        cells = [cell for cell in np.argwhere(mask).tolist() if cell[0] < mask.shape[0] // 2]
        last = first.copy()
        for row, column in draws.sample(cells, draws.randint(1, max(1, len(cells) // 3))):
            first[item.top + row, item.left + column] = 0
            last[item.top + row, item.left + column] = colour if own else mark
        rest = first[item.top : item.bottom + 1, item.left : item.right + 1] > 0
        whole = rest | rest[::-1] | rest[:, ::-1]
        if whole.shape != mask.shape or (whole != mask).any() or not rest[0].any() or not rest[:, 0].any():
            raise RejectError
        return Made(first, last)

    return make


@family
def lattice_pattern_spreads(draws: Draws) -> MakePair:
    """The only filled field of a lattice is copied into all other fields (of its row and column)."""
    line, *palette = draws.colours(4)
    side, everywhere = draws.randint(2, 4), draws.chance(0.5)

    def make() -> Made:
        rows, columns = draws.randint(2, 4), draws.randint(2, 4)
        picture = noise(draws, side, side, palette, 0.6)
        chosen = (draws.randrange(rows), draws.randrange(columns))
        step = side + 1
        first = np.full((rows * step - 1, columns * step - 1), line, np.uint8)
        last = first.copy()
        for row in range(rows):
            for column in range(columns):
                place = (slice(row * step, row * step + side), slice(column * step, column * step + side))
                copied = everywhere or row == chosen[0] or column == chosen[1]
                first[place] = picture if (row, column) == chosen else 0
                last[place] = picture if copied else 0
        return Made(first, last)

    return make


@family
def border_pattern(draws: Draws) -> MakePair:
    """Two colours alternate around the border, starting as the first two cells do."""
    sizes = draws.sizes(5, 15)

    def make() -> Made:
        rows, columns = sizes()
        a, b = draws.colours(2)
        ring = [(0, c) for c in range(columns)] + [(r, columns - 1) for r in range(1, rows)]
        ring += [(rows - 1, c) for c in range(columns - 2, -1, -1)] + [(r, 0) for r in range(rows - 2, 0, -1)]
        first, last = blank(rows, columns), blank(rows, columns)
        for number, cell in enumerate(ring):
            last[cell] = (a, b)[number % 2]
            if number < 2:
                first[cell] = last[cell]
        return Made(first, last)

    return make


@family
def windmill_blades(draws: Draws) -> MakePair:
    """From a square in the middle, the blade on one side is repeated on all four, each turned."""
    hub, blade = draws.colours(2)
    low = draws.randint(2, 4)

    def make() -> Made:
        arm = draws.randint(low, low + 2)
        side = 2 * arm + 1
        first = blank(side, side)
        for row in range(arm):
            if draws.chance(0.8):
                first[row, arm : arm + 1 + draws.randint(0, arm - row)] = blade
        if first.sum() < 2 * blade:
            raise RejectError
        last = first.copy()
        for number in range(1, 4):
            last = np.maximum(last, np.rot90(first, number))
        first[arm, arm] = last[arm, arm] = hub
        return Made(first, last)

    return make


@family
def interleave_rows(draws: Draws) -> MakePair:
    """The rows of the left and the right half take turns."""
    line, *palette = draws.colours(4)
    sizes = draws.sizes(2, 8)

    def make() -> Made:
        rows, columns = sizes()
        a, b = noise(draws, rows, columns, palette, 0.8), noise(draws, rows, columns, palette, 0.8)
        last = np.empty((2 * rows, columns), np.uint8)
        last[::2], last[1::2] = a, b
        return Made(np.concatenate([a, np.full((rows, 1), line, np.uint8), b], axis=1), last)

    return make


@family
def next_in_shrinking_squares(draws: Draws) -> MakePair:
    """Squares in a row shrink by one from left to right on a ground line; all after the second are missing."""
    role, sizes = draws.role(), draws.sizes(4, 6)

    def make() -> Made:
        largest = sizes()[0]
        colour = role()
        columns = sum(range(1, largest + 1)) + largest - 1
        if columns > 30:
            raise RejectError
        first, last, left = blank(largest + draws.randint(0, 3), columns), None, 0
        last = first.copy()
        for side in range(largest, 0, -1):
            last[-side:, left : left + side] = colour
            if side > largest - 2:
                first[-side:, left : left + side] = colour
            left += side + 1
        return Made(first, last)

    return make


@family
def fill_grid_with_row(draws: Draws) -> MakePair:
    """The coloured row at the top is repeated in every second (or third) row below."""
    step, sizes = draws.randint(2, 4), draws.sizes(6, 18)
    shift = draws.pick([0, 0, 1])

    def make() -> Made:
        rows, columns = sizes()
        first = blank(rows, columns)
        first[0] = noise(draws, 1, columns, draws.colours(3), draws.uniform(0.4, 1))
        if not first.any():
            raise RejectError
        last = first.copy()
        for number, row in enumerate(range(0, rows, step)):
            last[row] = np.roll(first[0], shift * number)
        return Made(first, last)

    return make


@family
def box_by_box_stairs(draws: Draws) -> MakePair:
    """Boxes step down to the right, each touching the last one's corner: the steps are continued."""
    role, side, sizes = draws.role(), draws.randint(1, 3), draws.sizes(8, 18)

    def make() -> Made:
        rows, columns = sizes()
        colour, left = role(), draws.randint(0, 2)
        first, last = blank(rows, columns), blank(rows, columns)
        for number in range(30):
            item = thing(box(side, side), colour, number * side, left + number * side)
            if item.top >= rows or item.left >= columns:
                break
            put(last, item)
            if number < 2:
                put(first, item)
        if (first == last).all():
            raise RejectError
        return Made(first, last)

    return make

"""Extracting: the output is a part of the input, picked by what it is or by what marks it."""

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
    enclosed,
    frame,
    holes,
    noise,
    placed,
    put,
    shape_key,
    thing,
    turned,
)
from arcfold.pretraining.families.registry import Made, MakePair, family


def _many_coloured(draws: Draws, mask: np.ndarray, colours: list[int]) -> Thing:
    """An object whose cells have these colours, each at least once."""
    cells = np.zeros(mask.shape, np.uint8)
    spots = np.argwhere(mask).tolist()
    if len(spots) < len(colours):
        raise RejectError
    painted = [*colours, *(draws.pick(colours) for _ in range(len(spots) - len(colours)))]
    draws.shuffle(painted)
    for (row, column), colour in zip(spots, painted, strict=True):
        cells[row, column] = colour
    return Thing(0, 0, cells)


@family
def extract_most_colours(draws: Draws) -> MakePair:
    """The object with the most different colours."""
    sizes, palette = draws.sizes(9, 20), draws.colours(6)

    def make() -> Made:
        size, counts = sizes(), [4, *(draws.randint(1, 3) for _ in range(draws.randint(1, 3)))]
        items = [_many_coloured(draws, any_shape(draws, 3, 4), draws.sample(palette, n)) for n in counts]
        things = placed(draws, size, items)
        return Made(drawn(size, things), things[0].cells)

    return make


@family
def extract_with_marker(draws: Draws) -> MakePair:
    """The object that holds a cell of the marking colour; the cell may be replaced."""
    mark, base, replaced, sizes = *draws.colours(2), draws.chance(0.4), draws.sizes(9, 20)

    def make() -> Made:
        size = sizes()
        items = [
            thing(blob(draws, draws.randint(2, 5), draws.randint(2, 5), 0.7), base) for _ in range(draws.randint(2, 4))
        ]
        things = placed(draws, size, items)
        marked = things[0].cells.copy()
        marked[tuple(draws.pick(np.argwhere(marked).tolist()))] = mark
        first = drawn(size, [things[0].with_cells(marked), *things[1:]])
        return Made(first, things[0].cells if replaced else marked)

    return make


@family
def extract_inside_frame(draws: Draws) -> MakePair:
    """What the frame encloses (or frame and all) in a field of noise."""
    edge, *palette = draws.colours(4)
    with_frame, sizes = draws.chance(0.3), draws.sizes(9, 20)
    share = draws.uniform(0.2, 0.8)

    def make() -> Made:
        size = sizes()
        first = noise(draws, *size, palette, share)
        item = placed(draws, size, [thing(frame(draws.randint(4, 8), draws.randint(4, 8)), edge)])[0]
        put(first, item)
        by = 0 if with_frame else 1
        return Made(first, first[item.top + by : item.bottom + 1 - by, item.left + by : item.right + 1 - by].copy())

    return make


@family
def extract_between_corners(draws: Draws) -> MakePair:
    """Four cells mark the corners of the part that is wanted."""
    mark, *palette = draws.colours(4)
    with_corners, sizes, share = draws.chance(0.5), draws.sizes(8, 20), draws.uniform(0.2, 0.7)

    def make() -> Made:
        size = sizes()
        first = noise(draws, *size, palette, share)
        item = placed(draws, size, [thing(box(draws.randint(3, 8), draws.randint(3, 8)), mark)])[0]
        for row in (item.top, item.bottom):
            for column in (item.left, item.right):
                first[row, column] = mark
        by = 0 if with_corners else 1
        return Made(first, first[item.top + by : item.bottom + 1 - by, item.left + by : item.right + 1 - by].copy())

    return make


@family
def extract_hidden_patch(draws: Draws) -> MakePair:
    """A picture with two mirror lines is partly covered: the covered part is the answer."""
    cover, *palette = draws.colours(draws.randint(3, 6))
    half = draws.randint(4, 8)
    whole = draws.chance(0.3)

    def make() -> Made:
        corner = noise(draws, half, half, palette, draws.uniform(0.6, 1))
        corner = np.where(np.tri(half, dtype=bool), corner, corner.T)
        top = np.concatenate([corner, corner[:, ::-1]], axis=1)
        picture = np.concatenate([top, top[::-1]])
        height, width = draws.randint(2, 4), draws.randint(2, 4)
        row, column = draws.randint(0, 2 * half - height), draws.randint(0, half - width)
        if row < half < row + height:
            raise RejectError
        first = picture.copy()
        first[row : row + height, column : column + width] = cover
        return Made(first, picture if whole else picture[row : row + height, column : column + width].copy())

    return make


@family
def extract_named_by_corner(draws: Draws) -> MakePair:
    """The cell in the upper left corner names the colour of the object that is wanted."""
    sizes = draws.sizes(9, 20)

    def make() -> Made:
        size = sizes()
        colours = draws.colours(draws.randint(2, 4))
        taken = np.zeros(size, bool)
        taken[:2, :2] = True
        things = placed(draws, size, [thing(any_shape(draws, 2, 4), c) for c in colours], taken=taken)
        first = drawn(size, things)
        first[0, 0] = colours[0]
        return Made(first, things[0].cells)

    return make


@family
def extract_most_holes(draws: Draws) -> MakePair:
    """The object with the most holes."""
    role, sizes = draws.role(), draws.sizes(11, 22)

    def make() -> Made:
        size, colour = sizes(), role()
        counts = draws.sample(range(4), draws.randint(2, 3))
        items = []
        for count in counts:
            mask = box(3, 2 * count + 1) if count else blob(draws, 3, 3, 0.7)
            mask[1, 1::2] &= not count
            items.append(thing(mask if draws.chance(0.5) else mask.T, colour))
        if [holes(item.mask) for item in items] != counts:
            raise RejectError
        things = placed(draws, size, items)
        return Made(drawn(size, things), things[counts.index(max(counts))].cells)

    return make


@family
def extract_symmetric(draws: Draws) -> MakePair:
    """The only pattern that is its own mirror image."""
    palette, sizes = draws.colours(3), draws.sizes(10, 22)

    def make() -> Made:
        size, items, side = sizes(), [], draws.randint(3, 4)
        for number in range(draws.randint(2, 4)):
            cells = noise(draws, side, side, palette)
            if number == 0:
                cells[:, side - side // 2 :] = cells[:, : side // 2][:, ::-1]
            elif any((cells == move).all() for move in (cells[:, ::-1], cells[::-1], cells.T, np.rot90(cells, 2).T)):
                raise RejectError
            items.append(Thing(0, 0, cells))
        things = placed(draws, size, items)
        return Made(drawn(size, things), things[0].cells)

    return make


@family
def extract_unlike_others(draws: Draws) -> MakePair:
    """All objects but one are copies of each other, perhaps turned; the odd one out is the answer."""
    role, sizes = draws.role(), draws.sizes(10, 20)
    turns, common = draws.chance(0.5), draws.chance(0.3)

    def make() -> Made:
        size, colour = sizes(), role()
        usual, odd = draws.sample(list(LETTERS), 2)
        if shape_key(usual) == shape_key(odd):
            raise RejectError
        copies = [turned(usual, draws.randrange(8) if turns else 0) for _ in range(draws.randint(2, 4))]
        things = placed(draws, size, [thing(mask, colour) for mask in (odd, *copies)])
        answer = things[1].cells if common else things[0].cells
        if common and turns:
            raise RejectError
        return Made(drawn(size, things), answer)

    return make


@family
def extract_commonest_pattern(draws: Draws) -> MakePair:
    """Small pictures lie around; the one that is there most often is the answer."""
    palette, side, sizes = draws.colours(3), draws.randint(2, 3), draws.sizes(10, 20)

    def make() -> Made:
        size = sizes()
        pictures = [noise(draws, side, side, palette) for _ in range(draws.randint(2, 3))]
        if len({p.tobytes() for p in pictures}) < len(pictures):
            raise RejectError
        counts = [3, *(draws.randint(1, 2) for _ in pictures[1:])]
        items = [Thing(0, 0, p) for p, count in zip(pictures, counts, strict=True) for _ in range(count)]
        return Made(drawn(size, placed(draws, size, items)), pictures[0])

    return make


@family
def extract_largest_rectangle_of_noise(draws: Draws) -> MakePair:
    """Among noise lies one solid rectangle; it is the answer (or its size in one colour)."""
    palette, sizes = draws.colours(3), draws.sizes(9, 20)
    solid = draws.colour(palette)

    def make() -> Made:
        size = sizes()
        first = noise(draws, *size, palette, draws.uniform(0.3, 0.8))
        item = placed(draws, size, [thing(box(draws.randint(2, 7), draws.randint(2, 7)), solid)])[0]
        put(first, item)
        return Made(first, item.cells)

    return make


@family
def extract_overlapped_colour_order(draws: Draws) -> MakePair:
    """Nested frames: their colours from the outermost to the innermost, as a column."""
    inward = draws.chance(0.5)

    def make() -> Made:
        layers = draws.colours(draws.randint(2, 5))
        size = 2 * len(layers) - draws.randint(0, 1)
        columns = size + draws.randint(0, 4)
        first = blank(size + 2, columns + 2)
        for number, colour in enumerate(layers):
            first[1 + number : size + 1 - number, 1 + number : columns + 1 - number] = colour
        answer = np.array(layers if inward else layers[::-1], np.uint8)[:, None]
        return Made(first, answer)

    return make


@family
def shrink_stripes(draws: Draws) -> MakePair:
    """Stripes of several widths: each becomes one cell, in order."""
    both, ragged = draws.chance(0.3), draws.chance(0.3)

    def make() -> Made:
        colours = [draws.colour()]
        for _ in range(draws.randint(1, 4)):
            colours.append(draws.colour([colours[-1]]))
        widths = [draws.randint(1, 4) for _ in colours]
        row = np.repeat(np.array(colours, np.uint8), widths)
        first = np.tile(row, (draws.randint(3, 12), 1))
        if ragged:
            first = np.pad(first, draws.randint(1, 3))
        if both:
            return Made(first.T, np.array(colours, np.uint8)[:, None])
        return Made(first, np.array(colours, np.uint8)[None])

    return make


@family
def shrink_mosaic(draws: Draws) -> MakePair:
    """A mosaic of solid fields becomes one cell for each field."""

    def make() -> Made:
        rows, columns = draws.randint(2, 4), draws.randint(2, 4)
        answer = noise(draws, rows, columns, draws.colours(draws.randint(2, 5)))
        for axis in (0, 1):
            for number in range(1, answer.shape[axis]):
                if (answer.take(number, axis) == answer.take(number - 1, axis)).all():
                    raise RejectError
        first = np.repeat(answer, [draws.randint(1, 5) for _ in range(rows)], axis=0)
        first = np.repeat(first, [draws.randint(1, 5) for _ in range(columns)], axis=1)
        return Made(first, answer)

    return make


@family
def lattice_to_cells(draws: Draws) -> MakePair:
    """Fields of a lattice, each of one colour or empty, become single cells."""
    line, *palette = draws.colours(4)
    wide = draws.randint(1, 3)

    def make() -> Made:
        rows, columns = draws.randint(2, 5), draws.randint(2, 5)
        answer = noise(draws, rows, columns, palette, 0.6)
        first = np.full((rows * (wide + 1) - 1, columns * (wide + 1) - 1), line, np.uint8)
        for row in range(rows):
            for column in range(columns):
                first[row * (wide + 1) :, column * (wide + 1) :][:wide, :wide] = answer[row, column]
        return Made(first, answer)

    return make


@family
def lattice_field_with_most(draws: Draws) -> MakePair:
    """The field of a lattice with the most (or fewest) filled cells."""
    line, role, most = draws.colour(), draws.role(), draws.chance(0.7)
    side = draws.randint(3, 5)

    def make() -> Made:
        rows, columns = draws.choice([(2, 2), (1, 3), (3, 1), (2, 3), (3, 3)])
        colour = role()
        if colour == line:
            raise RejectError
        fields = [noise(draws, side, side, [colour], draws.uniform(0.1, 0.8)) for _ in range(rows * columns)]
        counts = [int((one > 0).sum()) for one in fields]
        best = max(counts) if most else min(counts)
        if counts.count(best) > 1:
            raise RejectError
        return Made(lattice(fields, rows, columns, line), fields[counts.index(best)])

    return make


def lattice(fields: list[Grid], rows: int, columns: int, line: int) -> Grid:
    """Fields of one size in rows and columns with lines between them."""
    height, width = fields[0].shape
    made = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), line, np.uint8)
    if max(made.shape) > 30:
        raise RejectError
    for number, one in enumerate(fields):
        row, column = divmod(number, columns)
        made[row * (height + 1) :, column * (width + 1) :][:height, :width] = one
    return made


@family
def lattice_odd_field(draws: Draws) -> MakePair:
    """All fields of a lattice are the same but one, which is the answer."""
    line, *palette = draws.colours(4)
    side = draws.randint(2, 5)

    def make() -> Made:
        rows, columns = draws.choice([(2, 2), (1, 3), (3, 1), (2, 3), (3, 3)])
        usual = noise(draws, side, side, palette, 0.7)
        odd = usual.copy()
        odd[draws.randrange(side), draws.randrange(side)] = draws.pick(palette)
        if (odd == usual).all():
            raise RejectError
        fields = [usual] * (rows * columns)
        fields[draws.randrange(len(fields))] = odd
        return Made(lattice(fields, rows, columns, line), odd)

    return make


@family
def lattice_field_with_marker(draws: Draws) -> MakePair:
    """The one field of a lattice that holds a cell of the marking colour."""
    line, mark, *palette = draws.colours(5)
    side = draws.randint(3, 5)

    def make() -> Made:
        rows, columns = draws.choice([(2, 2), (1, 3), (3, 1), (2, 3)])
        fields = [noise(draws, side, side, palette, 0.6) for _ in range(rows * columns)]
        chosen = draws.randrange(len(fields))
        fields[chosen][draws.randrange(side), draws.randrange(side)] = mark
        return Made(lattice(fields, rows, columns, line), fields[chosen])

    return make


@family
def restore_covered_symmetry(draws: Draws) -> MakePair:
    """A picture with mirror lines has lost cells; they are put back."""
    lost, *palette = draws.colours(draws.randint(3, 5))
    if draws.chance(0.5):
        lost = 0
    half, quarter = draws.randint(3, 7), draws.chance(0.6)

    def make() -> Made:
        corner = noise(draws, half, half, palette)
        picture = np.concatenate([corner, corner[:, ::-1]], axis=1)
        if quarter:
            picture = np.concatenate([picture, picture[::-1]])
        first = picture.copy()
        for _ in range(draws.randint(1, 3)):
            height, width = draws.randint(1, 4), draws.randint(1, 4)
            row, column = draws.randrange(picture.shape[0]), draws.randrange(half)
            first[row : row + height, column : min(column + width, half)] = lost
        known = np.where(first != lost, first, first[:, ::-1])
        if (known == lost).any():
            raise RejectError
        return Made(first, picture)

    return make


@family
def take_apart_overlap(draws: Draws) -> MakePair:
    """Two rectangles of two colours overlap; the one on top (or below, completed) is the answer's size and colour."""
    below, sizes = draws.chance(0.5), draws.sizes(8, 18)

    def make() -> Made:
        rows, columns = sizes()
        colours = draws.colours(2)
        boxes = []
        for colour in colours:
            height, width = draws.randint(3, rows - 2), draws.randint(3, columns - 2)
            boxes.append(
                thing(box(height, width), colour, draws.randint(0, rows - height), draws.randint(0, columns - width))
            )
        first = drawn((rows, columns), boxes)
        under = boxes[0]
        corners = first[[under.top, under.top, under.bottom, under.bottom], [under.left, under.right] * 2]
        if (corners == colours[0]).sum() < 3 or (first == colours[0]).sum() == under.size:
            raise RejectError
        return Made(first, (boxes[0] if below else boxes[1]).cells)

    return make


@family
def object_under_noise_colour(draws: Draws) -> MakePair:
    """Two colours of objects; the output shows only the objects inside enclosures."""
    wall, inner, sizes = *draws.colours(2), draws.sizes(9, 20)

    def make() -> Made:
        size = sizes()
        things = placed(
            draws,
            size,
            [thing(frame(draws.randint(4, 7), draws.randint(4, 7)), wall) for _ in range(draws.randint(1, 2))],
        )
        first = drawn(size, things)
        inside = enclosed(first > 0)
        for row, column in np.argwhere(first == 0).tolist():
            if draws.chance(0.25 if inside[row, column] else 0.1):
                first[row, column] = inner
        last = np.where(inside & (first == inner), inner, 0).astype(np.uint8)
        if not last.any() or (last == (first == inner) * inner).all():
            raise RejectError
        return Made(first, last)

    return make

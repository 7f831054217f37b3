"""Counting: numbers of objects, cells, colours and holes, shown as rows, bars, sizes, marks and choices."""

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
    frame,
    noise,
    placed,
    shape_key,
    thing,
)
from arcfold.pretraining.families.extracting import lattice
from arcfold.pretraining.families.registry import Made, MakePair, family


def _counted(draws: Draws, size: tuple[int, int], counts: dict[int, int], high: int = 3) -> Grid:
    """So many objects of each colour."""
    items = [thing(any_shape(draws, 1, high), colour) for colour, count in counts.items() for _ in range(count)]
    draws.shuffle(items)
    return drawn(size, placed(draws, size, items))


@family
def count_objects_as_row(draws: Draws) -> MakePair:
    """One cell for each object, in a row (or down a diagonal)."""
    role, diagonal, sizes = draws.role(), draws.chance(0.4), draws.sizes(7, 16)
    high = draws.randint(1, 3)

    def make() -> Made:
        count, colour = draws.randint(1, 6), role()
        first = _counted(draws, sizes(), {colour: count}, high)
        answer = np.eye(count, dtype=np.uint8) * colour if diagonal else np.full((1, count), colour, np.uint8)
        return Made(first, answer.astype(np.uint8))

    return make


@family
def count_into_square(draws: Draws) -> MakePair:
    """A square of 3 × 3 cells is filled in reading order (or snakewise), one cell for each object."""
    role, snake, sizes, high = draws.role(), draws.chance(0.4), draws.sizes(8, 16), draws.randint(1, 2)

    def make() -> Made:
        count, colour = draws.randint(1, 9), role()
        first = _counted(draws, sizes(), {colour: count}, high)
        cells = np.zeros(9, np.uint8)
        cells[:count] = colour
        answer = cells.reshape(3, 3)
        if snake:
            answer[1] = answer[1, ::-1]
        return Made(first, answer)

    return make


@family
def count_by_colour_as_bars(draws: Draws) -> MakePair:
    """A bar for each colour, as long as it has objects, the longest on top (no ties)."""
    sizes, high, single = draws.sizes(9, 18), draws.randint(1, 2), draws.chance(0.5)

    def make() -> Made:
        numbers = sorted(draws.sample(range(1, 6), draws.randint(2, 3)), reverse=True)
        colours = draws.colours(len(numbers))
        first = _counted(draws, sizes(), dict(zip(colours, numbers, strict=True)), 1 if single else high)
        answer = blank(len(numbers), numbers[0])
        for row, (colour, number) in enumerate(zip(colours, numbers, strict=True)):
            answer[row, :number] = colour
        return Made(first, answer)

    return make


@family
def commonest_colour_as_cell(draws: Draws) -> MakePair:
    """The colour with the most objects (or cells) as one cell, or as a square."""
    by_cells, side, sizes = draws.chance(0.5), draws.randint(1, 3), draws.sizes(8, 16)
    palette = draws.colours(5)

    def make() -> Made:
        colours = draws.sample(palette, draws.randint(2, 4))
        if by_cells:
            first = noise(draws, *sizes(), [*colours, colours[0]], draws.uniform(0.3, 1))
            counts = [int((first == c).sum()) for c in colours]
        else:
            counts = [5, *(draws.randint(1, 4) for _ in colours[1:])]
            first = _counted(draws, sizes(), dict(zip(colours, counts, strict=True)), 2)
        if sorted(counts)[-1] == sorted(counts)[-2]:
            raise RejectError
        return Made(first, blank(side, side, colours[counts.index(max(counts))]))

    return make


@family
def colours_by_frequency(draws: Draws) -> MakePair:
    """The colours as a column (or row) from the commonest to the rarest."""
    row, sizes = draws.chance(0.4), draws.sizes(5, 14)

    def make() -> Made:
        colours = draws.colours(draws.randint(2, 4))
        weights = [c for number, c in enumerate(colours) for _ in range(2 ** (len(colours) - number))]
        first = noise(draws, *sizes(), weights, draws.uniform(0.4, 1))
        used, counts = np.unique(first[first > 0], return_counts=True)
        if len(set(counts.tolist())) < len(counts) or len(used) < 2:
            raise RejectError
        answer = used[np.argsort(-counts)].astype(np.uint8)
        return Made(first, answer[None] if row else answer[:, None])

    return make


@family
def count_holes(draws: Draws) -> MakePair:
    """One cell for each closed frame; open shapes do not count."""
    role, sizes = draws.role(), draws.sizes(11, 20)

    def make() -> Made:
        size, colour, count = sizes(), role(), draws.randint(1, 4)
        items = [thing(frame(draws.randint(3, 4), draws.randint(3, 5)), colour) for _ in range(count)]
        for _ in range(draws.randint(1, 3)):
            mask = frame(draws.randint(3, 4), draws.randint(3, 5))
            mask[0, 1] = False
            items.append(thing(mask, colour))
        return Made(drawn(size, placed(draws, size, items)), np.full((1, count), colour, np.uint8))

    return make


@family
def scale_by_count(draws: Draws) -> MakePair:
    """A small picture grows by as many times as it has filled cells."""
    palette = draws.colours(3)

    def make() -> Made:
        rows, columns = draws.randint(2, 3), draws.randint(2, 4)
        first = noise(draws, rows, columns, palette, 0.5)
        factor = int((first > 0).sum())
        if not 2 <= factor <= 5:
            raise RejectError
        return Made(first, np.kron(first, np.ones((factor, factor), np.uint8)))

    return make


@family
def repeat_by_count(draws: Draws) -> MakePair:
    """A pattern is repeated once for each dot below it."""
    dot, *palette = draws.colours(4)
    side = draws.randint(2, 4)

    def make() -> Made:
        count = draws.randint(2, 5)
        pattern = noise(draws, side, side, palette, 0.8)
        columns = max(side, 2 * count - 1) + draws.randint(0, 2)
        first = blank(side + 2, columns)
        first[:side, :side] = pattern
        first[-1, : 2 * count : 2] = dot
        return Made(first, np.tile(pattern, (1, count)))

    return make


@family
def bar_for_each_column(draws: Draws) -> MakePair:
    """Each column's filled cells, counted, stand as a bar on the ground."""
    role, paint, sizes = draws.role(), draws.colour(), draws.sizes(4, 14)
    own, share = draws.chance(0.5), draws.uniform(0.2, 0.6)

    def make() -> Made:
        colour = role()
        first = noise(draws, *sizes(), [colour], share)
        last = blank(*first.shape)
        for column, count in enumerate((first > 0).sum(axis=0)):
            if count:
                last[-int(count) :, column] = colour if own else paint
        return Made(first, last)

    return make


@family
def mark_fullest_row(draws: Draws) -> MakePair:
    """The row with the most filled cells is painted over; there is only one."""
    role, mark, sizes, empties = draws.role(), draws.colour(), draws.sizes(5, 16), draws.chance(0.5)
    share = draws.uniform(0.2, 0.6)

    def make() -> Made:
        colour = role()
        first = noise(draws, *sizes(), [colour], share)
        counts = (first > 0).sum(axis=1)
        if colour == mark or (counts == counts.max()).sum() > 1:
            raise RejectError
        last = first.copy()
        row = last[int(counts.argmax())]
        row[(row == 0) if empties else (row > 0)] = mark
        return Made(first, last)

    return make


@family
def majority_decides(draws: Draws) -> MakePair:
    """More of one colour than of the other: one answer; fewer: the other answer."""
    first_colour, second_colour, *answers = draws.colours(4)
    rows, columns = draws.randint(1, 3), draws.randint(1, 3)
    pictures = [noise(draws, rows, columns, [0, answers[n]]) for n in (0, 1)]
    sizes = draws.sizes(4, 12)
    if (pictures[0] == pictures[1]).all():
        pictures = [np.full((rows, columns), answer, np.uint8) for answer in answers]

    def make() -> Made:
        grid = noise(draws, *sizes(), [first_colour, second_colour], draws.uniform(0.3, 1))
        counts = (grid == first_colour).sum() - (grid == second_colour).sum()
        if not counts:
            raise RejectError
        return Made(grid, pictures[int(counts < 0)])

    return make


@family
def parity_decides(draws: Draws) -> MakePair:
    """An even number of objects gives one picture, an odd number another."""
    role, sizes = draws.role(), draws.sizes(6, 14)
    pictures = [blank(1, 1, colour) for colour in draws.colours(2)]
    side = draws.randint(1, 3)

    def make() -> Made:
        count = draws.randint(1, 6)
        grid = _counted(draws, sizes(), {role(): count}, 1)
        return Made(grid, np.tile(pictures[count % 2], (side, side)))

    return make


@family
def same_or_different(draws: Draws) -> MakePair:
    """Two objects: one answer if their shapes are the same (perhaps turned), another if not."""
    colours, answers, sizes, turns = draws.colours(2), draws.colours(2), draws.sizes(7, 14), draws.chance(0.5)

    def make() -> Made:
        size, shape = sizes(), any_shape(draws, 2, 4)
        other = shape if draws.chance(0.5) else any_shape(draws, 2, 4)
        if turns:
            other = np.rot90(other, draws.randrange(4))
        same = shape_key(shape) == shape_key(other)
        if not turns and same and shape.tobytes() != other.tobytes():
            raise RejectError
        things = placed(draws, size, [thing(shape, colours[0]), thing(other, colours[1])])
        return Made(drawn(size, things), blank(1, 1, answers[same]))

    return make


@family
def count_in_fields(draws: Draws) -> MakePair:
    """Each field of a lattice becomes a cell, filled if the field has at least so many cells."""
    line, colour, mark = draws.colours(3)
    side, least = draws.randint(2, 4), draws.randint(2, 4)

    def make() -> Made:
        rows, columns = draws.randint(2, 4), draws.randint(2, 4)
        fields = [noise(draws, side, side, [colour], draws.uniform(0, 1)) for _ in range(rows * columns)]
        answer = np.array([mark * (int((one > 0).sum()) >= least) for one in fields], np.uint8)
        if not answer.any() or answer.all():
            raise RejectError
        return Made(lattice(fields, rows, columns, line), answer.reshape(rows, columns))

    return make


@family
def lines_for_dots(draws: Draws) -> MakePair:
    """As many whole rows are painted, from the top, as there are dots."""
    dot, line, sizes, gaps = *draws.colours(2), draws.sizes(6, 16), draws.chance(0.4)

    def make() -> Made:
        rows, columns = sizes()
        count = draws.randint(1, min(5, rows // 2))
        first = _counted(draws, (rows, columns), {dot: count}, 1)
        last = blank(rows, columns)
        last[: count * (2 if gaps else 1) : 2 if gaps else 1] = line
        return Made(first, last)

    return make


@family
def size_of_object_as_square(draws: Draws) -> MakePair:
    """The object's number of cells becomes the side of a square (or the length of a bar)."""
    role, square, sizes = draws.role(), draws.chance(0.5), draws.sizes(6, 14)

    def make() -> Made:
        size, colour = sizes(), role()
        item = placed(draws, size, [thing(any_shape(draws, 1, 3), colour)])[0]
        side = item.size
        return Made(drawn(size, [item]), blank(side if square else 1, side, colour))

    return make


@family
def bars_continue_count(draws: Draws) -> MakePair:
    """Bars stand next to each other, each one cell (or two) higher than the last; more follow to the right side."""
    role, step, sizes = draws.role(), draws.randint(1, 2), draws.sizes(6, 16)

    def make() -> Made:
        rows, columns = sizes()
        colour, start = role(), draws.randint(1, 3)
        heights = [min(start + step * number, rows) for number in range((columns + 1) // 2)]
        first, last = blank(rows, columns), blank(rows, columns)
        for number, height in enumerate(heights):
            last[rows - height :, 2 * number] = colour
            if number < 3:
                first[rows - height :, 2 * number] = colour
        if len(heights) < 4:
            raise RejectError
        return Made(first, last)

    return make


@family
def dots_above_by_height(draws: Draws) -> MakePair:
    """The highest bar is painted one colour, the second highest another, the lowest a third; the rest stay."""
    base, *palette = draws.colours(4)
    sizes, ends_only = draws.sizes(6, 16), draws.chance(0.5)

    def make() -> Made:
        rows, columns = sizes()
        count = min(draws.randint(3, 5), columns // 2, rows - 1)
        heights = draws.sample(range(1, rows), count)
        first = blank(rows, columns)
        for number, height in enumerate(heights):
            first[rows - height :, 2 * number] = base
        last = first.copy()
        order = np.argsort([-height for height in heights])
        places = {0: 0, len(order) - 1: 2} if ends_only else {0: 0, 1: 1, len(order) - 1: 2}
        for place, colour in places.items():
            column = 2 * int(order[place])
            last[:, column][last[:, column] > 0] = palette[colour]
        return Made(first, last)

    return make


@family
def box_of_size_by_colour_count(draws: Draws) -> MakePair:
    """A square whose side is the number of different colours, filled with the commonest of them."""
    sizes = draws.sizes(4, 12)

    def make() -> Made:
        colours = draws.colours(draws.randint(2, 6))
        grid = noise(draws, *sizes(), [*colours, *colours[:1] * 3])
        used, counts = np.unique(grid, return_counts=True)
        if (counts == counts.max()).sum() > 1:
            raise RejectError
        return Made(grid, box(len(used), len(used)).astype(np.uint8) * used[counts.argmax()])

    return make

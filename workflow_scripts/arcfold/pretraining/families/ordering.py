"""Ordering: sorting bars, rows, objects and colours."""

from __future__ import annotations

import numpy as np

from arcfold.pretraining.families.canvas import (
    Draws,
    RejectError,
    any_shape,
    blank,
    blob,
    box,
    drawn,
    noise,
    placed,
    put,
    thing,
    trimmed,
)
from arcfold.pretraining.families.registry import Made, MakePair, family


@family
def sort_bars(draws: Draws) -> MakePair:
    """Bars on the ground stand in order of their height; each keeps its colour."""
    palette, falling, sizes = draws.colours(5), draws.chance(0.5), draws.sizes(5, 14)
    gap = draws.randint(1, 2)

    def make() -> Made:
        rows, columns = sizes()
        count = min(draws.randint(3, 6), (columns + gap - 1) // gap, rows)
        heights = draws.sample(range(1, rows + 1), count)
        colours = [draws.pick(palette) for _ in heights]
        first, last = blank(rows, columns), blank(rows, columns)
        order = sorted(range(count), key=lambda n: heights[n], reverse=falling)
        for place, number in enumerate(order):
            first[rows - heights[place] :, place * gap] = colours[place]
            last[rows - heights[number] :, place * gap] = colours[number]
        return Made(first, last)

    return make


@family
def sort_row_lengths(draws: Draws) -> MakePair:
    """Rows that begin at the left side are sorted by length, the longest at the bottom (or at the top)."""
    palette, sizes, top = draws.colours(6), draws.sizes(4, 12), draws.chance(0.5)

    def make() -> Made:
        rows, columns = sizes()
        rows = min(rows, columns)
        lengths = draws.sample(range(1, columns + 1), rows)
        first, last = blank(rows, columns), blank(rows, columns)
        colours = {length: draws.pick(palette) for length in lengths}
        for row, (mixed, ordered) in enumerate(zip(lengths, sorted(lengths, reverse=top), strict=True)):
            first[row, :mixed], last[row, :ordered] = colours[mixed], colours[ordered]
        return Made(first, last)

    return make


@family
def sort_cells_in_rows(draws: Draws) -> MakePair:
    """In each row, cells of one colour come first, then those of the second, then of the third."""
    palette, sizes = draws.colours(draws.randint(2, 3)), draws.sizes(3, 12)
    share = draws.uniform(0.5, 1)

    def make() -> Made:
        first = noise(draws, *sizes(), palette, share)
        last = blank(*first.shape)
        for row, cells in enumerate(first):
            ordered = [colour for colour in palette for _ in range(int((cells == colour).sum()))]
            last[row, : len(ordered)] = ordered
        return Made(first, last)

    return make


@family
def objects_by_size(draws: Draws) -> MakePair:
    """The objects' colours as a row, from the largest object to the smallest."""
    sizes, column, largest = draws.sizes(9, 18), draws.chance(0.5), draws.chance(0.6)

    def make() -> Made:
        size, count = sizes(), draws.randint(2, 5)
        colours = draws.colours(count)
        shapes = [any_shape(draws, 1, 4) for _ in range(count)]
        values = [int(mask.sum()) for mask in shapes]
        if len(set(values)) < count:
            raise RejectError
        things = placed(draws, size, [thing(m, c) for m, c in zip(shapes, colours, strict=True)])
        order = sorted(range(count), key=lambda n: values[n], reverse=largest)
        answer = np.array([[colours[n] for n in order]], np.uint8)
        return Made(drawn(size, things), answer.T if column else answer)

    return make


@family
def colours_left_to_right(draws: Draws) -> MakePair:
    """The objects' colours in the order in which they stand from left to right."""
    sizes, column = draws.sizes(7, 18), draws.chance(0.4)

    def make() -> Made:
        size, count = sizes(), draws.randint(2, 5)
        things = placed(draws, size, [thing(any_shape(draws, 1, 3), c) for c in draws.colours(count)])
        lefts = [item.left for item in things]
        if len(set(lefts)) < count:
            raise RejectError
        answer = np.array([[item.colour for item in sorted(things, key=lambda one: one.left)]], np.uint8)
        return Made(drawn(size, things), answer.T if column else answer)

    return make


@family
def objects_side_by_side(draws: Draws) -> MakePair:
    """The objects, all of one height, are put side by side from left to right without gaps."""
    height, sizes, palette = draws.randint(2, 4), draws.sizes(9, 18), draws.colours(4)

    def make() -> Made:
        size = sizes()
        items = [
            thing(blob(draws, height, draws.randint(2, 4), 0.7), draws.pick(palette))
            for _ in range(draws.randint(2, 4))
        ]
        things = placed(draws, size, items)
        lefts = [item.left for item in things]
        if len(set(lefts)) < len(lefts):
            raise RejectError
        ordered = sorted(things, key=lambda one: one.left)
        return Made(drawn(size, things), np.concatenate([item.cells for item in ordered], axis=1))

    return make


@family
def stack_by_size(draws: Draws) -> MakePair:
    """Bars of several lengths form a pyramid: centred, the longest at the bottom."""
    sizes = draws.sizes(8, 18)

    def make() -> Made:
        size, count = sizes(), draws.randint(2, 5)
        lengths = sorted(draws.sample(range(1, 10, 2), count))
        colours = draws.colours(count)
        things = placed(draws, size, [thing(box(1, n), c) for n, c in zip(lengths, colours, strict=True)])
        answer = blank(count, lengths[-1])
        for row, (length, colour) in enumerate(zip(lengths, colours, strict=True)):
            left = (lengths[-1] - length) // 2
            answer[row, left : left + length] = colour
        return Made(drawn(size, things), answer)

    return make


@family
def nested_frames_reversed(draws: Draws) -> MakePair:
    """The colours of nested squares change places: the innermost becomes the outermost, and so on."""
    shift, low = draws.chance(0.5), draws.randint(2, 4)

    def make() -> Made:
        colours = draws.colours(draws.randint(low, low + 1))
        new = [colours[-1], *colours[:-1]] if shift else colours[::-1]
        side = 2 * len(colours) + draws.randint(0, 2)
        first, last = blank(side, side), blank(side, side)
        for number, (old_colour, new_colour) in enumerate(zip(colours, new, strict=True)):
            first[number : side - number, number : side - number] = old_colour
            last[number : side - number, number : side - number] = new_colour
        pad = draws.randint(0, 2)
        return Made(np.pad(first, pad), np.pad(last, pad))

    return make


@family
def stripes_reversed(draws: Draws) -> MakePair:
    """Stripes keep their places and widths; their colours are read backwards."""
    sizes = draws.sizes(4, 16)

    def make() -> Made:
        rows, columns = sizes()
        count = draws.randint(2, min(4, columns))
        cuts = [0, *sorted(draws.sample(range(1, columns), count - 1)), columns]
        colours = draws.colours(count)
        widths = np.diff(cuts)
        first = np.tile(np.repeat(np.array(colours, np.uint8), widths), (rows, 1))
        last = np.tile(np.repeat(np.array(colours[::-1], np.uint8), widths), (rows, 1))
        return Made(first, last)

    return make


@family
def bars_cumulative(draws: Draws) -> MakePair:
    """The bars lie end to end in the bottom row (or around as a staircase)."""
    palette, sizes, staircase = draws.colours(5), draws.sizes(5, 12), draws.chance(0.5)

    def make() -> Made:
        rows, columns = sizes()
        lengths: list[int] = []
        while sum(lengths) < columns and len(lengths) < rows - 1:
            lengths.append(draws.randint(1, min(4, columns - sum(lengths))))
        if len(lengths) < 2:
            raise RejectError
        first, last, start = blank(rows, columns), blank(rows, columns), 0
        for row, length in enumerate(lengths):
            colour = draws.pick(palette)
            first[row, :length] = colour
            last[row if staircase else -1, start : start + length] = colour
            start += length
        return Made(first, last)

    return make


@family
def smallest_into_largest(draws: Draws) -> MakePair:
    """The small object's picture is shown in the large object's colour (or the other way round)."""
    sizes, small = draws.sizes(8, 18), draws.chance(0.5)

    def make() -> Made:
        size, (a, b) = sizes(), draws.colours(2)
        shapes = any_shape(draws, 4, 6), any_shape(draws, 2, 3)
        if shapes[0].sum() <= shapes[1].sum():
            raise RejectError
        things = placed(draws, size, [thing(shapes[0], a), thing(shapes[1], b)])
        answer = things[1].painted(a) if small else things[0].painted(b)
        return Made(drawn(size, things), trimmed(answer.cells))

    return make


@family
def compact_objects(draws: Draws) -> MakePair:
    """Empty rows and columns are removed."""
    palette, sizes = draws.colours(3), draws.sizes(6, 16)

    def make() -> Made:
        rows, columns = sizes()
        first = blank(rows, columns)
        for row in draws.sample(range(rows), draws.randint(2, max(2, rows // 2))):
            for column in draws.sample(range(0, columns, 2), draws.randint(1, max(1, columns // 3))):
                first[row, column] = draws.pick(palette)
        last = first[(first > 0).any(axis=1)]
        return Made(first, last[:, (last > 0).any(axis=0)])

    return make


@family
def pyramid_of_colours(draws: Draws) -> MakePair:
    """The row's colours are nested squares, the first outermost."""
    outer_first = draws.chance(0.5)

    def make() -> Made:
        colours = draws.colours(draws.randint(2, 5))
        side = 2 * len(colours) - 1
        last = blank(side, side)
        for number, colour in enumerate(colours if outer_first else colours[::-1]):
            last[number : side - number, number : side - number] = colour
        return Made(np.array([colours], np.uint8), last)

    return make


@family
def towers_swapped(draws: Draws) -> MakePair:
    """The highest and the lowest tower change places; the others stay."""
    palette, sizes = draws.colours(4), draws.sizes(5, 14)

    def make() -> Made:
        rows, columns = sizes()
        count = min(draws.randint(3, 6), (columns + 1) // 2, rows)
        heights = draws.sample(range(1, rows + 1), count)
        colours = [draws.pick(palette) for _ in heights]
        order = list(range(count))
        high, low = heights.index(max(heights)), heights.index(min(heights))
        order[high], order[low] = low, high
        first, last = blank(rows, columns), blank(rows, columns)
        for place, number in enumerate(order):
            put(first, thing(box(heights[place], 1), colours[place], rows - heights[place], 2 * place))
            put(last, thing(box(heights[number], 1), colours[number], rows - heights[number], 2 * place))
        return Made(first, last)

    return make

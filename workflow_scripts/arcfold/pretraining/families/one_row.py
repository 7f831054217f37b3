"""One row of cells: runs that move, grow, fill, mirror, change colour by length or order; also stacked in rows.

The rule applies to each row alone, so every family here comes with one row, and with several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from arcfold.pretraining.families.canvas import Draws, RejectError
from arcfold.pretraining.families.registry import Family, Made, MakePair, register

Row = list[int]
MakeRow = Callable[[int], tuple[Row, Row]]
"""A row and its answer of so many cells."""
Kind = Callable[[Draws], MakeRow]


def _runs(
    draws: Draws, columns: int, most: int, longest: int = 6, gap: int = 1, right: int = 0
) -> list[tuple[int, int]]:
    """Begin and length of some runs, apart from each other; `right` cells stay free at the end."""
    made, place = [], draws.randint(0, 3)
    for _ in range(draws.randint(1, most)):
        length = draws.randint(1, longest)
        if place + length > columns - right:
            break
        made.append((place, length))
        place += length + gap + draws.randint(0, 3)
    if not made:
        raise RejectError
    return made


def _painted(columns: int, runs: Sequence[tuple[int, int]], colours: Sequence[int]) -> Row:
    row = [0] * columns
    for (begin, length), colour in zip(runs, colours, strict=True):
        row[begin : begin + length] = [colour] * length
    return row


def _move_by(draws: Draws) -> MakeRow:
    """Runs move right by the same number of cells."""
    steps, palette = draws.randint(1, 3), draws.colours(draws.randint(1, 4))

    def make(columns: int) -> tuple[Row, Row]:
        runs = _runs(draws, columns, 3, right=steps)
        colours = [draws.pick(palette) for _ in runs]
        return _painted(columns, runs, colours), _painted(columns, [(b + steps, n) for b, n in runs], colours)

    return make


def _move_to_marker(draws: Draws) -> MakeRow:
    """The run slides up to the marker."""
    marker = draws.colour()

    def make(columns: int) -> tuple[Row, Row]:
        length = draws.randint(1, columns // 3)
        begin = draws.randint(0, columns - length - 2)
        place = draws.randint(begin + length + 1, columns - 1)
        colour = draws.colour([marker])
        first, last = (
            _painted(columns, [(begin, length)], [colour]),
            _painted(columns, [(place - length, length)], [colour]),
        )
        first[place] = last[place] = marker
        return first, last

    return make


def _fill_between(draws: Draws) -> MakeRow:
    """Between two cells all are filled."""
    paint = draws.pick([0, draws.colour()])

    def make(columns: int) -> tuple[Row, Row]:
        begin = draws.randint(0, columns - 3)
        end = draws.randint(begin + 2, columns - 1)
        colour = draws.colour([paint])
        first, last = [0] * columns, [0] * columns
        last[begin:end] = [paint or colour] * (end - begin)
        for row in (first, last):
            row[begin] = row[end] = colour
        return first, last

    return make


def _hollow(draws: Draws) -> MakeRow:
    """Runs keep only their two ends."""
    palette = draws.colours(3)

    def make(columns: int) -> tuple[Row, Row]:
        runs = _runs(draws, columns, 3, longest=8)
        colours = [draws.pick(palette) for _ in runs]
        first = _painted(columns, runs, colours)
        last = first.copy()
        for begin, length in runs:
            last[begin + 1 : begin + length - 1] = [0] * max(length - 2, 0)
        return first, last

    return make


def _mirror(draws: Draws) -> MakeRow:
    """The coloured run is mirrored at the marker."""
    marker = draws.colour()

    def make(columns: int) -> tuple[Row, Row]:
        cells = [draws.colour([marker]) for _ in range(draws.randint(2, max(2, columns // 3)))]
        place = draws.randint(len(cells), columns - len(cells) - 1)
        begin = draws.randint(max(0, place - len(cells) - 2), place - len(cells))
        first, last = [0] * columns, [0] * columns
        first[begin : begin + len(cells)] = cells
        gap = place - begin - len(cells)
        if place + gap + 1 + len(cells) > columns:
            raise RejectError
        last[place + gap + 1 : place + gap + 1 + len(cells)] = cells[::-1]
        first[place] = last[place] = marker
        return first, last

    return make


def _by_length(draws: Draws) -> MakeRow:
    """Each length of a run has its colour."""
    base, *palette = draws.colours(5)

    def make(columns: int) -> tuple[Row, Row]:
        runs = _runs(draws, columns, 5, longest=4)
        return _painted(columns, runs, [base] * len(runs)), _painted(columns, runs, [palette[n - 1] for _, n in runs])

    return make


def _longest(draws: Draws) -> MakeRow:
    """The longest run changes colour."""
    base, paint = draws.colours(2)

    def make(columns: int) -> tuple[Row, Row]:
        runs = _runs(draws, columns, 5)
        lengths = [n for _, n in runs]
        if len(runs) < 2 or lengths.count(max(lengths)) > 1:
            raise RejectError
        colours = [paint if n == max(lengths) else base for n in lengths]
        return _painted(columns, runs, [base] * len(runs)), _painted(columns, runs, colours)

    return make


def _odd_or_even(draws: Draws) -> MakeRow:
    """Runs of even length take one colour, those of odd length another."""
    base, even, odd = draws.colours(3)

    def make(columns: int) -> tuple[Row, Row]:
        runs = _runs(draws, columns, 5)
        colours = [odd if n % 2 else even for _, n in runs]
        return _painted(columns, runs, [base] * len(runs)), _painted(columns, runs, colours)

    return make


def _denoise(draws: Draws) -> MakeRow:
    """Single cells vanish, longer runs stay."""
    role = draws.role()

    def make(columns: int) -> tuple[Row, Row]:
        runs, colour = _runs(draws, columns, 6, longest=5, gap=1), role()
        if not any(n == 1 for _, n in runs):
            raise RejectError
        stays = [(b, n) for b, n in runs if n > 1]
        return _painted(columns, runs, [colour] * len(runs)), _painted(columns, stays, [colour] * len(stays))

    return make


def _grow(draws: Draws) -> MakeRow:
    """Each run grows by a cell on both sides (in another colour)."""
    base, rim = draws.colours(2)
    if draws.chance(0.3):
        rim = base

    def make(columns: int) -> tuple[Row, Row]:
        runs = _runs(draws, columns, 4, longest=4, gap=3, right=1)
        first = _painted(columns, runs, [base] * len(runs))
        last = first.copy()
        for begin, length in runs:
            if begin:
                last[begin - 1] = rim
            last[begin + length] = rim
        return first, last

    return make


def _repeat_pattern(draws: Draws) -> MakeRow:
    """The beginning is repeated to the end of the row."""
    count = draws.randint(2, 4)

    def make(columns: int) -> tuple[Row, Row]:
        cells = [draws.colour() for _ in range(count)]
        last = [cells[n % count] for n in range(columns)]
        return cells + [0] * (columns - count), last

    return make


def _copy_pattern(draws: Draws) -> MakeRow:
    """The pattern is copied so that it starts at each marker."""
    marker = draws.colour()

    def make(columns: int) -> tuple[Row, Row]:
        cells = [draws.colour([marker]) for _ in range(draws.randint(2, 4))]
        first, last = [0] * columns, [0] * columns
        first[: len(cells)] = last[: len(cells)] = cells
        place = len(cells) + draws.randint(1, 3)
        while place + len(cells) <= columns:
            first[place] = marker
            last[place : place + len(cells)] = cells
            place += len(cells) + draws.randint(1, 4)
        return first, last

    return make


def _swap_ends(draws: Draws) -> MakeRow:
    """The first and the last cell of each run change places with its inside: two colours are exchanged."""
    a, b = draws.colours(2)

    def make(columns: int) -> tuple[Row, Row]:
        first, last = [0] * columns, [0] * columns
        for begin, length in _runs(draws, columns, 4, longest=7):
            inner, outer = (a, b) if draws.chance(0.5) else (b, a)
            first[begin : begin + length] = [inner] * length
            last[begin : begin + length] = [outer] * length
            first[begin] = first[begin + length - 1] = outer
            last[begin] = last[begin + length - 1] = inner
        return first, last

    return make


def _gravity(draws: Draws) -> MakeRow:
    """All cells move to the left end, in order."""
    palette = draws.colours(draws.randint(1, 4))

    def make(columns: int) -> tuple[Row, Row]:
        first = [draws.pick([0, draws.pick(palette)]) for _ in range(columns)]
        cells = [cell for cell in first if cell]
        return first, cells + [0] * (columns - len(cells))

    return make


def _ray_to_wall(draws: Draws) -> MakeRow:
    """Each dot's colour runs right to the next wall."""
    wall = draws.colour()

    def make(columns: int) -> tuple[Row, Row]:
        first, last, colour = [0] * columns, [0] * columns, 0
        for place in range(columns):
            if draws.chance(0.2):
                first[place] = wall
                colour = 0
            elif not colour and draws.chance(0.3):
                first[place] = colour = draws.colour([wall])
            last[place] = first[place] or colour
        return first, last

    return make


def _majority(draws: Draws) -> MakeRow:
    """A run of two colours becomes all of its more frequent one."""

    def make(columns: int) -> tuple[Row, Row]:
        first, last = [0] * columns, [0] * columns
        for begin, length in _runs(draws, columns, 3, longest=8):
            if length < 3:
                continue
            a, b = draws.colours(2)
            minority = draws.randint(1, (length - 1) // 2)
            cells = [a] * (length - minority) + [b] * minority
            draws.shuffle(cells)
            first[begin : begin + length], last[begin : begin + length] = cells, [a] * length
        if not any(first):
            raise RejectError
        return first, last

    return make


def _alternate_colours(draws: Draws) -> MakeRow:
    """Runs take the colours in turn from left to right."""
    base, *palette = draws.colours(draws.randint(3, 4))

    def make(columns: int) -> tuple[Row, Row]:
        runs = _runs(draws, columns, 6, longest=4)
        colours = [palette[number % len(palette)] for number in range(len(runs))]
        return _painted(columns, runs, [base] * len(runs)), _painted(columns, runs, colours)

    return make


KINDS: dict[str, Kind] = {
    "move_by": _move_by,
    "move_to_marker": _move_to_marker,
    "fill_between": _fill_between,
    "hollow": _hollow,
    "mirror": _mirror,
    "by_length": _by_length,
    "longest": _longest,
    "odd_or_even": _odd_or_even,
    "denoise": _denoise,
    "grow": _grow,
    "repeat_pattern": _repeat_pattern,
    "copy_pattern": _copy_pattern,
    "swap_ends": _swap_ends,
    "gravity": _gravity,
    "ray_to_wall": _ray_to_wall,
    "majority": _majority,
    "alternate_colours": _alternate_colours,
}


def _family(kind: Kind, several: bool) -> Family:
    def made(draws: Draws) -> MakePair:
        make_row, low = kind(draws), draws.randint(8, 18)

        def make() -> Made:
            columns = draws.randint(low, low + 10)
            rows = [_drawn(make_row, columns) for _ in range(draws.randint(2, 8) if several else 1)]
            first, last = (np.array([row[side] for row in rows], np.uint8) for side in (0, 1))
            return Made(first, last)

        return make

    return made


def _drawn(make_row: MakeRow, columns: int) -> tuple[Row, Row]:
    for _ in range(10):
        try:
            return make_row(columns)
        except RejectError:
            continue
    raise RejectError


for _name, _kind in KINDS.items():
    register(f"row_{_name}", _family(_kind, several=False))
    register(f"rows_{_name}", _family(_kind, several=True))

"""Fields in rows and columns: chosen, turned, recoloured or laid out by an indicator, a map or their own content."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from arcfold.pretraining.families.canvas import (
    LONGEST,
    Draws,
    Grid,
    RejectError,
    blank,
    blob,
    is_mirrored,
    noise,
    trimmed,
    turned,
)
from arcfold.pretraining.families.panels import LOGIC
from arcfold.pretraining.families.registry import Family, Made, MakePair, family, register
from arcfold.pretraining.families.whole import LOCAL, RULES, applied

Fields = list[list[Grid]]


def lattice(fields: Fields, line: int, edge: bool) -> Grid:
    """Fields of one size with lines between them (and around them all)."""
    rows, columns = fields[0][0].shape
    across = len(fields[0])
    bar = np.full((1, across * (columns + 1) - 1), line, np.uint8)
    stripe = np.full((rows, 1), line, np.uint8)
    parts: list[Grid] = []
    for number, row in enumerate(fields):
        pieces: list[Grid] = []
        for place, field in enumerate(row):
            pieces += [stripe, field] if place else [field]
        parts += [bar, np.concatenate(pieces, axis=1)] if number else [np.concatenate(pieces, axis=1)]
    made = np.concatenate(parts)
    if edge:
        made = np.pad(made, 1, constant_values=line)
    if max(made.shape) > LONGEST:
        raise RejectError
    return made


def _counts(draws: Draws, low: int = 2, high: int = 4) -> Callable[[], tuple[int, int]]:
    if draws.wide:
        low, high = low + 1, high + 1
    fixed = draws.randint(low, high), draws.randint(low, high)
    return (lambda: fixed) if draws.chance(0.6) else lambda: (draws.randint(low, high), draws.randint(low, high))


def _picture(draws: Draws, side: tuple[int, int], palette: Sequence[int], share: float = 0.6) -> Grid:
    made = noise(draws, *side, palette, share)
    if not made.any():
        raise RejectError
    return made


# --- one field is the answer ---------------------------------------------------------------------------

Measure = Callable[[Grid], float]

MEASURES: dict[str, Measure] = {
    "fullest": lambda field: float((field > 0).sum()),
    "emptiest": lambda field: -float((field > 0).sum()),
    "most_colours": lambda field: float(len(np.unique(field))),
    "mirrored": lambda field: float(is_mirrored(field)),
    "mirrored_down": lambda field: float(is_mirrored(field.T)),
    "most_of_first": lambda field: float((field[0] > 0).sum()),
    "widest": lambda field: float(trimmed(field).shape[1]),
    "fewest_rows": lambda field: -float(trimmed(field).shape[0]),
    "diagonal": lambda field: float((field == field.T).all()),
}


def _narrowed(draws: Draws, field: Grid) -> Grid:
    """What lies in some of its rows and columns alone."""
    made = np.zeros_like(field)
    rows, columns = draws.randint(1, field.shape[0] - 1), draws.randint(1, field.shape[1] - 1)
    made[:rows, :columns] = field[:rows, :columns]
    if not made.any():
        raise RejectError
    return np.roll(made, (draws.randint(0, field.shape[0] - rows), draws.randint(0, field.shape[1] - columns)), (0, 1))


def _few_coloured(draws: Draws, field: Grid) -> Grid:
    """With one of its colours instead of some others, more often than not."""
    table = np.arange(10, dtype=np.uint8)
    used = [int(colour) for colour in np.unique(field[field > 0])]
    for colour in used[1:]:
        if draws.chance(0.6):
            table[colour] = used[0]
    return table[field]


def _field_with(name: str) -> Family:
    """The only field that is it (the fullest, the mirrored one, …), as it is or after a rule on whole grids."""

    def made(draws: Draws) -> MakePair:
        line, *palette = draws.colours(5 if name == "most_colours" else draws.randint(2, 4))
        counts, edge = _counts(draws), draws.chance(0.4)
        side = (draws.randint(3, 6),) * 2 if name == "diagonal" else (draws.randint(3, 6), draws.randint(3, 6))
        rule = RULES[draws.pick(LOCAL)](draws) if draws.chance(0.5) else None
        measure, one_colour = MEASURES[name], draws.chance(0.5) and name != "most_colours"

        def make() -> Made:
            down, across = counts()
            fields = [_picture(draws, side, palette, draws.uniform(0.3, 0.8)) for _ in range(down * across)]
            if name in ("widest", "fewest_rows"):
                fields = [_narrowed(draws, field) for field in fields]
            if name == "most_colours":
                fields = [_few_coloured(draws, field) for field in fields]
            if one_colour:
                fields = [np.where(f > 0, draws.pick(palette), 0).astype(np.uint8) for f in fields]
            lucky = draws.randrange(len(fields))
            if name.startswith("mirrored"):
                field = fields[lucky] if name == "mirrored" else fields[lucky].T
                half = field.shape[1] // 2
                field[:, field.shape[1] - half :] = field[:, :half][:, ::-1]
            if name == "diagonal":
                fields[lucky] = np.maximum(fields[lucky], fields[lucky].T)
            values = [measure(field) for field in fields]
            if values.count(max(values)) > 1:
                raise RejectError
            answer = fields[values.index(max(values))]
            rows = [fields[n * across : (n + 1) * across] for n in range(down)]
            return Made(lattice(rows, line, edge), applied(rule, answer) if rule else answer)

        return make

    return made


for _name in MEASURES:
    register(f"field_{_name}", _field_with(_name), weight=2)


# --- all fields stay where they are --------------------------------------------------------------------


def _fields(draws: Draws, count: int, side: tuple[int, int], palette: Sequence[int]) -> list[Grid]:
    """Pictures that are no symmetric ones, so that turning them shows."""
    made = []
    for _ in range(count):
        field = np.where(blob(draws, *side, 0.5), noise(draws, *side, palette), 0).astype(np.uint8)
        if sum(np.array_equal(turned(field, n), field) for n in range(8)) > 1:
            raise RejectError
        made.append(field)
    return made


@family
def fields_turned_on(draws: Draws) -> MakePair:
    """Only the first field is filled: the others in its row (or all) show it turned further and further."""
    line, *palette = draws.colours(4)
    side, across = draws.randint(3, 6), draws.randint(2, 4)
    step, down = draws.pick([1, 2, 3]), draws.randint(1, 3)

    def make() -> Made:
        starts = _fields(draws, down, (side, side), palette)
        first = [[start, *(np.zeros_like(start) for _ in range(across - 1))] for start in starts]
        last = [[np.rot90(start, step * n) for n in range(across)] for start in starts]
        return Made(lattice(first, line, False), lattice(last, line, False))

    return make


@family
def fields_by_own_colour(draws: Draws) -> MakePair:
    """Each field's picture is turned as its colour says."""
    line, *palette = draws.colours(draws.randint(3, 4))
    turns = dict(zip(palette, draws.sample(range(8), len(palette)), strict=True))
    side, counts = draws.randint(3, 6), _counts(draws)

    def make() -> Made:
        down, across = counts()
        fields = [_fields(draws, across, (side, side), [draws.pick(palette)]) for _ in range(down)]
        last = [[turned(f, turns[int(f.max())]) for f in row] for row in fields]
        return Made(lattice(fields, line, False), lattice(last, line, False))

    return make


@family
def fields_of_row_and_column(draws: Draws) -> MakePair:
    """Heads of rows give colours, heads of columns give pictures: each empty field takes the picture of its column in
    the colour of its row."""
    line, base = draws.colours(2)
    side = draws.randint(3, 4)

    def make() -> Made:
        down, across = draws.randint(2, 4), draws.randint(2, 4)
        pictures = _fields(draws, across, (side, side), [base])
        colours = draws.colours(down, [line, base])
        first = [[blank(side, side), *pictures]]
        last = [[blank(side, side), *pictures]]
        for colour in colours:
            head = blank(side, side)
            head[side // 2, side // 2] = colour
            first.append([head, *(blank(side, side) for _ in pictures)])
            last.append([head, *(np.where(p > 0, colour, 0).astype(np.uint8) for p in pictures)])
        return Made(lattice(first, line, False), lattice(last, line, False))

    return make


@family
def fields_missing_one(draws: Draws) -> MakePair:
    """Fields follow a rule by row and column; the covered one is the answer."""
    line, cover, *palette = draws.colours(5)
    side, down, across = draws.randint(3, 5), draws.randint(2, 4), draws.randint(3, 4)
    kind = draws.randrange(3)

    def make() -> Made:
        if kind == 0:
            (start,) = _fields(draws, 1, (side, side), palette)
            fields = [[np.rot90(start, r + c) for c in range(across)] for r in range(down)]
        elif kind == 1:
            masks = _fields(draws, across, (side, side), [1])
            colours = draws.colours(down, [line, cover])
            fields = [[(m > 0).astype(np.uint8) * np.uint8(colour) for m in masks] for colour in colours]
        else:
            ways = [_fields(draws, 1, (side, side), palette)[0] for _ in range(down)]
            fields = [[np.roll(start, c, 1) for c in range(across)] for start in ways]
        row, column = draws.randrange(down), draws.randrange(across)
        answer = fields[row][column]
        fields[row][column] = np.full_like(answer, cover)
        return Made(lattice(fields, line, False), answer)

    return make


@family
def fields_logic_by_row(draws: Draws) -> MakePair:
    """In each row of fields the third is made of the first two by one logic; the last row's third is empty."""
    line, *palette = draws.colours(4)
    side, logic = (draws.randint(3, 5), draws.randint(3, 5)), LOGIC[draws.pick(["and", "or", "xor", "first_only"])]
    alone = draws.chance(0.5)

    def make() -> Made:
        down = draws.randint(2, 4)
        rows: Fields = []
        for _ in range(down):
            a, b = (noise(draws, *side, [colour], 0.5) for colour in palette[:2])
            rows.append([a, b, (logic(a > 0, b > 0) * palette[2]).astype(np.uint8)])
        answer = rows[-1][2]
        if not answer.any():
            raise RejectError
        first = [*rows[:-1], [*rows[-1][:2], blank(*side)]]
        return Made(lattice(first, line, False), answer if alone else lattice(rows, line, False))

    return make


@family
def fields_gathered(draws: Draws) -> MakePair:
    """What is in the fields lies on top of each other in one field: later ones over earlier ones."""
    line, *palette = draws.colours(5)
    side, counts, order = (draws.randint(3, 6), draws.randint(3, 6)), _counts(draws, 2, 3), draws.chance(0.5)

    def make() -> Made:
        down, across = counts()
        fields = [_picture(draws, side, [draws.pick(palette)], 0.35) for _ in range(down * across)]
        answer = np.zeros(side, np.uint8)
        for field in fields if order else fields[::-1]:
            answer = np.where(field > 0, field, answer)
        rows = [fields[n * across : (n + 1) * across] for n in range(down)]
        return Made(lattice(rows, line, False), answer)

    return make


@family
def fields_to_map(draws: Draws) -> MakePair:
    """A small map of colours and a picture: each coloured cell of the map becomes the picture in its colour."""
    line, base = draws.colours(2)
    side = draws.randint(2, 4)
    turns = draws.chance(0.3)

    def make() -> Made:
        rows, columns = draws.randint(2, 5), draws.randint(2, 5)
        (picture,) = _fields(draws, 1, (side, side), [base])
        map_ = noise(draws, rows, columns, draws.colours(3, [line, base]), 0.6)
        if not map_.any():
            raise RejectError
        height = max(rows, side)
        left, right = np.pad(picture, ((0, height - side), (0, 0))), np.pad(map_, ((0, height - rows), (0, 0)))
        first = np.concatenate([left, np.full((height, 1), line, np.uint8), right], axis=1)
        parts = [
            [
                np.where((np.rot90(picture, c) if turns else picture) > 0, map_[r, c], 0).astype(np.uint8)
                for c in range(columns)
            ]
            for r in range(rows)
        ]
        return Made(first, np.block(parts))

    return make


@family
def quilt_of_turns(draws: Draws) -> MakePair:
    """Copies of the picture side by side, each turned in a way of its own that is the same in all pairs."""
    down, across = draws.randint(2, 4), draws.randint(2, 4)
    turns = [[draws.randrange(8) for _ in range(across)] for _ in range(down)]
    palette, high = draws.colours(draws.randint(2, 4)), LONGEST // max(down, across)

    def make() -> Made:
        side = draws.randint(2, min(high, 6))
        picture = _picture(draws, (side, side), palette)
        return Made(picture, np.block([[turned(picture, n) for n in row] for row in turns]))

    return make


@family
def quilt_with_gaps(draws: Draws) -> MakePair:
    """Copies of the picture at the places of a map that is the same in all pairs; other places are empty or filled."""
    down, across = draws.randint(2, 4), draws.randint(2, 4)
    places = [[draws.randrange(4) for _ in range(across)] for _ in range(down)]
    palette, filler = draws.colours(3), draws.colour()

    def make() -> Made:
        rows, columns = draws.randint(2, 7), draws.randint(2, 7)
        picture = _picture(draws, (rows, columns), palette)
        kinds = [picture, picture[:, ::-1], np.zeros_like(picture), np.where(picture > 0, filler, 0).astype(np.uint8)]
        return Made(picture, np.block([[kinds[n] for n in row] for row in places]))

    return make


@family
def quilt_by_indicator(draws: Draws) -> MakePair:
    """The number of dots in the bar below the picture says how often it is repeated, their colour how it is turned."""
    one, two, *palette = draws.colours(5)
    ways = dict(zip((one, two), draws.sample(range(8), 2), strict=True))

    def make() -> Made:
        side, times, colour = draws.randint(3, 8), draws.randint(1, 3), draws.pick([one, two])
        picture = _picture(draws, (side, side), palette)
        bar = blank(2, side)
        bar[1, :times] = colour
        return Made(np.concatenate([picture, bar]), np.tile(turned(picture, ways[colour]), (1, times)))

    return make


@family
def field_of_size_to_cell(draws: Draws) -> MakePair:
    """Each field becomes a cell: of the colour that most of its cells have, or empty if most are."""
    line, *palette = draws.colours(draws.randint(3, 5))
    side, counts = (draws.randint(2, 4), draws.randint(2, 4)), _counts(draws, 3, 6)

    def make() -> Made:
        down, across = counts()
        rows: Fields = []
        answer = blank(down, across)
        for r in range(down):
            row = []
            for c in range(across):
                colour = draws.pick([0, *palette])
                field = np.where(noise(draws, *side, [1], 0.25) > 0, noise(draws, *side, palette), colour)
                counts_ = np.bincount(field.ravel(), minlength=10)
                if (counts_ == counts_.max()).sum() > 1:
                    raise RejectError
                answer[r, c] = counts_.argmax()
                row.append(field.astype(np.uint8))
            rows.append(row)
        return Made(lattice(rows, line, False), answer)

    return make


@family
def fields_swapped(draws: Draws) -> MakePair:
    """The two fields with a frame in the marking colour change places; frames go."""
    line, mark, *palette = draws.colours(4)
    side, counts = draws.randint(4, 6), _counts(draws, 2, 4)

    def make() -> Made:
        down, across = counts()
        pictures = [noise(draws, side - 2, side - 2, palette, 0.6) for _ in range(down * across)]
        one, two = draws.sample(range(len(pictures)), 2)
        if np.array_equal(pictures[one], pictures[two]):
            raise RejectError
        first = [np.pad(p, 1, constant_values=mark if n in (one, two) else 0) for n, p in enumerate(pictures)]
        pictures[one], pictures[two] = pictures[two], pictures[one]
        last = [np.pad(p, 1) for p in pictures]
        return Made(*(
            lattice([part[n * across : (n + 1) * across] for n in range(down)], line, False) for part in (first, last)
        ))  # fmt: skip

    return make

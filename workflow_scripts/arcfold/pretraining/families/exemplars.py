"""Rules that each grid tells by itself: legends, keys, a shown example, a marked object that the others are held to.

What changes from pair to pair is what a legend says; what stays is how it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from arcfold.pretraining.families.acting import ACTS, ACTS_WITH_COLOUR, LOCAL_ACTS, Act, acted, changed
from arcfold.pretraining.families.canvas import (
    LETTERS,
    Draws,
    Grid,
    Mask,
    RejectError,
    Size,
    Thing,
    any_shape,
    blank,
    blob,
    box,
    drawn,
    frame,
    holes,
    placed,
    put,
    shape_key,
    thing,
    turned,
)
from arcfold.pretraining.families.registry import Family, Made, MakePair, family, register

SMALL_LETTERS = tuple(mask for mask in LETTERS if max(mask.shape) <= 3)


def beside(legend: Grid, scene: Grid, line: int | None, side: int) -> Grid:
    """A legend at one of the four sides of a scene, a line between them if there is a colour for it."""
    if side >= 2:
        return beside(np.ascontiguousarray(legend.T), np.ascontiguousarray(scene.T), line, side - 2).T
    rows = max(len(legend), len(scene))
    parts = [np.pad(part, ((0, rows - len(part)), (0, 0))) for part in (legend, scene)]
    between = [] if line is None else [np.full((rows, 1), line, np.uint8)]
    made = [parts[0], *between, parts[1]] if side == 0 else [parts[1], *between, parts[0]]
    return np.concatenate(made, axis=1)


# --- an example is shown -------------------------------------------------------------------------------


def _window(item: Thing | None, side: int) -> Grid:
    grid = blank(side, side)
    if item is not None:
        put(grid, item)
    return grid


def _example(act: Act, mask: Mask, colour: int, side: int, line: int) -> Grid:
    """Before and after, one above the other, a line below each."""
    item = thing(mask, colour, (side - mask.shape[0]) // 2, (side - mask.shape[1]) // 2)
    bar = np.full((1, side), line, np.uint8)
    last = acted((side, side), [act(item, (side, side))])
    if np.array_equal(last, _window(item, side)):
        raise RejectError
    return np.concatenate([_window(item, side), bar, last, bar])


def _shown(draws: Draws, names: Sequence[str]) -> MakePair:
    """An example before and after in the corner says what is done with every object of the grid."""
    line, base = draws.colours(2)
    sizes, alone, side = draws.sizes(13, 20), draws.chance(0.4), draws.randrange(2)
    many = draws.chance(0.5)

    def make() -> Made:
        act = ACTS[draws.pick(names)](draws)
        key = _example(act, _shape(draws), base, 5, line)
        rows, columns = sizes()
        size = (max(rows, len(key)), max(columns - 6, 7))
        palette = draws.colours(2, [line]) if many else [base]
        items = [thing(_shape(draws), draws.pick(palette)) for _ in range(draws.many(2, 4))]
        things = placed(draws, size, items, gap=2, border=1)
        results = [act(item, size) for item in things]
        if not changed(things, results):
            raise RejectError
        first, last = drawn(size, things), acted(size, results)
        return Made(beside(key, first, line, side), last if alone else beside(key, last, line, side))

    return make


def _shape(draws: Draws) -> Mask:
    if draws.chance(0.4):
        return box(3, 3)
    return blob(draws, draws.randint(2, 3), 3, draws.uniform(0.6, 0.9))


def _shown_family(name: str) -> Family:
    return lambda draws: _shown(draws, [name])


for _name in ACTS_WITH_COLOUR:
    register(f"shown_{_name}", _shown_family(_name))


def _shown_one_of(draws: Draws) -> MakePair:
    names = [n for n in LOCAL_ACTS if n not in ("holes_filled", "boxed", "middle_painted")]
    return _shown(draws, draws.sample(names, draws.randint(2, 4)))


register("shown_one_of", _shown_one_of, weight=10)


# --- held to the marked one ----------------------------------------------------------------------------

Attribute = Callable[[Thing], object]

ATTRIBUTES: dict[str, Attribute] = {
    "colour": lambda item: item.colour,
    "shape": lambda item: shape_key(item.mask),
    "size": lambda item: item.size,
    "holes": lambda item: holes(item.mask),
    "width": lambda item: item.columns,
}
"""What objects can have in common."""


def _kinds(draws: Draws, name: str, count: int, palette: Sequence[int]) -> list[Thing]:
    """Objects of a few kinds each of several, by that attribute."""
    if name == "colour":
        return [thing(any_shape(draws, 2, 4), draws.pick(palette)) for _ in range(count)]
    if name == "shape":
        letters = draws.sample(SMALL_LETTERS, 3)
        return [thing(turned(draws.pick(letters), draws.randrange(8)), draws.pick(palette)) for _ in range(count)]
    if name == "size":
        return [thing(_of_size(draws, draws.randint(3, 5)), draws.pick(palette)) for _ in range(count)]
    if name == "holes":
        return [thing(_with_holes(draws, draws.randrange(3)), draws.pick(palette)) for _ in range(count)]
    return [thing(box(draws.randint(1, 4), draws.randint(2, 4)), draws.pick(palette)) for _ in range(count)]


def _of_size(draws: Draws, cells: int) -> Mask:
    """A connected shape of so many cells."""
    while True:
        mask = blob(draws, draws.randint(1, 3), draws.randint(1, 3), 0.5)
        if mask.sum() == cells:
            return mask


def _with_holes(draws: Draws, count: int) -> Mask:
    if count == 0:
        return blob(draws, 3, draws.randint(2, 4), 0.6)
    mask = frame(3, 2 * count + 1) if draws.chance(0.7) else frame(4, 2 * count + 1)
    for number in range(1, count):
        mask[:, 2 * number] = True
    return mask


def _like_marked(name: str, act_name: str | None) -> Family:
    """Objects that have an attribute in common with the marked one are acted on; the mark is a dot in it, or a frame
    around it."""

    def made(draws: Draws) -> MakePair:
        mark, *palette = draws.colours(draws.randint(3, 4))
        kinds = palette if name == "colour" or draws.chance(0.4) else palette[:1]
        if act_name is None:
            act = None
        else:
            act = ACTS[act_name](draws)
        framed, sizes, keeps = draws.chance(0.5), draws.sizes(12, 22), draws.chance(0.5)

        def make() -> Made:
            size, count = sizes(), draws.many(4, 7)
            items = _kinds(draws, name, count, kinds)
            model = items[0]
            cells = np.pad(model.cells, 2)
            cells[[0, -1]] = cells[:, [0, -1]] = mark
            if not framed:
                cells = np.pad(model.cells, ((0, 2), (0, 0)))
                cells[-1, :] = mark  # a bar below it
            marked, *others = placed(draws, size, [Thing(0, 0, cells), *items[1:]], gap=2)
            wanted = ATTRIBUTES[name](model)
            flags = [ATTRIBUTES[name](item) == wanted for item in others]
            if all(flags) or not any(flags):
                raise RejectError
            first = drawn(size, [marked, *others])
            if act is None:
                left = [item for item, flag in zip(others, flags, strict=True) if flag == keeps]
                return Made(first, acted(size, [marked, *left]))
            results = [act(item, size) if flag else item for item, flag in zip(others, flags, strict=True)]
            if not changed([i for i, f in zip(others, flags, strict=True) if f],
                           [i for i, f in zip(results, flags, strict=True) if f]):  # fmt: skip
                raise RejectError
            return Made(first, acted(size, [marked, *results]))

        return make

    return made


for _attribute in ATTRIBUTES:
    register(f"like_marked_{_attribute}_or_not", _like_marked(_attribute, None))
    for _name in ("recoloured", "chequered", "haloed", "fenced", "cornered", "shadowed", "gaps_filled", "top_painted"):
        if (_attribute, _name) not in {("width", "gaps_filled"), ("holes", "shadowed")}:
            register(f"like_marked_{_attribute}_{_name}", _like_marked(_attribute, _name), weight=0.5)


# --- legends -------------------------------------------------------------------------------------------


def _legend(pairs: Sequence[tuple[Grid, Grid]], arrow: int | None) -> Grid:
    """Each row of it a key, perhaps a dash, and what it stands for."""
    height = max(max(len(a), len(b)) for a, b in pairs)
    left, right = (max(pair[side].shape[1] for pair in pairs) for side in (0, 1))
    gap = 0 if left == right == height == 1 and arrow is None else 1
    rows = []
    for number, (key, value) in enumerate(pairs):
        row = blank(height, left + gap + right)
        put(row, Thing(0, 0, key))
        put(row, Thing(0, left + gap, value))
        if arrow is not None:
            row[height // 2, left] = arrow
        if number:
            rows.append(blank(1, row.shape[1]))
        rows.append(row)
    return np.concatenate(rows)


def _cell(colour: int) -> Grid:
    return np.full((1, 1), colour, np.uint8)


KEYS = ("colour", "shape", "size", "holes")
VALUES = ("colour", "picture", "act", "border")


def _legend_family(key: str, value: str) -> Family:
    """A legend at a side says for each kind of object what becomes of it."""

    def made(draws: Draws) -> MakePair:
        line, base, edge = draws.colours(3)
        sizes, side, alone = draws.sizes(12, 22), draws.randrange(4), draws.chance(0.5)
        with_line, arrow = draws.chance(0.7), edge if draws.chance(0.3) else None
        codes = draws.colours(3, [line, base, edge])
        acts = [ACTS[name](draws) for name in draws.sample(LOCAL_ACTS, 3)]
        most = draws.randint(2, 3)

        def make() -> Made:
            keys, count = _keys(draws, key, base, [line, base, edge]), draws.many(3, 6)
            keys = keys[:most]
            if value == "colour":
                new = draws.colours(len(keys), [line, base, edge])
                values = [_cell(colour) for colour in new]
                become: list[Act] = [_painter(colour) for colour in new]
            elif value == "border":
                new = draws.colours(len(keys), [line, base, edge])
                values = [_cell(colour) for colour in new]
                become = [_haloer(colour) for colour in new]
            elif value == "picture":
                letters = draws.sample([m for m in SMALL_LETTERS if m.shape == (3, 3)], len(keys))
                values = [(mask * edge).astype(np.uint8) for mask in letters]
                become = [_replacer(mask) for mask in letters]
            else:
                order = draws.sample(range(3), len(keys))
                values = [_cell(codes[number]) for number in order]
                become = [acts[number] for number in order]
            legend = _legend([(glyph, shown) for (glyph, _), shown in zip(keys, values, strict=True)], arrow)
            rows, columns = sizes()
            if side >= 2:
                legend = np.ascontiguousarray(legend.T)
            taken = legend.shape[1] + (1 if with_line else 0)
            size = (max(rows, len(legend)), columns - taken) if side < 2 else (rows - taken, max(columns, len(legend)))
            if min(size) < 7:
                raise RejectError
            kinds = [draws.randrange(len(keys)) for _ in range(count)]
            things = placed(draws, size, [keys[kind][1]() for kind in kinds], gap=2, border=1)
            results = [become[kind](item, size) for kind, item in zip(kinds, things, strict=True)]
            if len(set(kinds)) < 2 or not changed(things, results):
                raise RejectError
            first, last = drawn(size, things), acted(size, results)
            colour = line if with_line else None
            shown = legend if side < 2 else legend.T
            return Made(_at(shown, first, colour, side), last if alone else _at(shown, last, colour, side))

        return make

    return made


def _at(legend: Grid, scene: Grid, line: int | None, side: int) -> Grid:
    made = (
        beside(legend if side < 2 else legend.T, scene, line, side) if side < 2 else beside(legend, scene, line, side)
    )
    if max(made.shape) > 30:
        raise RejectError
    return np.ascontiguousarray(made)


def _keys(draws: Draws, key: str, base: int, taken: Sequence[int]) -> list[tuple[Grid, Callable[[], Thing]]]:
    """Kinds of objects: how each looks in a legend, and what draws one."""
    if key == "colour":
        return [(_cell(colour), partial(_any_of, draws, colour)) for colour in draws.colours(3, taken)]
    if key == "shape":
        letters = draws.sample([mask for mask in SMALL_LETTERS if mask.shape == (3, 3)], 3)
        return [((mask * base).astype(np.uint8), partial(thing, mask, base)) for mask in letters]
    if key == "size":
        numbers = draws.sample([2, 3, 4], 3)
        return [(np.full((1, n), base, np.uint8), partial(_sized, draws, n, base)) for n in numbers]
    numbers = draws.sample([0, 1, 2], 3)
    return [((_with_holes_fixed(n) * base).astype(np.uint8), partial(_pierced, draws, n, base)) for n in numbers]


def _with_holes_fixed(count: int) -> Mask:
    mask = box(3, max(2 * count + 1, 2))
    mask[1, 1 : 2 * count : 2] = False
    return mask


def _any_of(draws: Draws, colour: int) -> Thing:
    return thing(any_shape(draws, 2, 4), colour)


def _sized(draws: Draws, cells: int, colour: int) -> Thing:
    return thing(_of_size(draws, cells), colour)


def _pierced(draws: Draws, count: int, colour: int) -> Thing:
    return thing(_with_holes(draws, count), colour)


def _painter(colour: int) -> Act:
    return lambda item, size: item.painted(colour)


def _haloer(colour: int) -> Act:
    def act(item: Thing, size: Size) -> Thing:
        return Thing(item.top - 1, item.left - 1, np.pad(item.cells, 1, constant_values=colour))

    return act


def _replacer(mask: Mask) -> Act:
    return lambda item, size: thing(mask, item.colour, item.top, item.left)


for _key in KEYS:
    for _value in VALUES:
        register(f"legend_{_key}_to_{_value}", _legend_family(_key, _value), weight=4)


# --- keys to the whole grid ----------------------------------------------------------------------------


@family
def legend_of_chain(draws: Draws) -> MakePair:
    """A legend of pairs of colours that is followed twice: what becomes of a colour becomes something again."""
    line = draws.colour()
    sizes, twice = draws.sizes(6, 20), draws.chance(0.6)

    def make() -> Made:
        rows, columns = sizes()
        cycle = draws.colours(draws.randint(3, 5), [line])
        step = dict(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
        items = list(step.items())
        draws.shuffle(items)
        legend = np.array(items, np.uint8)
        rows = max(rows, len(legend))
        scene = blank(rows, columns)
        things = placed(
            draws, (rows, columns), [thing(any_shape(draws, 1, 4), draws.pick(cycle)) for _ in range(draws.many(3, 6))]
        )
        for item in things:
            put(scene, item)
        table = np.arange(10, dtype=np.uint8)
        for old in cycle:
            table[old] = step[step[old]] if twice else step[old]
        return Made(beside(legend, scene, line, 0), table[scene])

    return make


@family
def order_of_painting(draws: Draws) -> MakePair:
    """A row of colours says in what order rectangles lie on each other; the answer shows them so."""
    line, sizes = draws.colour(), draws.sizes(9, 20)

    def make() -> Made:
        size = sizes()
        colours = draws.colours(draws.randint(2, 4), [line])
        rectangles = [
            thing(box(draws.randint(3, max(3, size[0] // 2)), draws.randint(3, max(3, size[1] // 2))), colour)
            for colour in colours
        ]
        spots = [
            item.moved(draws.randint(0, size[0] - item.rows), draws.randint(0, size[1] - item.columns))
            for item in rectangles
        ]
        # all are outlines in the input, so that each can be seen whole
        first = blank(*size)
        for item in spots:
            put(first, thing(frame(item.rows, item.columns), item.colour, item.top, item.left))
        for item in spots:
            around = thing(frame(item.rows, item.columns), item.colour, item.top, item.left)
            if (first[item.top : item.bottom + 1, item.left : item.right + 1][around.mask] != item.colour).mean() > 0.3:
                raise RejectError
        last = drawn(size, spots)
        legend = np.array([colours], np.uint8)
        top = np.zeros((1, size[1]), np.uint8)
        if len(colours) > size[1]:
            raise RejectError
        top[:, : len(colours)] = legend
        bar = np.full((1, size[1]), line, np.uint8)
        return Made(np.concatenate([top, bar, first]), last)

    return make


@family
def programme_of_moves(draws: Draws) -> MakePair:
    """A strip of colours is a programme: each colour is a step, and a walker leaves its trail."""
    walker, *codes = draws.colours(5)
    steps = dict(zip(codes, ((0, 1), (1, 0), (0, -1), (-1, 0)), strict=True))
    longer, sizes, trail = draws.randint(1, 3), draws.sizes(8, 20), draws.chance(0.5)

    def make() -> Made:
        rows, columns = sizes()
        programme = [draws.pick(codes) for _ in range(draws.randint(3, min(columns, 9)))]
        row, column = draws.randrange(rows), draws.randrange(columns)
        scene = blank(rows, columns)
        scene[row, column] = walker
        last = scene.copy()
        for code in programme:
            for _ in range(longer):
                row, column = row + steps[code][0], column + steps[code][1]
                if not (0 <= row < rows and 0 <= column < columns):
                    raise RejectError
                if last[row, column] == 0:
                    last[row, column] = walker if trail else code
        strip = blank(2, columns)
        strip[0, : len(programme)] = programme
        return Made(np.concatenate([strip, scene]), np.concatenate([strip, last]))

    return make

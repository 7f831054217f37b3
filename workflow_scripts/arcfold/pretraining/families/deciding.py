"""Rules with conditions: objects that have a property are acted on one way, the others another way or not at all.

`if_holed_haloed`: what has a hole gets a ring around it; what happens to the others (often nothing) is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from arcfold.pretraining.families.acting import ACTS, LOCAL_ACTS, acted, changed
from arcfold.pretraining.families.canvas import (
    LETTERS,
    Draws,
    Mask,
    RejectError,
    Size,
    Thing,
    any_shape,
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
from arcfold.pretraining.families.selecting import PROPERTIES as SELECTING
from arcfold.pretraining.families.selecting import Choose, Flags

Scene = Callable[[], tuple[Size, list[Thing], Flags]]
"""A grid's size, the objects in it, and which of them have a property."""
Shapes = Callable[[Draws, int], list[Mask]]


def _ranked(measure: Callable[[Thing], int], place: int) -> Choose:
    """The one object at a place from the top of an order, as far as to there without ties."""

    def choose(draws: Draws) -> Callable[[Sequence[Thing], Size], Flags]:
        def flags(things: Sequence[Thing], size: Size) -> Flags:
            values = sorted((measure(item) for item in things), reverse=True)[: place + 2]
            if len(set(values)) < place + 2:
                raise RejectError
            return [measure(item) == values[place] for item in things]

        return flags

    return choose


def _each(test: Callable[[Thing, Size], bool]) -> Choose:
    return lambda draws: lambda things, size: [test(item, size) for item in things]


def _at_least(draws: Draws) -> Callable[[Sequence[Thing], Size], Flags]:
    least = draws.randint(3, 7)
    return lambda things, size: [item.size >= least for item in things]


def _commonest_shape(draws: Draws) -> Callable[[Sequence[Thing], Size], Flags]:
    def flags(things: Sequence[Thing], size: Size) -> Flags:
        keys = [shape_key(item.mask) for item in things]
        counts = sorted((keys.count(key) for key in set(keys)), reverse=True)
        if len(counts) < 2 or counts[0] == counts[1]:
            raise RejectError
        return [keys.count(key) == counts[0] for key in keys]

    return flags


def _many_coloured(item: Thing, size: Size) -> bool:
    return len(np.unique(item.cells[item.mask])) > 1


PROPERTIES: dict[str, Choose] = {
    **{name: SELECTING[name] for name in (
        "largest", "smallest", "widest", "leftmost", "bordering", "holed", "mirrored", "boxlike", "flat", "squarish",
        "unique_shape", "unique_colour", "commonest_colour", "of_colour", "of_size", "even",
    )},
    "second_largest": _ranked(lambda item: item.size, 1),
    "lowest": _ranked(lambda item: item.bottom, 0),
    "tallest": _ranked(lambda item: item.rows, 0),
    "on_the_left_half": _each(lambda item, size: 2 * item.right < size[1]),
    "marked": _each(_many_coloured),
    "closed": _each(lambda item, size: holes(item.mask) == 1),
    "two_holed": _each(lambda item, size: holes(item.mask) == 2),
    "at_least": _at_least,
    "commonest_shape": _commonest_shape,
}  # fmt: skip


def _holed(draws: Draws, count: int) -> list[Mask]:
    return [
        frame(draws.randint(3, 5), draws.randint(3, 5)) if draws.chance(0.5) else blob(draws, 3, draws.randint(2, 4))
        for _ in range(count)
    ]


def _opened(draws: Draws, count: int) -> list[Mask]:
    """Frames, some with a gap."""
    made = []
    for _ in range(count):
        mask = frame(draws.randint(3, 6), draws.randint(3, 6))
        if draws.chance(0.5):
            row, column = draws.pick([(0, 1), (1, 0), (-1, 1), (1, -1)])
            mask[row, column] = False
        made.append(mask)
    return made


def _chambered(draws: Draws, count: int) -> list[Mask]:
    """Frames of one chamber or two."""
    made = []
    for _ in range(count):
        mask = frame(draws.randint(3, 5), draws.pick([5, 7]))
        if draws.chance(0.5):
            mask[:, mask.shape[1] // 2] = True
        made.append(mask)
    return made


def _boxes(draws: Draws, count: int) -> list[Mask]:
    return [
        box(draws.randint(1, 5), draws.randint(2, 5)) if draws.chance(0.5) else any_shape(draws, 2, 5)
        for _ in range(count)
    ]


def _one_odd(draws: Draws, count: int) -> list[Mask]:
    first, other = draws.sample(list(LETTERS), 2)
    return [*(turned(first, draws.randrange(8)) for _ in range(count - 1)), turned(other, draws.randrange(8))]


def _two_kinds(draws: Draws, count: int) -> list[Mask]:
    kinds = draws.sample(list(LETTERS), 2)
    return [turned(kinds[draws.randrange(2)], draws.randrange(8)) for _ in range(count)]


def _little(draws: Draws, count: int) -> list[Mask]:
    return [blob(draws, draws.randint(1, 3), draws.randint(1, 4), draws.uniform(0.4, 1)) for _ in range(count)]


def _plain(draws: Draws, count: int) -> list[Mask]:
    if draws.chance(0.3):
        return [box(draws.randint(2, 5), draws.randint(2, 6)) for _ in range(count)]
    return [any_shape(draws, draws.randint(1, 2), draws.randint(3, 5)) for _ in range(count)]


_SHAPES: dict[str, Shapes] = {
    "holed": _holed, "closed": _opened, "two_holed": _chambered, "boxlike": _boxes, "unique_shape": _one_odd,
    "commonest_shape": _two_kinds, "of_size": _little, "even": _little, "at_least": _little,
}  # fmt: skip
_BY_COLOUR = ("unique_colour", "commonest_colour", "of_colour")


def _thick(draws: Draws, count: int) -> list[Mask]:
    """Shapes with an inside."""
    return [box(draws.randint(3, 5), draws.randint(3, 6)) for _ in range(count)]


def scene_of(draws: Draws, name: str, gap: int = 2, thick: bool = False) -> Scene:
    """Scenes of objects of which some have a property, more likely than not; `thick` ones have an inside."""
    sizes, choose, by_colour = draws.sizes(10, 22), PROPERTIES[name](draws), name in _BY_COLOUR
    palette = draws.colours(draws.randint(2, 4) if by_colour or draws.chance(0.5) else 1)
    spot = draws.colour(palette)
    if name == "of_colour":
        wanted = next(c for c in range(1, 10) if choose([thing(box(1, 1), c)], (1, 1))[0])
        palette = [wanted, *draws.colours(draws.randint(1, 3), [wanted])]

    def colours(count: int) -> list[int]:
        if name == "unique_colour":
            common, other = draws.sample(palette, 2)
            return [common] * (count - 1) + [other]
        return [draws.pick(palette) for _ in range(count)]

    def scene() -> tuple[Size, list[Thing], Flags]:
        size, count = sizes(), draws.many(3, 6)
        shapes = _SHAPES.get(name, _thick if thick else _plain)(draws, count)
        items = [thing(mask, colour) for mask, colour in zip(shapes, colours(count), strict=True)]
        if name == "marked":
            items = [_spotted(draws, item, spot) if draws.chance(0.5) else item for item in items]
        things = placed(draws, size, items, gap=gap)
        if name == "bordering":
            things = [_to_border(draws, item, size) if draws.chance(0.4) else item for item in things]
            acted(size, things)  # none met
        flags = choose(things, size)
        if all(flags) or not any(flags):
            raise RejectError
        return size, things, flags

    return scene


def _spotted(draws: Draws, item: Thing, colour: int) -> Thing:
    """The object with one cell of another colour."""
    cells = item.cells.copy()
    cells[tuple(draws.pick(np.argwhere(item.mask).tolist()))] = colour
    return item.with_cells(cells)


def _to_border(draws: Draws, item: Thing, size: Size) -> Thing:
    return draws.pick([
        item.moved(-item.top, 0), item.moved(size[0] - 1 - item.bottom, 0),
        item.moved(0, -item.left), item.moved(0, size[1] - 1 - item.right),
    ])  # fmt: skip


SENSELESS = {
    ("mirrored", "flipped"), ("boxlike", "gaps_filled"), ("boxlike", "boxed"), ("boxlike", "half_turned"),
    ("boxlike", "flipped"), ("two_holed", "twinned"), ("commonest_colour", "rayed"), ("boxlike", "holes_filled"),
    ("mirrored", "half_turned"),
}  # fmt: skip
_HOLES = ("holed", "closed", "two_holed")
_OF_THE_INSIDE = ("inside_painted", "hollow", "edge_painted", "bare")
_TURNS = ("flipped", "half_turned", "quarter_turned")


def _makes_sense(name: str, act: str) -> bool:
    if act == "middle_painted":
        return name in ("of_colour", "holed", "marked", "on_the_left_half")
    if act in _OF_THE_INSIDE:
        return name not in _SHAPES and name not in ("mirrored", "squarish")
    if name in _HOLES:
        return act not in _TURNS and (act != "gaps_filled" or name != "two_holed")
    if act == "holes_filled":
        return False
    return (name, act) not in SENSELESS


def _family(name: str, act_name: str) -> Family:
    def made(draws: Draws) -> MakePair:
        act = ACTS[act_name](draws)
        others = [other for other in ACTS if other != act_name]
        other = ACTS[draws.pick(others)](draws) if draws.chance(0.45) else None
        scene = scene_of(draws, name, thick=act_name in _OF_THE_INSIDE)

        def make() -> Made:
            size, things, flags = scene()
            results = [
                act(item, size) if flag else item if other is None else other(item, size)
                for item, flag in zip(things, flags, strict=True)
            ]
            for wanted in (True, False) if other is not None else (True,):
                chosen = [number for number, flag in enumerate(flags) if flag == wanted]
                if not changed([things[n] for n in chosen], [results[n] for n in chosen]):
                    raise RejectError
            return Made(drawn(size, things), acted(size, results))

        return make

    return made


@family
def both_properties(draws: Draws) -> MakePair:
    """What has one property is acted on one way, what has another property another way; both at once, both ways."""
    first, second = draws.sample([n for n in PROPERTIES if n not in _BY_COLOUR and n not in _SHAPES], 2)
    scene, also = scene_of(draws, first), PROPERTIES[second](draws)
    acts = [ACTS[name](draws) for name in draws.sample(LOCAL_ACTS, 2)]

    def make() -> Made:
        size, things, flags = scene()
        last: list[Thing | None] = []
        for item, one, two in zip(things, flags, also(things, size), strict=True):
            new: Thing | None = item
            for act, flag in zip(acts, (one, two), strict=True):
                new = act(new, size) if flag and new is not None else new
            last.append(new)
        return Made(drawn(size, things), acted(size, last))

    return make


@family
def acted_twice(draws: Draws) -> MakePair:
    """Two acts on every object, one after the other; or the second on those alone that have a property."""
    name = draws.pick(list(PROPERTIES))
    scene, every = scene_of(draws, name), draws.chance(0.4)
    acts = [ACTS[kind](draws) for kind in draws.sample(LOCAL_ACTS, 2)]

    def make() -> Made:
        size, things, flags = scene()
        once = [acts[0](item, size) for item in things]
        twice = [
            acts[1](item, size) if item is not None and (every or flag) else item
            for item, flag in zip(once, flags, strict=True)
        ]
        if not changed(things, twice):
            raise RejectError
        return Made(drawn(size, things), acted(size, twice))

    return make


@family
def chosen_then_cropped(draws: Draws) -> MakePair:
    """The one object with the property is the answer, after something happened to it."""
    name = draws.pick([n for n in PROPERTIES if n not in ("bordering",)])
    scene = scene_of(draws, name)
    acts = [ACTS[kind](draws) for kind in draws.sample([a for a in LOCAL_ACTS if a != "boxed"], draws.randint(1, 2))]

    def make() -> Made:
        size, things, flags = scene()
        if sum(flags) != 1:
            raise RejectError
        item: Thing | None = things[flags.index(True)]
        for act in acts:
            assert item is not None
            item = act(item, size)
        assert item is not None
        return Made(drawn(size, things), item.cells)

    return make


@family
def property_decides_all(draws: Draws) -> MakePair:
    """Whether any object has the property decides what happens to all of them."""
    name = draws.pick(["holed", "boxlike", "marked", "of_size", "bordering", "closed", "two_holed"])
    scene = scene_of(draws, name)
    yes, no = (ACTS[kind](draws) for kind in draws.sample(LOCAL_ACTS, 2))

    def make() -> Made:
        size, things, flags = scene()
        if draws.chance(0.5):
            things, flags = [i for i, f in zip(things, flags, strict=True) if not f], [False]
        act = yes if any(flags) else no
        results = [act(item, size) for item in things]
        if not changed(things, results):
            raise RejectError
        return Made(drawn(size, things), acted(size, results))

    return make


@family
def beside_what(draws: Draws) -> MakePair:
    """Objects in line with a dot (across or down) are acted on; the dots stay or go."""
    dot, *palette = draws.colours(3)
    act_name = draws.pick(LOCAL_ACTS)
    act, stays, across = ACTS[act_name](draws), draws.chance(0.6), draws.chance(0.5)
    sizes = draws.sizes(10, 22)

    def make() -> Made:
        size = sizes()
        items = [thing(shape, draws.pick(palette)) for shape in _plain(draws, draws.many(3, 6))]
        spots = [thing(box(1, 1), dot) for _ in range(draws.randint(1, 3))]
        everything = placed(draws, size, [*items, *spots], gap=2)
        things, dots = everything[: len(items)], everything[len(items) :]
        flags = [
            any(item.top <= d.top <= item.bottom if across else item.left <= d.left <= item.right for d in dots)
            for item in things
        ]
        if all(flags) or not any(flags):
            raise RejectError
        results = [act(item, size) if flag else item for item, flag in zip(things, flags, strict=True)]
        if not changed([i for i, f in zip(things, flags, strict=True) if f],
                       [i for i, f in zip(results, flags, strict=True) if f]):  # fmt: skip
            raise RejectError
        first, last = drawn(size, everything), acted(size, results)
        if stays:
            for item in dots:
                if last[item.top, item.left]:
                    raise RejectError
                put(last, item)
        return Made(first, last)

    return make


for _property in PROPERTIES:
    for _act in ACTS:
        if _makes_sense(_property, _act):
            register(f"if_{_property}_{_act}", _family(_property, _act), weight=0.3)

"""What can happen to one object: acts, drawn once, that rules with conditions, legends and shown examples share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from arcfold.pretraining.families.canvas import (
    Draws,
    Grid,
    Mask,
    RejectError,
    Size,
    Thing,
    blank,
    enclosed,
    grown,
    put,
)

Act = Callable[[Thing, Size], Thing | None]
"""What becomes of an object in a grid of some size; None if it vanishes. An object that an act has no place for stays
as it is."""
DrawAct = Callable[[Draws], Act]
"""Draws what a kind of act leaves open."""

_WAYS = ((1, 0), (-1, 0), (0, 1), (0, -1))


def acted(size: Size, results: Sequence[Thing | None]) -> Grid:
    """The grid of what became of the objects. Rejects what would meet, and a grid of which nothing is left."""
    grid = blank(*size)
    for item in results:
        if item is None:
            continue
        before = int((grid > 0).sum())
        inside = _clipped(item, size)
        put(grid, inside)
        if (grid > 0).sum() != before + inside.size:
            raise RejectError
    if not grid.any():
        raise RejectError
    return grid


def _clipped(item: Thing, size: Size) -> Thing:
    """The part of an object that lies in the grid."""
    top, left = max(-item.top, 0), max(-item.left, 0)
    cells = item.cells[top : size[0] - item.top, left : size[1] - item.left]
    return Thing(item.top + top, item.left + left, cells)


def _must_fit(item: Thing, size: Size) -> Thing:
    if item.top < 0 or item.left < 0 or item.bottom >= size[0] or item.right >= size[1]:
        raise RejectError
    return item


def _where(test: Callable[[Thing], Mask]) -> DrawAct:
    """Cells of the object's box that pass a test take a colour."""

    def draw(draws: Draws) -> Act:
        colour = draws.colour()
        return lambda item, size: item.with_cells(np.where(test(item), colour, item.cells).astype(np.uint8))

    return draw


def _inside(item: Thing) -> Mask:
    """Cells with an own cell on all four sides."""
    padded = np.pad(item.mask, 1)
    return item.mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _first_row(item: Thing) -> Mask:
    made = np.zeros_like(item.mask)
    made[0] = True
    return item.mask & made


def _chequered(item: Thing) -> Mask:
    rows, columns = np.indices(item.mask.shape)
    return item.mask & ((rows + columns) % 2 == 1)


def _second_columns(item: Thing) -> Mask:
    return item.mask & (np.arange(item.columns) % 2 == 1)[None, :]


def _corners(item: Thing) -> Mask:
    made = np.zeros_like(item.mask)
    made[:: max(item.rows - 1, 1), :: max(item.columns - 1, 1)] = True
    return item.mask & made


def _middle(item: Thing) -> Mask:
    """The middle cell of a box of odd sides."""
    made = np.zeros_like(item.mask)
    if item.rows % 2 and item.columns % 2:
        made[item.rows // 2, item.columns // 2] = True
    return made


def _remove(draws: Draws) -> Act:
    return lambda item, size: None


def _hollow(draws: Draws) -> Act:
    """Only the edge is left."""
    return lambda item, size: item.with_cells(np.where(_inside(item), 0, item.cells).astype(np.uint8))


def _bare(draws: Draws) -> Act:
    """The corners of its box go."""
    return lambda item, size: (
        item if min(item.rows, item.columns) < 3 else item.with_cells(np.where(_corners(item), 0, item.cells))
    )


def _turned(change: Callable[[Grid], Grid]) -> DrawAct:
    def draw(draws: Draws) -> Act:
        return lambda item, size: _must_fit(item.with_cells(np.ascontiguousarray(change(item.cells))), size)

    return draw


def _shift(draws: Draws) -> Act:
    down, right = draws.pick([(1, 0), (-1, 0), (0, 1), (2, 0), (0, 2), (1, 1), (-1, 1), (0, 3)])
    return lambda item, size: _must_fit(item.moved(down, right), size)


def _slide(draws: Draws) -> Act:
    """To the border, straight ahead."""
    way = draws.pick(_WAYS)

    def act(item: Thing, size: Size) -> Thing:
        room = {1: size[0] - 1 - item.bottom, -1: item.top}[way[0]] if way[0] else 0
        aside = {1: size[1] - 1 - item.right, -1: item.left}[way[1]] if way[1] else 0
        return item.moved(way[0] * room, way[1] * aside)

    return act


def _halo(draws: Draws) -> Act:
    colour = draws.colour()

    def act(item: Thing, size: Size) -> Thing:
        cells = (grown(item.mask, 1) * colour).astype(np.uint8)
        cells[1:-1, 1:-1][item.mask] = item.cells[item.mask]
        return Thing(item.top - 1, item.left - 1, cells)

    return act


def _fenced(draws: Draws) -> Act:
    """A frame around its box."""
    colour = draws.colour()

    def act(item: Thing, size: Size) -> Thing:
        return Thing(item.top - 1, item.left - 1, np.pad(item.cells, 1, constant_values=colour))

    return act


def _cornered(draws: Draws) -> Act:
    """Dots outside the four corners of its box."""
    colour = draws.colour()

    def act(item: Thing, size: Size) -> Thing:
        cells = np.pad(item.cells, 1)
        cells[:: item.rows + 1, :: item.columns + 1] = colour
        return Thing(item.top - 1, item.left - 1, cells)

    return act


def _smeared(draws: Draws) -> Act:
    """It leaves a trail to the border, as wide as it is."""
    colour, turn = draws.colour(), draws.randrange(4)

    def act(item: Thing, size: Size) -> Thing:
        whole = blank(*size)
        put(whole, item)
        grid = np.rot90(whole, turn)
        behind = (np.cumsum(grid > 0, axis=1) > 0) & (grid == 0)
        return Thing(0, 0, np.ascontiguousarray(np.rot90(np.where(behind, colour, grid), -turn)).astype(np.uint8))

    return act


def _ray(draws: Draws) -> Act:
    """A line from the middle of its box's side to the border, of the object's colour."""
    turn = draws.randrange(4)

    def act(item: Thing, size: Size) -> Thing:
        whole = blank(*size)
        put(whole, item)
        grid = np.rot90(whole, turn).copy()
        rows, columns = np.nonzero(grid)
        if (rows.max() - rows.min()) % 2:
            raise RejectError  # no middle
        row = (rows.max() + rows.min()) // 2
        grid[row, columns.max() + 1 :] = item.colour
        return Thing(0, 0, np.ascontiguousarray(np.rot90(grid, -turn)))

    return act


def _twin(draws: Draws) -> Act:
    """A copy beside it, perhaps mirrored, perhaps in another colour."""
    colour, mirrored, own = draws.colour(), draws.chance(0.5), draws.chance(0.5)

    def act(item: Thing, size: Size) -> Thing:
        copy = item.cells[:, ::-1] if mirrored else item.cells
        if not own:
            copy = np.where(copy > 0, colour, 0)
        return _must_fit(item.with_cells(np.concatenate([item.cells, copy], axis=1).astype(np.uint8)), size)

    return act


def _shadowed(draws: Draws) -> Act:
    """A shadow one step down and aside."""
    colour, right = draws.colour(), draws.pick([1, -1])

    def act(item: Thing, size: Size) -> Thing:
        cells = np.zeros((item.rows + 1, item.columns + 1), np.uint8)
        first = 0 if right > 0 else 1
        cells[1:, 1 - first : 1 - first + item.columns][item.mask] = colour
        cells[:-1, first : first + item.columns][item.mask] = item.cells[item.mask]
        return Thing(item.top, item.left - first, cells)

    return act


def _boxed(draws: Draws) -> Act:
    """It becomes all of its box."""
    return lambda item, size: item.with_cells(np.full_like(item.cells, item.colour))


def _dwindled(draws: Draws) -> Act:
    """Only its first row (or the upper left square of two) is left."""
    rows = draws.randint(1, 2)
    return lambda item, size: item.with_cells(item.cells[:rows])


ACTS: dict[str, DrawAct] = {
    "recoloured": _where(lambda item: item.mask),
    "removed": _remove,
    "inside_painted": _where(_inside),
    "edge_painted": _where(lambda item: item.mask & ~_inside(item)),
    "top_painted": _where(_first_row),
    "chequered": _where(_chequered),
    "striped": _where(_second_columns),
    "corners_painted": _where(_corners),
    "middle_painted": _where(_middle),
    "gaps_filled": _where(lambda item: ~item.mask),
    "holes_filled": _where(lambda item: enclosed(item.mask)),
    "hollow": _hollow,
    "bare": _bare,
    "flipped": _turned(lambda cells: cells[:, ::-1]),
    "half_turned": _turned(lambda cells: cells[::-1, ::-1]),
    "quarter_turned": _turned(np.rot90),
    "shifted": _shift,
    "slid": _slide,
    "haloed": _halo,
    "fenced": _fenced,
    "cornered": _cornered,
    "smeared": _smeared,
    "rayed": _ray,
    "twinned": _twin,
    "shadowed": _shadowed,
    "boxed": _boxed,
    "dwindled": _dwindled,
}
"""Kinds of acts by name: a participle of what was done to the object."""

LOCAL_ACTS = tuple(name for name in ACTS if name not in ("removed", "slid", "smeared", "rayed", "shifted", "twinned"))
"""Acts that change an object where it stands, whatever lies around it."""

ACTS_WITH_COLOUR = (
    "recoloured", "inside_painted", "edge_painted", "top_painted", "chequered", "striped", "corners_painted",
    "gaps_filled", "haloed", "fenced", "cornered", "shadowed",
)  # fmt: skip
"""Acts that leave a colour open."""


def changed(things: Sequence[Thing], results: Sequence[Thing | None]) -> bool:
    """Whether an act did something to most of the objects."""
    same = sum(
        new is not None and (new.top, new.left) == (old.top, old.left) and np.array_equal(new.cells, old.cells)
        for old, new in zip(things, results, strict=True)
    )
    return 2 * same < len(things)

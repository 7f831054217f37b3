"""Ways and rooms: beams that turn and change colour, flows around obstacles, rooms told by what is in them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from arcfold.pretraining.families.canvas import (
    Draws,
    Grid,
    Mask,
    RejectError,
    Size,
    Thing,
    any_shape,
    blank,
    box,
    drawn,
    placed,
    put,
    reachable,
    thing,
    things_in,
)
from arcfold.pretraining.families.registry import Family, Made, MakePair, family, register

_WAYS = ((0, 1), (1, 0), (0, -1), (-1, 0))


def _inside(grid: Grid, row: int, column: int) -> bool:
    return 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]


# --- beams ---------------------------------------------------------------------------------------------


def _scattered(draws: Draws, size: Size, count: int, gap: int = 1) -> list[tuple[int, int]]:
    return [(i.top, i.left) for i in placed(draws, size, [thing(box(1, 1), 1)] * count, gap=gap, border=1)]


def _beams(kind: str) -> Family:
    """Beams from dots at the left: what they meet turns them, stops them, gives them its colour or lets them on."""

    def made(draws: Draws) -> MakePair:
        source, one, two = draws.colours(3)
        sizes, fixed = draws.sizes(10, 22), draws.chance(0.5)

        def make() -> Made:
            rows, columns = sizes()
            first = blank(rows, columns)
            for row, column in _scattered(draws, (rows, columns), draws.many(4, 9)):
                first[row, column] = draws.pick([one, two])
            starts = [r for r in range(rows) if first[r, 0] == 0]
            starts = draws.sample(starts, draws.randint(1, 2) if kind != "turned" else 1)
            first[starts, 0] = source
            last = first.copy()
            met = 0
            for start in starts:
                row, column, way, colour = start, 0, (0, 1), source
                for _ in range(200):
                    r, c = row + way[0], column + way[1]
                    if not _inside(first, r, c):
                        break
                    found = int(first[r, c])
                    if found == source:
                        break
                    if found:
                        met += 1
                        if kind == "stopped" and found == one:
                            break
                        if kind == "stopped":
                            row, column = r, c
                            continue
                        if kind == "painted":
                            colour, row, column = found, r, c
                            continue
                        if kind == "turned":
                            way = (way[1], -way[0]) if found == one else (-way[1], way[0])
                            continue
                        if kind == "beside":  # it goes around on the lower side
                            if row + 1 >= rows or first[row + 1, column]:
                                break
                            row += 1
                            last[row, column] = colour
                            continue
                    row, column = r, c
                    last[row, column] = colour
            if met < (1 if fixed else 2):
                raise RejectError
            return Made(first, last)

        return make

    return made


for _kind in ("stopped", "painted", "turned", "beside"):
    register(f"beams_{_kind}", _beams(_kind), weight=2)


@family
def billiard(draws: Draws) -> MakePair:
    """A ball runs on from its tail aslant, bounces off the sides and off the walls, for so many cells or to the end."""
    tail, ball, wall = draws.colours(3)
    sizes, trail = draws.sizes(9, 22), draws.choice([tail, ball])
    walls = draws.randint(0, 2)

    def make() -> Made:
        rows, columns = sizes()
        first = blank(rows, columns)
        for _ in range(walls):
            if draws.chance(0.5):
                column, top = draws.randint(4, columns - 3), draws.randint(0, rows - 5)
                first[top : top + draws.randint(3, 6), column] = wall
            else:
                row, left = draws.randint(3, rows - 3), draws.randint(3, columns - 4)
                first[row, left : left + draws.randint(3, 6)] = wall
        row, column = draws.randint(1, rows - 2), 0
        down, right = draws.pick([1, -1]), 1
        if first[row, 0] or first[row + down, 1]:
            raise RejectError
        first[row, 0], first[row + down, 1] = tail, ball
        row, column = row + down, 1
        last = first.copy()
        for _ in range(4 * (rows + columns)):
            # a side that is blocked turns that part of the step alone
            if not 0 <= row + down < rows or first[row + down, column] == wall:
                down = -down
            if column + right < 0 or (column + right < columns and first[row, column + right] == wall):
                right = -right
            if column + right >= columns:
                break
            if not 0 <= row + down < rows or first[row + down, column + right]:
                raise RejectError
            row, column = row + down, column + right
            last[row, column] = trail
        else:
            raise RejectError
        return Made(first, last)

    return make


@family
def flow_around_obstacles(draws: Draws) -> MakePair:
    """Water falls from its springs; on an obstacle it parts to both sides and falls on from its ends."""
    spring, stone, *rest = draws.colours(3)
    water, sizes = draws.pick([spring, rest[0]]), draws.sizes(9, 22)

    def make() -> Made:
        rows, columns = sizes()
        bars = [thing(box(1, draws.randint(2, max(2, columns // 3))), stone) for _ in range(draws.many(2, 4))]
        things = placed(draws, (rows - 2, columns), bars, gap=1)
        first = blank(rows, columns)
        for item in things:
            put(first, item.moved(2, 0))
        columns_of_springs = draws.sample(range(1, columns - 1), draws.randint(1, 2))
        first[0, columns_of_springs] = spring
        last = first.copy()
        waiting, hits = [(0, column) for column in columns_of_springs], 0
        seen = set(waiting)
        while waiting:
            row, column = waiting.pop()
            if row + 1 >= rows:
                continue
            if first[row + 1, column] != stone:
                new = [(row + 1, column)]
            else:
                hits += 1
                new = []
                for step in (-1, 1):
                    c = column + step
                    while 0 <= c < columns and first[row + 1, c] == stone:
                        new.append((row, c))
                        c += step
                    if 0 <= c < columns:
                        new.append((row, c))
            for cell in new:
                if cell not in seen:
                    if first[cell] == stone:
                        raise RejectError
                    seen.add(cell)
                    last[cell] = water if first[cell] == 0 else first[cell]
                    # cells over the bar lead nowhere, its ends fall on
                    if first[row + 1, column] != stone or first[min(row + 1, rows - 1), cell[1]] != stone:
                        waiting.append(cell)
        if not hits:
            raise RejectError
        return Made(first, last)

    return make


@family
def way_over_stones(draws: Draws) -> MakePair:
    """From the start a way goes straight ahead to the next stone in line, then turns to the side where one lies, …"""
    start, stone, line = draws.colours(3)
    sizes, count = draws.sizes(10, 22), draws.randint(3, 6)

    def make() -> Made:
        rows, columns = sizes()
        first = blank(rows, columns)
        row, column, upright = draws.randrange(rows), draws.randrange(columns), draws.chance(0.5)
        first[row, column] = start
        last = first.copy()
        for _ in range(draws.randint(3, count)):
            if upright:
                goals = [r for r in range(rows) if abs(r - row) > 2 and first[r, column] == 0]
                r, c = (draws.pick(goals) if goals else -1), column
            else:
                goals = [c for c in range(columns) if abs(c - column) > 2 and first[row, c] == 0]
                r, c = row, (draws.pick(goals) if goals else -1)
            if min(r, c) < 0:
                raise RejectError
            way = last[min(r, row) : max(r, row) + 1, min(c, column) : max(c, column) + 1]
            if (way == line).sum() or (way == stone).sum() > 1:
                raise RejectError
            way[way == 0] = line
            first[r, c] = last[r, c] = stone
            row, column, upright = r, c, not upright
        # the next stone must be the only one in line, or the way is not told
        stones = [tuple(cell) for cell in np.argwhere(first == stone).tolist()]
        if any(sum(a[0] == b[0] for b in stones) > 2 or sum(a[1] == b[1] for b in stones) > 2 for a in stones):
            raise RejectError
        return Made(first, last)

    return make


@family
def connected_by_colour_around(draws: Draws) -> MakePair:
    """Two dots of a colour are joined by the only straight line or corner that no obstacle blocks."""
    line_own, wall, sizes = draws.chance(0.5), draws.colour(), draws.sizes(9, 20)
    paint = draws.colour([wall])

    def make() -> Made:
        size = sizes()
        dot = draws.colour([wall, paint])
        taken = np.zeros(size, bool)
        dots = placed(draws, size, [thing(box(1, 1), dot)] * 2, gap=2, taken=taken)
        walls = placed(draws, size, [thing(any_shape(draws, 2, 4), wall) for _ in range(draws.many(2, 4))], taken=taken)
        first = drawn(size, [*dots, *walls])
        (a, b), (c, d) = ((i.top, i.left) for i in dots)
        ways: list[Mask] = []
        for corner in ((a, d), (c, b)):
            mask = np.zeros(size, bool)
            mask[min(a, corner[0]) : max(a, corner[0]) + 1, min(b, corner[1]) : max(b, corner[1]) + 1] = True
            mask[min(c, corner[0]) : max(c, corner[0]) + 1, min(d, corner[1]) : max(d, corner[1]) + 1] = True
            if not (first[mask] == wall).any():
                ways.append(mask)
        if len(ways) != 1:
            raise RejectError
        return Made(first, np.where(ways[0] & (first == 0), dot if line_own else paint, first).astype(np.uint8))

    return make


# --- rooms ---------------------------------------------------------------------------------------------


def _rooms(draws: Draws, size: Size, wall: int) -> tuple[Grid, list[Mask]]:
    """Walls across and down, some with doors, and the rooms between them."""
    rows, columns = size
    grid = blank(*size)
    for count, length, axis in ((draws.randint(1, 3), rows, 0), (draws.randint(1, 3), columns, 1)):
        place = draws.randint(2, 5)
        for _ in range(count):
            if place >= length - 2:
                break
            if axis == 0:
                grid[place] = wall
            else:
                grid[:, place] = wall
            place += draws.randint(3, 7)
    rooms = [_room_of(grid, item) for item in things_in((grid == 0).astype(np.uint8))]
    if len(rooms) < 3:
        raise RejectError
    return grid, rooms


def _room_of(grid: Grid, item: Thing) -> Mask:
    mask = np.zeros(grid.shape, bool)
    mask[item.top : item.top + item.rows, item.left : item.left + item.columns] = item.mask
    return mask


Told = Callable[[list[Mask], Grid], list[int]]
"""A number for each room: its class."""


def _room_family(name: str) -> Family:
    """Rooms between walls are filled by what they are or hold."""

    def made(draws: Draws) -> MakePair:
        wall, dot, *paint = draws.colours(6)
        sizes, least = draws.sizes(11, 22), draws.randint(2, 3)

        def make() -> Made:
            size = sizes()
            first, rooms = _rooms(draws, size, wall)
            counts = [0] * len(rooms)
            for number, room in enumerate(rooms):
                cells = np.argwhere(room).tolist()
                counts[number] = min(draws.randint(0, 3), len(cells))
                if name in ("by_dots", "most_dots", "with_many"):
                    for row, column in draws.sample(cells, counts[number]):
                        first[row, column] = dot
            sizes_ = [int(room.sum()) for room in rooms]
            if name == "by_dots":
                kinds = [(-1, 0, 1, 2)[count] for count in counts]
            elif name == "with_many":
                kinds = [0 if count >= least else -1 for count in counts]
            elif name in ("most_dots", "largest", "smallest"):
                values = counts if name == "most_dots" else sizes_ if name == "largest" else [-s for s in sizes_]
                if values.count(max(values)) > 1:
                    raise RejectError
                kinds = [0 if value == max(values) else -1 for value in values]
            elif name == "by_parity":
                kinds = [s % 2 for s in sizes_]
            elif name == "square":
                kinds = [0 if _is_square(room) else -1 for room in rooms]
            else:
                kinds = [0 if _at_border(room) else 1 for room in rooms]
            if len(set(kinds)) < 2:
                raise RejectError
            last = first.copy()
            for room, kind in zip(rooms, kinds, strict=True):
                if kind >= 0:
                    last[room & (first == 0)] = paint[kind]
            return Made(first, last)

        return make

    return made


def _is_square(room: Mask) -> bool:
    rows, columns = np.nonzero(room)
    return bool(rows.max() - rows.min() == columns.max() - columns.min())


def _at_border(room: Mask) -> bool:
    return bool(room[0].any() or room[-1].any() or room[:, 0].any() or room[:, -1].any())


for _name in ("by_dots", "with_many", "most_dots", "largest", "smallest", "by_parity", "square", "at_border"):
    register(f"rooms_{_name}", _room_family(_name))


@family
def flood_through_doors(draws: Draws) -> MakePair:
    """Walls have doors: the colour of the seed fills every room that it can flow to."""
    wall, *seeds = draws.colours(3)
    sizes = draws.sizes(11, 24)

    def make() -> Made:
        size = sizes()
        first, _ = _rooms(draws, size, wall)
        for row, column in np.argwhere(first == wall).tolist():
            if draws.chance(0.08):
                first[row, column] = 0
        seed = draws.pick(seeds)
        row, column = draws.pick(np.argwhere(first == 0).tolist())
        first[row, column] = seed
        reached = reachable(first != wall, [(row, column)])
        free = (first != wall) & ~reached
        if not free.any() or reached.sum() < 6:
            raise RejectError
        return Made(first, np.where(reached, seed, first).astype(np.uint8))

    return make

"""Lines: rays, connections, crossings, bounces, spirals, mazes."""

from __future__ import annotations

from collections import deque

import numpy as np

from arcfold.pretraining.families.canvas import (
    Draws,
    Grid,
    RejectError,
    Size,
    any_shape,
    blank,
    box,
    drawn,
    grown,
    placed,
    put,
    reachable,
    thing,
)
from arcfold.pretraining.families.registry import Made, MakePair, family

DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, -1), (-1, 1))


def _inside(grid: Grid, row: int, column: int) -> bool:
    return 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]


def _ray(grid: Grid, row: int, column: int, step: tuple[int, int], colour: int, over: bool = False) -> None:
    """Paints from beside a cell to the border, or to the first filled cell unless it goes `over` them."""
    row, column = row + step[0], column + step[1]
    while _inside(grid, row, column) and (over or grid[row, column] == 0):
        if grid[row, column] == 0:
            grid[row, column] = colour
        row, column = row + step[0], column + step[1]


def _spots(draws: Draws, size: Size, count: int, gap: int = 1, border: int = 0) -> list[tuple[int, int]]:
    """Cells apart from each other."""
    return [(i.top, i.left) for i in placed(draws, size, [thing(box(1, 1), 1)] * count, gap=gap, border=border)]


@family
def rays_one_way(draws: Draws) -> MakePair:
    """From each dot a ray runs to the border; a dot's colour may decide which way."""
    count = draws.randint(1, 3)
    colours, steps = draws.colours(count), draws.sample(DIRECTIONS[:4], count)
    own, paint, sizes = draws.chance(0.6), draws.colour(), draws.sizes(6, 20)

    def make() -> Made:
        size = sizes()
        spots = _spots(draws, size, draws.many(1, 4))
        if len({r for r, _ in spots}) < len(spots) or len({c for _, c in spots}) < len(spots):
            raise RejectError
        kinds = [draws.randrange(count) for _ in spots]
        grid = blank(*size)
        for spot, kind in zip(spots, kinds, strict=True):
            grid[spot] = colours[kind]
        last = grid.copy()
        rays = [blank(*size) for _ in spots]
        for ray, (row, column), kind in zip(rays, spots, kinds, strict=True):
            _ray(ray, row, column, steps[kind], colours[kind] if own else paint, over=True)
        if (np.stack([ray > 0 for ray in rays]).sum(axis=0) > 1).any():
            raise RejectError  # which ray lies on top is not what this family is about
        for ray in rays:
            last = np.where((last == 0) & (ray > 0), ray, last)
        return Made(grid, last)

    return make


@family
def rays_all_ways(draws: Draws) -> MakePair:
    """From each dot rays run in four (or eight) directions to the border."""
    steps = draws.pick([DIRECTIONS[:4], DIRECTIONS[4:], DIRECTIONS])
    role, paint, own, sizes = draws.role(), draws.colour(), draws.chance(0.5), draws.sizes(6, 20)

    def make() -> Made:
        size, colour = sizes(), role()
        grid = blank(*size)
        for spot in _spots(draws, size, draws.many(1, 2), gap=2):
            grid[spot] = colour
        last = grid.copy()
        for row, column in np.argwhere(grid).tolist():
            for step in steps:
                _ray(last, row, column, step, colour if own else paint, over=True)
        return Made(grid, last)

    return make


@family
def rays_until_wall(draws: Draws) -> MakePair:
    """Rays run from each dot until an obstacle or the border stops them."""
    dot, wall, sizes = *draws.colours(2), draws.sizes(7, 20)
    steps = draws.pick([DIRECTIONS[:1], DIRECTIONS[:2], DIRECTIONS[:4], DIRECTIONS[4:5]])

    def make() -> Made:
        size = sizes()
        taken = np.zeros(size, bool)
        walls = placed(draws, size, [thing(any_shape(draws, 1, 3), wall) for _ in range(draws.many(2, 5))], taken=taken)
        dots = placed(draws, size, [thing(box(1, 1), dot)] * draws.randint(1, 3), taken=taken)
        grid = drawn(size, [*walls, *dots])
        last = grid.copy()
        for item in dots:
            for step in steps:
                row, column = item.top + step[0], item.left + step[1]
                while _inside(grid, row, column) and grid[row, column] == 0:
                    last[row, column] = dot
                    row, column = row + step[0], column + step[1]
        return Made(grid, last)

    return make


@family
def connect_in_line(draws: Draws) -> MakePair:
    """Dots of one colour in the same row or column are connected."""
    role, own, sizes = draws.role(), draws.chance(0.5), draws.sizes(7, 20)
    line = draws.colour()

    def make() -> Made:
        size, colour = sizes(), role()
        grid = blank(*size)
        for spot in _spots(draws, size, draws.many(3, 7)):
            grid[spot] = colour
        last = grid.copy()
        for turned, source in ((last, grid), (last.T, grid.T)):
            for row, cells in enumerate(source):
                filled = np.flatnonzero(cells)
                if len(filled) > 1:
                    part = turned[row, filled[0] : filled[-1] + 1]
                    part[part == 0] = colour if own else line
        return Made(grid, last)

    return make


@family
def connect_pairs_by_colour(draws: Draws) -> MakePair:
    """Each colour appears twice in a row or a column; the two are connected; down lies over across."""
    sizes = draws.sizes(8, 20)

    def make() -> Made:
        rows, columns = sizes()
        across = draws.sample(range(rows), draws.randint(1, 3))
        down = draws.sample(range(columns), draws.randint(1, 2))
        colours = draws.colours(len(across) + len(down))
        first, last = blank(rows, columns), blank(rows, columns)
        for row, colour in zip(across, colours, strict=False):
            left, right = sorted(draws.sample([c for c in range(columns) if c not in down], 2))
            first[row, [left, right]] = colour
            last[row, left : right + 1] = colour
        for column, colour in zip(down, colours[len(across) :], strict=True):
            free = [r for r in range(rows) if r not in across]
            top, bottom = sorted(draws.sample(free, 2))
            first[[top, bottom], column] = colour
            last[top : bottom + 1, column] = colour
        return Made(first, last)

    return make


@family
def lines_through_edge_dots(draws: Draws) -> MakePair:
    """Dots on the border draw whole rows and columns; crossings take a colour (or the rows')."""
    crossing, marked = draws.colour(), draws.chance(0.5)
    sizes = draws.sizes(6, 20)

    def make() -> Made:
        rows, columns = sizes()
        first, last = blank(rows, columns), blank(rows, columns)
        across = draws.sample(range(1, rows - 1), draws.randint(1, min(3, rows - 2)))
        down = draws.sample(range(1, columns - 1), draws.randint(1, min(3, columns - 2)))
        for column in down:
            first[0, column] = draws.colour([crossing])
            last[:, column] = first[0, column]
        for row in across:
            first[row, 0] = draws.colour([crossing])
            last[row] = first[row, 0]
            if marked:
                last[row, down] = crossing
        return Made(first, last)

    return make


@family
def rectangle_from_corners(draws: Draws) -> MakePair:
    """Four dots are the corners of a rectangle: its edge (or inside) is drawn."""
    role, line, sizes, inside = draws.role(), draws.colour(), draws.sizes(8, 20), draws.chance(0.4)

    def make() -> Made:
        size, base = sizes(), role()
        if base == line:
            raise RejectError
        items = [thing(box(draws.randint(3, 7), draws.randint(3, 7)), base) for _ in range(draws.many(1, 3))]
        things = placed(draws, size, items)
        first, last = blank(*size), blank(*size)
        for item in things:
            shape = np.pad(box(item.rows - 2, item.columns - 2), 1) if inside else frame_of(item.rows, item.columns)
            put(last, thing(shape, line, item.top, item.left))
            for row in (item.top, item.bottom):
                for column in (item.left, item.right):
                    first[row, column] = last[row, column] = base
        return Made(first, last)

    return make


def frame_of(rows: int, columns: int) -> np.ndarray:
    mask = box(rows, columns)
    mask[1:-1, 1:-1] = False
    return mask


@family
def bouncing_ball(draws: Draws) -> MakePair:
    """A diagonal path starts at the dot at the bottom and bounces off the sides until the top."""
    role, trail, own = draws.role(), draws.colour(), draws.chance(0.5)
    sizes = draws.sizes(5, 20)

    def make() -> Made:
        rows, columns = sizes()
        columns = max(3, min(columns, rows - 2))
        colour = role()
        first, last = blank(rows, columns), blank(rows, columns)
        column, step = draws.choice([(0, 1), (columns - 1, -1)])
        first[-1, column] = last[-1, column] = colour
        for row in range(rows - 2, -1, -1):
            if not 0 <= column + step < columns:
                step = -step
            column += step
            last[row, column] = colour if own else trail
        return Made(first, last)

    return make


@family
def ray_turned_by_mirrors(draws: Draws) -> MakePair:
    """A ray turns right before each obstacle it meets (left before those of the other colour)."""
    dot, right, left = draws.colours(3)
    sizes = draws.sizes(8, 18)

    def make() -> Made:
        size = sizes()
        grid = blank(*size)
        for row, column in _spots(draws, size, draws.many(4, 8)):
            grid[row, column] = draws.pick([right, left])
        start = draws.pick(np.argwhere(grid[-1:] == 0).tolist())
        row, column, step, turns = size[0] - 1, start[1], (-1, 0), 0
        grid[row, column] = dot
        last = grid.copy()
        for _ in range(120):
            ahead = (row + step[0], column + step[1])
            if not _inside(grid, *ahead):
                break
            if grid[ahead] in (right, left):
                step = (step[1], -step[0]) if grid[ahead] == right else (-step[1], step[0])
                turns += 1
                continue
            row, column = ahead
            last[row, column] = dot
        else:
            raise RejectError
        if not turns:
            raise RejectError
        return Made(grid, last)

    return make


@family
def spiral_from_corner(draws: Draws) -> MakePair:
    """A spiral winds inwards from a corner with one empty cell between its arms."""
    role, sizes = draws.role(), draws.sizes(5, 17)

    def make() -> Made:
        rows, columns = sizes()
        colour = role()
        first, last = blank(rows, columns), blank(rows, columns)
        first[0, 0] = last[0, 0] = colour
        row, column, step, stuck = 0, 0, (0, 1), 0

        while stuck < 2:
            ahead = (row + step[0], column + step[1])
            beside = [(ahead[0] + down, ahead[1] + right) for down, right in DIRECTIONS[:4]]
            touched = sum(_inside(last, *cell) and last[cell] > 0 for cell in beside)
            if _inside(last, *ahead) and last[ahead] == 0 and touched == 1:
                row, column = ahead
                last[row, column] = colour
                stuck = 0
            else:
                step = (step[1], -step[0])
                stuck += 1
        return Made(first, last)

    return make


@family
def rings_around_point(draws: Draws) -> MakePair:
    """Square rings of the colours in turn surround the dot, out to the border."""
    palette, sizes, step = draws.colours(draws.randint(1, 3)), draws.sizes(6, 18), draws.randint(1, 2)

    def make() -> Made:
        rows, columns = sizes()
        row, column = draws.randrange(rows), draws.randrange(columns)
        distance = np.maximum(
            *(np.abs(n) for n in np.indices((rows, columns)) - np.array([row, column])[:, None, None])
        )
        last = np.where(distance % step == 0, np.array(palette)[(distance // step) % len(palette)], 0).astype(np.uint8)
        first = blank(rows, columns)
        first[row, column] = last[row, column]
        return Made(first, last)

    return make


@family
def ring_colours_in_turn(draws: Draws) -> MakePair:
    """A row of colours at the head of the grid gives the colours of the rings around the dot, innermost first."""
    sizes, base = draws.sizes(8, 16), draws.colour()

    def make() -> Made:
        rows, columns = sizes()
        row, column = draws.randint(3, rows - 2), draws.randint(1, columns - 2)
        colours = draws.colours(draws.randint(2, 3), [base])
        first = blank(rows, columns)
        distance = np.maximum(
            *(np.abs(n) for n in np.indices((rows, columns)) - np.array([row, column])[:, None, None])
        )
        for number, colour in enumerate(colours):
            first[0, number] = colour
        last = first.copy()
        for number, colour in enumerate(colours, start=1):
            last[(distance == number) & (np.arange(rows)[:, None] > 1)] = colour
        first[row, column] = last[row, column] = base
        return Made(first, last)

    return make


@family
def path_around_corner(draws: Draws) -> MakePair:
    """Two dots are joined by a path: across from the first, then down to the second."""
    start, end, trail = draws.colours(3)
    sizes = draws.sizes(6, 20)

    def make() -> Made:
        rows, columns = sizes()
        (r1, c1), (r2, c2) = _spots(draws, (rows, columns), 2)
        if r1 == r2 or c1 == c2:
            raise RejectError
        first = blank(rows, columns)
        first[r1, c1], first[r2, c2] = start, end
        last = blank(rows, columns)
        last[r1, min(c1, c2) : max(c1, c2) + 1] = trail
        last[min(r1, r2) : max(r1, r2) + 1, c2] = trail
        last = np.where(first > 0, first, last)
        return Made(first, last)

    return make


@family
def chain_of_dots(draws: Draws) -> MakePair:
    """From the marked dot a path goes on to the next dot in line, and so on, until none is left."""
    start, other, trail = draws.colours(3)
    sizes = draws.sizes(8, 20)

    def make() -> Made:
        rows, columns = sizes()
        row, column = draws.randrange(rows), draws.randrange(columns)
        first, last = blank(rows, columns), blank(rows, columns)
        first[row, column] = start
        across = draws.chance(0.5)
        for _ in range(draws.many(2, 5)):
            if across:
                targets = [c for c in range(columns) if abs(c - column) > 1 and not first[:, c].any()]
                if not targets:
                    break
                new = draws.pick(targets)
                last[row, min(column, new) : max(column, new) + 1] = trail
                column = new
            else:
                targets = [r for r in range(rows) if abs(r - row) > 1 and not first[r].any()]
                if not targets:
                    break
                new = draws.pick(targets)
                last[min(row, new) : max(row, new) + 1, column] = trail
                row = new
            across = not across
            first[row, column] = other
        if (first > 0).sum() < 3:
            raise RejectError
        return Made(first, np.where(first > 0, first, last).astype(np.uint8))

    return make


def _maze(draws: Draws, rows: int, columns: int) -> np.ndarray:
    """Free cells of a maze without loops; odd sides."""
    free = np.zeros((rows, columns), bool)
    free[1, 1] = True
    waiting = [(1, 1)]
    while waiting:
        row, column = waiting[-1]
        steps = [
            (r, c)
            for r, c in ((row + 2, column), (row - 2, column), (row, column + 2), (row, column - 2))
            if 0 < r < rows and 0 < c < columns and not free[r, c]
        ]
        if not steps:
            waiting.pop()
            continue
        new = draws.pick(steps)
        free[new] = free[(row + new[0]) // 2, (column + new[1]) // 2] = True
        waiting.append(new)
    return free


def shortest_path(free: np.ndarray, start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """Cells from start to end; rejects if there is no path."""
    before: dict[tuple[int, int], tuple[int, int] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        here = waiting.popleft()
        for step in DIRECTIONS[:4]:
            new = (here[0] + step[0], here[1] + step[1])
            if 0 <= new[0] < free.shape[0] and 0 <= new[1] < free.shape[1] and free[new] and new not in before:
                before[new] = here
                waiting.append(new)
    if end not in before:
        raise RejectError
    path, cell = [], before[end]
    while cell is not None and cell != start:
        path.append(cell)
        cell = before[cell]
    return path


@family
def way_through_maze(draws: Draws) -> MakePair:
    """The way through the maze from one dot to the other is drawn."""
    wall, start, end, trail = draws.colours(4)
    if draws.chance(0.5):
        end = start
    low = draws.randint(3, 6)

    def make() -> Made:
        rows, columns = 2 * draws.randint(low, low + 2) + 1, 2 * draws.randint(low, low + 2) + 1
        free = _maze(draws, rows, columns)
        a, b = draws.sample([(r, c) for r in range(1, rows, 2) for c in range(1, columns, 2)], 2)
        grid = np.where(free, 0, wall).astype(np.uint8)
        grid[a], grid[b] = start, end
        last = grid.copy()
        path = shortest_path(free, a, b)
        if len(path) < 3:
            raise RejectError
        for cell in path:
            last[cell] = trail
        return Made(grid, last)

    return make


@family
def reachable_in_maze(draws: Draws) -> MakePair:
    """Everything that is open to the dot between the walls takes its colour (or another)."""
    wall, dot, trail = draws.colours(3)
    if draws.chance(0.5):
        trail = dot
    low = draws.randint(3, 6)

    def make() -> Made:
        rows, columns = 2 * draws.randint(low, low + 2) + 1, 2 * draws.randint(low, low + 2) + 1
        free = _maze(draws, rows, columns)
        for _ in range(draws.many(2, 5)):
            free[tuple(draws.pick(np.argwhere(free).tolist()))] = False
        start = tuple(draws.pick(np.argwhere(free).tolist()))
        seen = reachable(free, [(start[0], start[1])])
        if seen.sum() < 5 or seen.sum() == free.sum():
            raise RejectError
        grid = np.where(free, 0, wall).astype(np.uint8)
        last = np.where(seen, trail, grid).astype(np.uint8)
        grid[start] = last[start] = dot
        return Made(grid, last)

    return make


@family
def zigzag_columns(draws: Draws) -> MakePair:
    """A wave runs on to the right with the period that its beginning shows."""
    role, sizes, height = draws.role(), draws.sizes(6, 20), draws.randint(2, 4)

    def make() -> Made:
        rows, columns = sizes()
        columns, colour = max(columns, 4 * height), role()
        last = blank(rows, columns)
        top = draws.randint(0, rows - height)
        for column in range(columns):
            phase = column % (2 * (height - 1)) if height > 1 else 0
            last[top + (phase if phase < height else 2 * (height - 1) - phase), column] = colour
        first = last.copy()
        first[:, 2 * height :] = 0
        return Made(first, last)

    return make


@family
def stairs(draws: Draws) -> MakePair:
    """The row below is one longer than the one above, until the grid ends."""
    role, step, sizes = draws.role(), draws.pick([1, 1, 2, -1]), draws.sizes(4, 12)

    def make() -> Made:
        columns, start = sizes()[1] + 2, draws.randint(1, 4)
        if step < 0:
            start = columns
        rows = min((columns - start) // step + 1 if step > 0 else columns, 15)
        if rows < 2:
            raise RejectError
        colour = role()
        last = blank(rows, columns)
        for row in range(rows):
            last[row, : start + step * row] = colour
        return Made(last[:1], last)

    return make


@family
def diagonals_from_corners(draws: Draws) -> MakePair:
    """From the corners of each rectangle diagonals run outwards to the border."""
    base, line, own = *draws.colours(2), draws.chance(0.4)
    sizes, sides = draws.sizes(8, 20), draws.randint(1, 4)

    def make() -> Made:
        size = sizes()
        item = placed(draws, size, [thing(box(draws.randint(1, 3), draws.randint(1, 3)), base)], border=2)[0]
        first = drawn(size, [item])
        last = first.copy()
        corners = [
            (item.top, item.left, -1, -1), (item.top, item.right, -1, 1),
            (item.bottom, item.right, 1, 1), (item.bottom, item.left, 1, -1),
        ]  # fmt: skip
        for row, column, down, right in corners[:sides]:
            _ray(last, row, column, (down, right), base if own else line)
        return Made(first, last)

    return make


@family
def line_from_side_of_box(draws: Draws) -> MakePair:
    """A dot on a box's edge shoots a line away from the box."""
    base, dot, sizes = *draws.colours(2), draws.sizes(9, 20)

    def make() -> Made:
        size = sizes()
        things = placed(draws, size, [thing(box(3, 3), base) for _ in range(draws.many(1, 3))], gap=2, border=1)
        first = drawn(size, things)
        last = first.copy()
        for item in things:
            down, right = draws.pick(DIRECTIONS[:4])
            row, column = item.top + 1 + down, item.left + 1 + right
            first[row, column] = last[row, column] = dot
            _ray(last, row, column, (down, right), dot)
        return Made(first, last)

    return make


@family
def dotted_lines(draws: Draws) -> MakePair:
    """From each dot every second cell to the right is painted."""
    role, period, sizes = draws.role(), draws.randint(2, 3), draws.sizes(6, 20)

    def make() -> Made:
        rows, columns = sizes()
        first, last = blank(rows, columns), blank(rows, columns)
        for row in draws.sample(range(rows), max(1, rows // 3)):
            column, colour = draws.randrange(max(1, columns // 2)), role()
            first[row, column] = colour
            last[row, column::period] = colour
        return Made(first, last)

    return make


@family
def alternate_along_line(draws: Draws) -> MakePair:
    """The first two cells of a row alternate to its end."""
    sizes, both = draws.sizes(4, 18), draws.chance(0.5)

    def make() -> Made:
        rows, columns = sizes()
        first, last = blank(rows, columns), blank(rows, columns)
        for row in range(0, rows, draws.randint(1, 3)):
            period = draws.colours(draws.randint(2, 3) if both else 2)
            for column in range(columns):
                last[row, column] = period[column % len(period)]
            first[row, : len(period)] = last[row, : len(period)]
        return Made(first, last)

    return make


@family
def ray_changes_colour_behind_wall(draws: Draws) -> MakePair:
    """A ray goes through bars and takes each bar's colour behind it."""
    dot, sizes = draws.colour(), draws.sizes(8, 20)

    def make() -> Made:
        rows, columns = sizes()
        first = blank(rows, columns)
        for column in draws.sample(range(2, columns - 1, 2), draws.randint(1, min(3, (columns - 2) // 2))):
            first[:, column] = draws.colour([dot])
        last = first.copy()
        for row in draws.sample(range(rows), draws.randint(1, 3)):
            colour = dot
            first[row, 0] = dot
            for column in range(columns):
                if first[0 if row else 1, column] and column:
                    colour = int(first[0 if row else 1, column])
                last[row, column] = colour
        return Made(first, last)

    return make


@family
def grow_towards_marker(draws: Draws) -> MakePair:
    """Each dot draws a line to the bar that runs along one side."""
    bar, sizes, own = draws.colour(), draws.sizes(7, 20), draws.chance(0.6)
    line = draws.colour([bar])

    def make() -> Made:
        rows, columns = sizes()
        first = blank(rows, columns)
        first[-1] = bar
        last = first.copy()
        for column in draws.sample(range(0, columns, 2), draws.randint(1, max(1, columns // 4))):
            row, colour = draws.randint(0, rows - 3), draws.colour([bar, line])
            first[row, column] = colour
            last[row:-1, column] = colour if own else line
            last[row, column] = colour
        return Made(first, last)

    return make


@family
def halo_rings(draws: Draws) -> MakePair:
    """Every object is surrounded by one ring (or two rings of two colours)."""
    inner, outer = draws.colours(2)
    count, sizes, palette = draws.randint(1, 2), draws.sizes(9, 20), draws.colours(2)

    def make() -> Made:
        size = sizes()
        items = [thing(any_shape(draws, 1, 3), draws.pick(palette)) for _ in range(draws.many(1, 3))]
        things = placed(draws, size, items, gap=2 * count + 1)
        last = blank(*size)
        for item in things:
            for ring in range(count, 0, -1):
                put(last, thing(grown(item.mask, ring), (inner, outer)[ring - 1], item.top - ring, item.left - ring))
            put(last, item)
        return Made(drawn(size, things), last)

    return make

"""Filling: what is enclosed, boxes, chambers, layers, water, gaps."""

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
    enclosed,
    frame,
    grown,
    noise,
    placed,
    put,
    reachable,
    thing,
    things_in,
)
from arcfold.pretraining.families.registry import Made, MakePair, family


@family
def fill_enclosed(draws: Draws) -> MakePair:
    """Background cells that no path leads to from the border are filled."""
    role, fill = draws.role(), draws.colour()
    sizes, share = draws.sizes(6, 18), draws.uniform(0.45, 0.65)

    def make() -> Made:
        grid = noise(draws, *sizes(), [role()], share)
        inside = enclosed(grid > 0)
        if inside.sum() < 2:
            raise RejectError
        return Made(grid, np.where(inside, fill, grid).astype(np.uint8))

    return make


@family
def fill_outside(draws: Draws) -> MakePair:
    """Background that is connected to the border is filled; holes stay."""
    role, fill, sizes = draws.role(), draws.colour(), draws.sizes(7, 18)

    def make() -> Made:
        size, base = sizes(), role()
        items = [
            thing(
                frame(draws.randint(3, 5), draws.randint(3, 5)) if draws.chance(0.6) else any_shape(draws, 2, 4), base
            )
            for _ in range(draws.many(2, 4))
        ]
        grid = drawn(size, placed(draws, size, items))
        inside = enclosed(grid > 0)
        if not inside.any():
            raise RejectError
        return Made(grid, np.where((grid == 0) & ~inside, fill, grid).astype(np.uint8))

    return make


@family
def fill_holes_by_size(draws: Draws) -> MakePair:
    """Each hole takes a colour that tells its number of cells."""
    base, *palette = draws.colours(5)
    sizes = draws.sizes(9, 20)

    def make() -> Made:
        size, items = sizes(), []
        for _ in range(draws.many(2, 4)):
            inner = draws.randint(1, 4)
            items.append(thing(frame(3, inner + 2), base))
        things = placed(draws, size, items)
        last = drawn(size, things)
        for item in things:
            inner = item.columns - 2
            last[item.top + 1, item.left + 1 : item.right] = palette[inner - 1]
        return Made(drawn(size, things), last)

    return make


@family
def fill_square_holes(draws: Draws) -> MakePair:
    """Frames around a square are filled, frames around an oblong are not (or the other way round)."""
    base, fill = draws.colours(2)
    sizes, squares = draws.sizes(10, 22), draws.chance(0.7)

    def make() -> Made:
        size, items = sizes(), []
        for _ in range(draws.many(3, 5)):
            side = draws.randint(3, 6)
            items.append(thing(frame(side, side if draws.chance(0.5) else draws.randint(3, 7)), base))
        things = placed(draws, size, items)
        flags = [(item.rows == item.columns) == squares for item in things]
        if all(flags) or not any(flags):
            raise RejectError
        last = drawn(size, things)
        for item, flag in zip(things, flags, strict=True):
            if flag:
                last[item.top + 1 : item.bottom, item.left + 1 : item.right] = fill
        return Made(drawn(size, things), last)

    return make


@family
def fill_chambers_from_seeds(draws: Draws) -> MakePair:
    """Walls part the grid into chambers; a chamber with a seed is filled with the seed's colour."""
    wall, sizes = draws.colour(), draws.sizes(7, 22)

    def make() -> Made:
        rows, columns = sizes()
        across = sorted(draws.sample(range(2, rows - 2), min(draws.randint(1, 3), rows - 4)))
        down = sorted(draws.sample(range(2, columns - 2), min(draws.randint(1, 3), columns - 4)))
        grid = blank(rows, columns)
        grid[across] = wall
        grid[:, down] = wall
        last = grid.copy()
        chambers = [r for r in things_in((grid == 0).astype(np.uint8)) if r.size > 1]
        for room in draws.sample(chambers, draws.randint(1, max(1, len(chambers) - 1))):
            row, column = draws.pick(np.argwhere(room.mask).tolist())
            colour = draws.colour([wall])
            grid[room.top + row, room.left + column] = colour
            last[room.top : room.bottom + 1, room.left : room.right + 1][room.mask] = colour
        return Made(grid, last)

    return make


@family
def fill_boxes(draws: Draws) -> MakePair:
    """The gaps in each object's box are filled."""
    role, fill, sizes = draws.role(), draws.colour(), draws.sizes(8, 20)

    def make() -> Made:
        size, base = sizes(), role()
        items = [
            thing(blob(draws, draws.randint(2, 5), draws.randint(2, 5), 0.6), base) for _ in range(draws.many(1, 4))
        ]
        things = placed(draws, size, items)
        last = drawn(size, things)
        for item in things:
            part = last[item.top : item.bottom + 1, item.left : item.right + 1]
            part[part == 0] = fill
        if (last == drawn(size, things)).all():
            raise RejectError
        return Made(drawn(size, things), last)

    return make


@family
def frame_objects(draws: Draws) -> MakePair:
    """A frame is drawn around each object's box."""
    colour, sizes = draws.colour(), draws.sizes(9, 20)
    palette = draws.colours(draws.randint(1, 3))

    def make() -> Made:
        size = sizes()
        items = [thing(any_shape(draws, 1, 4), draws.pick(palette)) for _ in range(draws.many(1, 4))]
        things = placed(draws, size, items, gap=3, border=1)
        last = drawn(size, things)
        for item in things:
            put(last, thing(frame(item.rows + 2, item.columns + 2), colour, item.top - 1, item.left - 1))
        return Made(drawn(size, things), last)

    return make


@family
def dots_grow(draws: Draws) -> MakePair:
    """Every dot grows into a pattern that its colour stands for."""
    kinds = [grown(box(1, 1), 1), grown(box(1, 1), 1) & ~np.pad(box(1, 1), 1)]
    cross, diagonal = np.zeros((3, 3), bool), np.eye(3, dtype=bool) | np.eye(3, dtype=bool)[::-1]
    cross[1], cross[:, 1] = True, True
    kinds += [cross, diagonal, np.array([[0, 0, 0], [1, 1, 1], [0, 0, 0]], bool)]
    count = draws.randint(1, 3)
    colours, patterns = draws.colours(count), draws.sample(kinds, count)
    paints = [colour if draws.chance(0.4) else draws.colour() for colour in colours]
    sizes = draws.sizes(7, 20)

    def make() -> Made:
        size = sizes()
        chosen = [draws.randrange(count) for _ in range(draws.many(2, 5))]
        things = placed(draws, size, [thing(box(1, 1), colours[n]) for n in chosen], gap=3, border=0)
        last = blank(*size)
        for item, number in zip(things, chosen, strict=True):
            put(last, thing(patterns[number], paints[number], item.top - 1, item.left - 1))
            put(last, item)
        return Made(drawn(size, things), last)

    return make


@family
def rectangles_in_layers(draws: Draws) -> MakePair:
    """The inside of each rectangle is coloured by its distance from the edge."""
    base, *palette = draws.colours(5)
    sizes, all_layers = draws.sizes(9, 20), draws.chance(0.5)

    def make() -> Made:
        size = sizes()
        items = [thing(box(draws.randint(3, 8), draws.randint(3, 8)), base) for _ in range(draws.many(1, 3))]
        things = placed(draws, size, items)
        last = drawn(size, things)
        for item in things:
            for layer in range(0 if all_layers else 1, (min(item.rows, item.columns) + 1) // 2):
                last[item.top + layer : item.bottom + 1 - layer, item.left + layer : item.right + 1 - layer] = palette[
                    layer % 4
                ]
        return Made(drawn(size, things), last)

    return make


@family
def hollow_rectangles(draws: Draws) -> MakePair:
    """Only the edge of each rectangle stays; or its corners; or its inside."""
    role, kind, sizes = draws.role(), draws.randrange(3), draws.sizes(8, 20)

    def make() -> Made:
        size, base = sizes(), role()
        items = [thing(box(draws.randint(3, 6), draws.randint(3, 6)), base) for _ in range(draws.many(1, 4))]
        things = placed(draws, size, items)
        last = drawn(size, things)
        for item in things:
            part = last[item.top : item.bottom + 1, item.left : item.right + 1]
            if kind == 0:
                part[1:-1, 1:-1] = 0
            elif kind == 1:
                corners = part[[0, 0, -1, -1], [0, -1, 0, -1]].copy()
                part[:] = 0
                part[[0, 0, -1, -1], [0, -1, 0, -1]] = corners
            else:
                inside = part[1:-1, 1:-1].copy()
                part[:] = 0
                part[1:-1, 1:-1] = inside
        return Made(drawn(size, things), last)

    return make


@family
def pour_water(draws: Draws) -> MakePair:
    """Valleys of a landscape fill with water up to the lower of the hills beside them."""
    ground, water = draws.colours(2)
    sizes = draws.sizes(5, 16)

    def make() -> Made:
        rows, columns = sizes()
        heights = [draws.randint(0, rows - 1) for _ in range(columns)]
        first, last = blank(rows, columns), blank(rows, columns)
        for column, height in enumerate(heights):
            level = min(max(heights[: column + 1]), max(heights[column:]))
            last[rows - level :, column] = water
            first[rows - height :, column] = last[rows - height :, column] = ground
        return Made(first, last)

    return make


@family
def pour_from_source(draws: Draws) -> MakePair:
    """A liquid pours down from the source and flows sideways off whatever it meets."""
    wall, water = draws.colours(2)
    sizes = draws.sizes(8, 18)

    def make() -> Made:
        rows, columns = sizes()
        grid = blank(rows, columns)
        for row in range(3, rows - 1, draws.randint(2, 3)):
            length, left = draws.randint(2, max(2, columns // 2)), draws.randrange(columns - 2)
            grid[row, left : left + length] = wall
        source = draws.randrange(1, columns - 1)
        grid[0, source] = water
        last, waiting = grid.copy(), [source]
        for row in range(1, rows):
            now = sorted(set(waiting))
            waiting = []
            for column in now:
                if grid[row, column] != wall:
                    last[row, column] = water
                    waiting.append(column)
                    continue
                left, right = column, column
                while left >= 0 and grid[row, left] == wall:
                    left -= 1
                while right < columns and grid[row, right] == wall:
                    right += 1
                last[row - 1, max(left, 0) : right + 1] = water
                for edge in (left, right):
                    if 0 <= edge < columns:
                        last[row, edge] = water
                        waiting.append(edge)
        return Made(grid, last)

    return make


@family
def fill_between_twins(draws: Draws) -> MakePair:
    """Between two cells of one colour in a row, the cells between are filled."""
    fill_own, fill, sizes = draws.chance(0.5), draws.colour(), draws.sizes(6, 20)

    def make() -> Made:
        rows, columns = sizes()
        first, last = blank(rows, columns), blank(rows, columns)
        for row in draws.sample(range(rows), max(1, rows // draws.randint(2, 4))):
            colour = draws.colour([fill])
            left = draws.randrange(columns - 2)
            right = draws.randint(left + 2, columns - 1)
            last[row, left:right] = colour if fill_own else fill
            first[row, [left, right]] = last[row, [left, right]] = colour
        return Made(first, last)

    return make


@family
def complete_rectangles(draws: Draws) -> MakePair:
    """Cells missing from solid rectangles are put back, in a colour that marks them (or their own)."""
    role, sizes, own = draws.role(), draws.sizes(9, 20), draws.chance(0.4)
    mark = draws.colour()

    def make() -> Made:
        size, base = sizes(), role()
        if base == mark and not own:
            raise RejectError
        items = [thing(box(draws.randint(3, 6), draws.randint(3, 6)), base) for _ in range(draws.many(1, 4))]
        things = placed(draws, size, items)
        first, last = drawn(size, things), drawn(size, things)
        for item in things:
            corners = {(0, 0), (0, item.columns - 1), (item.rows - 1, 0), (item.rows - 1, item.columns - 1)}
            cells = [tuple(cell) for cell in np.argwhere(item.mask).tolist() if tuple(cell) not in corners]
            for row, column in draws.sample(cells, draws.randint(1, max(1, len(cells) // 4))):
                first[item.top + row, item.left + column] = 0
                last[item.top + row, item.left + column] = base if own else mark
        return Made(first, last)

    return make


@family
def largest_empty_square(draws: Draws) -> MakePair:
    """The largest square of empty cells is filled; there is only one."""
    base, fill, sizes, share = *draws.colours(2), draws.sizes(6, 16), draws.uniform(0.25, 0.45)

    def make() -> Made:
        grid = noise(draws, *sizes(), [base], share)
        rows, columns = grid.shape
        best, spots = 0, [(0, 0)]
        for side in range(2, min(rows, columns) + 1):
            found = [
                (r, c)
                for r in range(rows - side + 1)
                for c in range(columns - side + 1)
                if not grid[r : r + side, c : c + side].any()
            ]
            if not found:
                break
            best, spots = side, found
        if best < 2 or len(spots) > 1:
            raise RejectError
        last = grid.copy()
        (row, column) = spots[0]
        last[row : row + best, column : column + best] = fill
        return Made(grid, last)

    return make


@family
def chess_fill(draws: Draws) -> MakePair:
    """Rectangles become chess boards; the corner keeps its colour."""
    role, sizes, second = draws.role(), draws.sizes(7, 18), draws.pick([0, draws.colour()])

    def make() -> Made:
        size, base = sizes(), role()
        if base == second:
            raise RejectError
        things = placed(
            draws,
            size,
            [thing(box(draws.randint(2, 7), draws.randint(2, 7)), base) for _ in range(draws.many(1, 3))],
        )
        last = drawn(size, things)
        for item in things:
            dark = np.indices(item.mask.shape).sum(axis=0) % 2 == 1
            last[item.top : item.bottom + 1, item.left : item.right + 1][dark] = second
        return Made(drawn(size, things), last)

    return make


@family
def fill_frames_with_dots_colour(draws: Draws) -> MakePair:
    """A dot inside a frame colours the inside; empty frames stay."""
    wall, sizes = draws.colour(), draws.sizes(10, 22)

    def make() -> Made:
        size = sizes()
        items = [thing(frame(draws.randint(4, 7), draws.randint(4, 7)), wall) for _ in range(draws.many(2, 4))]
        things = placed(draws, size, items)
        first, last, seeds = drawn(size, things), drawn(size, things), 0
        for item in things:
            if draws.chance(0.6):
                colour = draws.colour([wall])
                row, column = draws.randint(item.top + 1, item.bottom - 1), draws.randint(item.left + 1, item.right - 1)
                first[row, column] = colour
                last[item.top + 1 : item.bottom, item.left + 1 : item.right] = colour
                seeds += 1
        if not seeds:
            raise RejectError
        return Made(first, last)

    return make


@family
def flood_from_seed(draws: Draws) -> MakePair:
    """A seed's colour floods all background that it reaches between the walls."""
    wall, sizes, share = draws.colour(), draws.sizes(6, 18), draws.uniform(0.3, 0.45)

    def make() -> Made:
        grid = noise(draws, *sizes(), [wall], share)
        colour, free = draws.colour([wall]), np.argwhere(grid == 0).tolist()
        if len(free) < 4:
            raise RejectError
        row, column = draws.pick(free)
        reached = reachable(grid == 0, [(row, column)])
        if reached.sum() < 4:
            raise RejectError
        last = np.where(reached, colour, grid).astype(np.uint8)
        grid[row, column] = colour
        return Made(grid, last)

    return make


@family
def fill_rows_to_border(draws: Draws) -> MakePair:
    """Rows that hold two cells of one colour at both ends are filled; rows with one stay."""
    sizes = draws.sizes(5, 18)

    def make() -> Made:
        rows, columns = sizes()
        first, last, full = blank(rows, columns), blank(rows, columns), 0
        for row in range(0, rows, draws.randint(1, 2)):
            left, right = draws.colours(2)
            if draws.chance(0.45):
                right = left
                last[row] = left
                full += 1
            else:
                last[row, 0], last[row, -1] = left, right
            first[row, 0], first[row, -1] = left, right
        if not full:
            raise RejectError
        return Made(first, last)

    return make


@family
def meet_in_the_middle(draws: Draws) -> MakePair:
    """The colours at both ends of a row run to the middle, which is marked if it is one cell."""
    middle, sizes = draws.colour(), draws.sizes(5, 17)

    def make() -> Made:
        rows, columns = sizes()
        columns = min(columns | 1, 29)
        first, last = blank(rows, columns), blank(rows, columns)
        for row in draws.sample(range(rows), max(1, rows // 2)):
            left, right = draws.colours(2, [middle])
            first[row, 0], first[row, -1] = left, right
            last[row, : columns // 2], last[row, columns // 2 :] = left, right
            last[row, columns // 2] = middle
        return Made(first, last)

    return make

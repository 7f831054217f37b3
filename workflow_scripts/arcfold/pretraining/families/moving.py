"""Moving: falling, sliding until contact, towards and away, by a rule of one's own colour or size."""

from __future__ import annotations

import numpy as np

from arcfold.pretraining.families.canvas import (
    Draws,
    Grid,
    RejectError,
    Size,
    Thing,
    any_shape,
    blank,
    box,
    drawn,
    placed,
    put,
    thing,
)
from arcfold.pretraining.families.registry import Made, MakePair, family

STEPS = ((1, 0), (-1, 0), (0, 1), (0, -1))


def _fits(size: Size, item: Thing) -> bool:
    return item.top >= 0 and item.left >= 0 and item.bottom < size[0] and item.right < size[1]


def _collides(grid: Grid, item: Thing) -> bool:
    return bool((grid[item.top : item.bottom + 1, item.left : item.right + 1][item.mask] > 0).any())


def _slid(grid: Grid, item: Thing, step: tuple[int, int]) -> Thing:
    """The object moved on until the border or something drawn stops it."""
    while _fits(grid.shape, item.moved(*step)) and not _collides(grid, item.moved(*step)):
        item = item.moved(*step)
    return item


def _objects(draws: Draws, size: Size, palette: list[int], low: int = 2, high: int = 5) -> list[Thing]:
    count = draws.many(low, high)
    return placed(draws, size, [thing(any_shape(draws, 1, 4), draws.pick(palette)) for _ in range(count)])


@family
def objects_fall(draws: Draws) -> MakePair:
    """Objects fall as they are, the lowest first, onto the ground or each other."""
    palette, sizes = draws.colours(draws.randint(1, 4)), draws.sizes(7, 18)

    def make() -> Made:
        size = sizes()
        things = _objects(draws, size, palette)
        last = blank(*size)
        for item in sorted(things, key=lambda one: -one.bottom):
            put(last, _slid(last, item, (1, 0)))
        return Made(drawn(size, things), last)

    return make


@family
def objects_fall_onto_floor(draws: Draws) -> MakePair:
    """Objects fall onto a bar (or fly up to it)."""
    bar, *palette = draws.colours(3)
    sizes = draws.sizes(8, 18)

    def make() -> Made:
        size = sizes()
        place = draws.randint(size[0] // 2, size[0] - 1)
        taken = np.zeros(size, bool)
        taken[place:] = True
        items = [thing(any_shape(draws, 1, 3), draws.pick(palette)) for _ in range(draws.many(1, 4))]
        things = placed(draws, size, items, taken=taken)
        first, last = drawn(size, things), blank(*size)
        first[place] = last[place] = bar
        for item in sorted(things, key=lambda one: -one.bottom):
            put(last, _slid(last, item, (1, 0)))
        return Made(first, last)

    return make


@family
def cells_fall_on_obstacles(draws: Draws) -> MakePair:
    """Loose cells fall; obstacles stay where they are and hold what falls on them."""
    loose, wall = draws.colours(2)
    sizes, share = draws.sizes(6, 16), draws.uniform(0.1, 0.25)

    def make() -> Made:
        rows, columns = sizes()
        grid = blank(rows, columns)
        for row in range(rows):
            for column in range(columns):
                if draws.chance(share):
                    grid[row, column] = draws.pick([loose, loose, wall])
        last = np.where(grid == wall, wall, 0).astype(np.uint8)
        for row in range(rows - 1, -1, -1):
            for column in range(columns):
                if grid[row, column] == loose:
                    put(last, _slid(last, thing(box(1, 1), loose, row, column), (1, 0)))
        return Made(grid, last)

    return make


@family
def move_by_vector(draws: Draws) -> MakePair:
    """Everything (or everything of one colour) moves by the same steps."""
    down, right = draws.randint(-2, 3), draws.randint(-2, 3)
    moving, *others = draws.colours(draws.randint(1, 3))
    sizes = draws.sizes(8, 18)

    def make() -> Made:
        size = sizes()
        things = _objects(draws, size, [moving, *others], 1, 4)
        new = [item.moved(down, right) if item.colour == moving else item for item in things]
        if not all(_fits(size, item) for item in new) or all(item.colour != moving for item in things):
            raise RejectError
        last = drawn(size, new)
        if (last > 0).sum() != sum(item.size for item in things):
            raise RejectError
        return Made(drawn(size, things), last)

    return make


@family
def move_by_colour(draws: Draws) -> MakePair:
    """Each colour has its direction: objects slide that way to the border."""
    count = draws.randint(2, 4)
    palette, steps = draws.colours(count), draws.sample(STEPS, count)
    sizes = draws.sizes(7, 18)

    def make() -> Made:
        size = sizes()
        things = _objects(draws, size, palette, 2, 4)
        empty = blank(*size)
        new = [_slid(empty, item, steps[palette.index(item.colour)]) for item in things]
        last = drawn(size, new)
        if (last > 0).sum() != sum(item.size for item in things):
            raise RejectError
        return Made(drawn(size, things), last)

    return make


@family
def move_until_contact(draws: Draws) -> MakePair:
    """The movable object slides straight towards the fixed one until they touch."""
    fixed, loose = draws.colours(2)
    sizes = draws.sizes(8, 20)

    def make() -> Made:
        size = sizes()
        items = [thing(any_shape(draws, 2, 5), fixed), thing(any_shape(draws, 1, 3), loose)]
        anchor, item = placed(draws, size, items)
        across = anchor.top <= item.bottom and item.top <= anchor.bottom
        along = anchor.left <= item.right and item.left <= anchor.right
        if across == along:
            raise RejectError
        step = (0, 1 if item.left < anchor.left else -1) if across else (1 if item.top < anchor.top else -1, 0)
        last = drawn(size, [anchor])
        new = _slid(last, item, step)
        if not _collides(last, new.moved(*step)) if _fits(size, new.moved(*step)) else True:
            raise RejectError
        put(last, new)
        return Made(drawn(size, [anchor, item]), last)

    return make


@family
def gather_at_line(draws: Draws) -> MakePair:
    """Dots slide towards the line of their own colour; others vanish (or stay)."""
    stays, sizes = draws.chance(0.5), draws.sizes(8, 20)

    def make() -> Made:
        rows, columns = sizes()
        place = draws.randint(2, rows - 3)
        line, other = draws.colours(2)
        first = blank(rows, columns)
        first[place] = line
        last = first.copy()
        for column in range(columns):
            for side in (-1, 1):
                if not draws.chance(0.25):
                    continue
                row = draws.randint(0, place - 2) if side < 0 else draws.randint(place + 2, rows - 1)
                colour = draws.pick([line, line, other])
                first[row, column] = colour
                if colour == line:
                    last[place + side, column] = line
                elif stays:
                    last[row, column] = colour
        return Made(first, last)

    return make


@family
def attracted_by_box(draws: Draws) -> MakePair:
    """Dots in line with the box slide up to it; the others vanish."""
    base, dot, sizes, stays = *draws.colours(2), draws.sizes(8, 20), draws.chance(0.4)

    def make() -> Made:
        size = sizes()
        taken = np.zeros(size, bool)
        anchor = placed(
            draws, size, [thing(box(draws.randint(2, 4), draws.randint(2, 4)), base)], border=2, taken=taken
        )[0]
        spots = placed(draws, size, [thing(box(1, 1), dot)] * draws.randint(3, 6), taken=taken)
        first, last = drawn(size, [anchor, *spots]), drawn(size, [anchor])
        moved = 0
        for item in spots:
            across = anchor.top <= item.top <= anchor.bottom
            if across or anchor.left <= item.left <= anchor.right:
                step = (0, 1 if item.left < anchor.left else -1) if across else (1 if item.top < anchor.top else -1, 0)
                put(last, _slid(last, item, step))
                moved += 1
            elif stays:
                put(last, item)
        if not moved:
            raise RejectError
        return Made(first, last)

    return make


@family
def move_by_own_width(draws: Draws) -> MakePair:
    """Every bar moves right by its own length."""
    role, sizes = draws.role(), draws.sizes(6, 18)

    def make() -> Made:
        rows, columns = sizes()
        first, last = blank(rows, columns), blank(rows, columns)
        for row in draws.sample(range(rows), max(2, rows // 2)):
            length = draws.randint(1, max(1, columns // 3))
            left, colour = draws.randint(0, columns - 2 * length), role()
            first[row, left : left + length] = colour
            last[row, left + length : left + 2 * length] = colour
        return Made(first, last)

    return make


@family
def move_by_dots(draws: Draws) -> MakePair:
    """An object moves right by as many cells as there are dots in the last row."""
    base, dot, sizes = *draws.colours(2), draws.sizes(8, 18)

    def make() -> Made:
        rows, columns = sizes()
        count = draws.randint(1, 4)
        item = placed(draws, (rows - 2, columns), [thing(any_shape(draws, 2, 4), base)])[0]
        if item.right + count >= columns or 2 * count > columns:
            raise RejectError
        first, last = drawn((rows, columns), [item]), drawn((rows, columns), [item.moved(0, count)])
        first[-1, : 2 * count : 2] = last[-1, : 2 * count : 2] = dot
        return Made(first, last)

    return make


@family
def to_the_marked_side(draws: Draws) -> MakePair:
    """One side of the grid is marked by a bar: everything slides against it."""
    bar, *palette = draws.colours(4)
    sizes = draws.sizes(7, 16)

    def make() -> Made:
        size, number = sizes(), draws.randrange(4)
        items = [thing(box(1, 1), draws.pick(palette)) for _ in range(draws.many(3, 8))]
        grid = np.pad(drawn(size, placed(draws, size, items, gap=0)), ((0, 1), (0, 0)), constant_values=bar)
        last = grid.copy()
        for column in range(size[1]):
            cells = grid[:-1, column][grid[:-1, column] > 0]
            last[:-1, column] = 0
            if len(cells):
                last[-1 - len(cells) : -1, column] = cells
        return Made(np.rot90(grid, number), np.rot90(last, number))

    return make


@family
def align_with_largest(draws: Draws) -> MakePair:
    """All objects move along their columns to stand on the ground line of the marked one."""
    base, mark, sizes = *draws.colours(2), draws.sizes(8, 18)

    def make() -> Made:
        rows, columns = sizes()
        things, left, model = [], 0, draws.randrange(3)
        for number in range(3):
            shape = any_shape(draws, 1, 4)
            if left + shape.shape[1] > columns or shape.shape[0] > rows:
                raise RejectError
            things.append(
                thing(shape, mark if number == model else base, draws.randint(0, rows - shape.shape[0]), left)
            )
            left += shape.shape[1] + 1
        ground = things[model].bottom
        new = [item.moved(ground - item.bottom, 0) for item in things]
        if not all(_fits((rows, columns), item) for item in new):
            raise RejectError
        return Made(drawn((rows, columns), things), drawn((rows, columns), new))

    return make


@family
def centre_object(draws: Draws) -> MakePair:
    """The object moves to the middle of the grid (or of the frame around it)."""
    role, edge, framed, sizes = draws.role(), draws.colour(), draws.chance(0.5), draws.sizes(7, 18)

    def make() -> Made:
        rows, columns = sizes()
        colour = role()
        if colour == edge:
            raise RejectError
        height, width = draws.randint(1, 3), draws.randint(1, 3)
        height += (rows - height) % 2
        width += (columns - width) % 2
        shape = any_shape(draws, 1, 4)
        if shape.shape != (height, width):
            shape = box(height, width) if draws.chance(0.5) else np.ones((height, width), bool)
        item = thing(shape, colour)
        start = placed(draws, (rows, columns), [item], border=1 if framed else 0)[0]
        end = item.moved((rows - height) // 2, (columns - width) // 2)
        first, last = drawn((rows, columns), [start]), drawn((rows, columns), [end])
        if framed:
            for grid in (first, last):
                grid[[0, -1]] = edge
                grid[:, [0, -1]] = edge
        return Made(first, last)

    return make


@family
def swap_objects(draws: Draws) -> MakePair:
    """Two objects change places: each takes the upper left corner of the other."""
    colours, sizes = draws.colours(2), draws.sizes(8, 18)

    def make() -> Made:
        size = sizes()
        a, b = placed(draws, size, [thing(any_shape(draws, 2, 4), colour) for colour in colours], gap=2)
        new = [a.moved(b.top - a.top, b.left - a.left), b.moved(a.top - b.top, a.left - b.left)]
        last = drawn(size, new)
        if not all(_fits(size, item) for item in new) or (last > 0).sum() != a.size + b.size:
            raise RejectError
        return Made(drawn(size, [a, b]), last)

    return make


@family
def piece_into_gap(draws: Draws) -> MakePair:
    """A piece moves straight down into the gap of its shape in the block below."""
    block, piece, sizes = *draws.colours(2), draws.sizes(9, 18)

    def make() -> Made:
        rows, columns = sizes()
        height, width = draws.randint(1, 3), draws.randint(1, 3)
        deep = draws.randint(height + 1, height + 2)
        if rows < deep + height + 2 or columns < width + 2:
            raise RejectError
        left = draws.randint(1, columns - width - 1)
        first = blank(rows, columns)
        first[rows - deep :] = block
        first[rows - deep : rows - deep + height, left : left + width] = 0
        last = first.copy()
        last[rows - deep : rows - deep + height, left : left + width] = piece
        top = draws.randint(0, rows - deep - height - 1)
        first[top : top + height, left : left + width] = piece
        return Made(first, last)

    return make


@family
def stack_up(draws: Draws) -> MakePair:
    """The bars move together to the left side, each in its row; the longest stay longest."""
    palette, sizes = draws.colours(4), draws.sizes(5, 15)

    def make() -> Made:
        rows, columns = sizes()
        first, last = blank(rows, columns), blank(rows, columns)
        for row in range(draws.many(0, 1), rows, draws.randint(1, 2)):
            length = draws.randint(1, columns - 1)
            left, colour = draws.randint(0, columns - length), draws.pick(palette)
            first[row, left : left + length] = colour
            last[row, :length] = colour
        return Made(first, last)

    return make


@family
def move_next_cell_along_arrow(draws: Draws) -> MakePair:
    """Each object has a head of another colour: it moves on by its own length towards the head."""
    body, head, sizes = *draws.colours(2), draws.sizes(8, 20)

    def make() -> Made:
        size = sizes()
        first, last = blank(*size), blank(*size)
        taken = np.zeros(size, bool)
        for _ in range(draws.many(1, 4)):
            length, number = draws.randint(2, 3), draws.randrange(4)
            cells = np.zeros((1, 2 * length), np.uint8)
            cells[0, :length] = [body] * (length - 1) + [head]
            moved = np.roll(cells, length, axis=1)
            room = np.rot90(np.ones_like(cells), number)
            spot = placed(draws, size, [Thing(0, 0, room)], taken=taken)[0]
            put(first, spot.with_cells(np.rot90(cells, number)))
            put(last, spot.with_cells(np.rot90(moved, number)))
        return Made(first, last)

    return make


@family
def reflect_across_line(draws: Draws) -> MakePair:
    """What stands on one side of the line appears mirrored on the other; the original stays (or goes)."""
    line, *palette = draws.colours(4)
    sizes, stays = draws.sizes(4, 11), draws.chance(0.6)

    def make() -> Made:
        size = sizes()
        side = drawn(size, _objects(draws, size, palette, 1, 3))
        if not side.any():
            raise RejectError
        bar, empty = np.full((size[0], 1), line, np.uint8), np.zeros(size, np.uint8)
        first = np.concatenate([side, bar, empty], axis=1)
        last = np.concatenate([side if stays else empty, bar, side[:, ::-1]], axis=1)
        if draws.chance(0.5):
            return Made(first[:, ::-1], last[:, ::-1])
        return Made(first, last)

    return make


@family
def explode(draws: Draws) -> MakePair:
    """The four cells of a square fly apart to the four corners of the grid, each to its own."""
    sizes = draws.sizes(5, 16)

    def make() -> Made:
        rows, columns = sizes()
        top, left = draws.randint(1, rows - 3), draws.randint(1, columns - 3)
        colours = draws.colours(4)
        first, last = blank(rows, columns), blank(rows, columns)
        first[top : top + 2, left : left + 2] = np.array(colours).reshape(2, 2)
        last[[0, 0, -1, -1], [0, -1, 0, -1]] = colours
        last[top : top + 2, left : left + 2] = first[top : top + 2, left : left + 2]
        return Made(first, last)

    return make


@family
def orbit_quarter(draws: Draws) -> MakePair:
    """The object turns a quarter around the marked cell."""
    centre, body, turn = *draws.colours(2), draws.randint(1, 3)
    low = draws.randint(3, 6)

    def make() -> Made:
        side = 2 * draws.randint(low, low + 1) + 1
        grid = blank(side, side)
        middle = side // 2
        shape = any_shape(draws, 2, 3)
        top, left = draws.randint(0, middle - shape.shape[0]), draws.randint(0, side - shape.shape[1])
        put(grid, thing(shape, body, top, left))
        if grid[middle, middle]:
            raise RejectError
        grid[middle, middle] = centre
        return Made(grid, np.rot90(grid, turn))

    return make

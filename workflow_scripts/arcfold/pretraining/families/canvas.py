"""What the families draw with: sources of draws, shapes, scenes of objects, and looking at a grid again.

Colour 0 is the background; views of a task permute the colours and turn the grids later, so a family needs
neither other backgrounds nor its own mirror images.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

Grid = np.ndarray
"""Colours 0 to 9, (rows, columns)."""
Mask = np.ndarray
"""Which cells of a box belong to a shape, bool (rows, columns)."""
Size = tuple[int, int]

LONGEST = 30
_Any = TypeVar("_Any")


class RejectError(Exception):
    """These draws make no good pair: draw again."""


class Draws(random.Random):
    """A source of draws with the questions that families ask."""

    wide = False
    """Whether grids are to be about as large as those of ARC-AGI-2, and hold more."""

    def randint(self, low: int, high: int) -> int:
        if low > high:
            raise RejectError  # no room
        return super().randint(low, high)

    def sample(self, population: Sequence[_Any], k: int) -> list[_Any]:  # type: ignore[override]
        if k > len(population):
            raise RejectError
        return super().sample(population, k)

    def many(self, low: int, high: int) -> int:
        """How many of what a scene may hold more of when it is wide."""
        return self.randint(low, 2 * high if self.wide else high)

    def chance(self, share: float) -> bool:
        return self.random() < share

    def pick(self, values: Sequence[_Any]) -> _Any:
        if not len(values):
            raise RejectError
        return values[self.randrange(len(values))]

    def colours(self, count: int, without: Iterable[int] = ()) -> list[int]:
        """Different colours, none of them the background or one of `without`."""
        left = [colour for colour in range(1, 10) if colour not in set(without)]
        if count > len(left):
            raise RejectError
        return self.sample(left, count)

    def colour(self, without: Iterable[int] = ()) -> int:
        return self.colours(1, without)[0]

    def sizes(self, low: int, high: int, square: bool = False) -> Callable[[], Size]:
        """Sizes for the grids of a task: one size for all pairs, or one for each."""
        if low > high:
            raise RejectError
        if self.wide:
            low, high = max(low, high // 2), min(max(high + 4, high * 5 // 3), LONGEST)
        elif high >= 14 and self.chance(0.3):
            high = min(high * 3 // 2, LONGEST)  # some tasks of ARC's larger kind
        # small grids are as frequent as large ones, though there are fewer of them
        top = min(self.randint(low, high), self.randint(low, high) + 4, high)

        def one() -> Size:
            rows = self.randint(max(low, top - 6), top)
            return (rows, rows) if square else (rows, self.randint(max(low, top - 6), top))

        if self.chance(0.5):
            fixed = one()
            return lambda: fixed
        return one

    def role(self, without: Iterable[int] = ()) -> Callable[[], int]:
        """A colour that is the same in all pairs of a task, or another one in each."""
        taken = tuple(without)
        if self.chance(0.6):
            fixed = self.colour(taken)
            return lambda: fixed
        return lambda: self.colour(taken)


def blank(rows: int, columns: int, colour: int = 0) -> Grid:
    if not (1 <= rows <= LONGEST and 1 <= columns <= LONGEST):
        raise RejectError
    return np.full((rows, columns), colour, np.uint8)


def noise(draws: Draws, rows: int, columns: int, colours: Sequence[int], share: float = 1.0) -> Grid:
    """Cells of random colours, the background elsewhere."""
    grid = blank(rows, columns)
    for row in range(rows):
        for column in range(columns):
            if draws.chance(share):
                grid[row, column] = draws.pick(colours)
    return grid


# --- shapes --------------------------------------------------------------------------------------------


def blob(draws: Draws, rows: int, columns: int, share: float = 0.6) -> Mask:
    """A connected shape that touches all four sides of its box."""
    for _ in range(30):
        mask = np.zeros((rows, columns), bool)
        row, column = draws.randrange(rows), draws.randrange(columns)
        mask[row, column] = True
        edge = [(row, column)]
        while mask.sum() < share * rows * columns or not _touches_all(mask):
            row, column = draws.pick(edge)
            steps = [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
            free = [(r, c) for r, c in steps if 0 <= r < rows and 0 <= c < columns and not mask[r, c]]
            if not free:
                edge.remove((row, column))
                if not edge:
                    break
                continue
            cell = draws.pick(free)
            mask[cell] = True
            edge.append(cell)
        if _touches_all(mask):
            return mask
    return np.ones((rows, columns), bool)


def _touches_all(mask: Mask) -> bool:
    return bool(mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any())


def box(rows: int, columns: int) -> Mask:
    return np.ones((rows, columns), bool)


def frame(rows: int, columns: int, thick: int = 1) -> Mask:
    mask = box(rows, columns)
    mask[thick : rows - thick, thick : columns - thick] = False
    return mask


def plus(size: int) -> Mask:
    """A cross of odd size."""
    mask = np.zeros((size, size), bool)
    mask[size // 2] = mask[:, size // 2] = True
    return mask


def saltire(size: int) -> Mask:
    """A cross of diagonals."""
    return np.eye(size, dtype=bool) | np.eye(size, dtype=bool)[::-1]


LETTERS: tuple[Mask, ...] = tuple(
    np.array([[cell == "#" for cell in row] for row in rows.split("/")])
    for rows in (
        "##/#.", "#../###", "###/.#.", "##./.##", "###/#.#", "#.#/.#.", "##./#../#..", "###/.#./.#.", "#.#/###/#.#",
        ".#./###/.#.", "###/#.#/###", "#../##./.##", "#.#/.#./#.#", "###/#../###", "##/##/#.", "#./##/.#", "####/#...",
        "##/.#/##", ".##/##./.#.", "#..#/####", "###/..#/..#", ".#./#.#/.#.", "##.#/.###", "#.../##../###.",
    )
)  # fmt: skip
"""Small shapes, no two of which are turned or mirrored copies of each other in the first place."""


def turned(mask: np.ndarray, number: int) -> np.ndarray:
    """One of the 8 symmetries of a grid or a mask, by its number."""
    made = np.rot90(mask, number % 4)
    return made[:, ::-1] if number >= 4 else made


def any_shape(draws: Draws, low: int = 2, high: int = 5) -> Mask:
    """A shape of some kind, sides from `low` to `high`."""
    rows, columns = draws.randint(low, high), draws.randint(low, high)
    kind = draws.randrange(6)
    if kind == 0 and min(rows, columns) >= 3:
        return frame(rows, columns)
    if kind == 1:
        return box(rows, columns)
    if kind == 2:
        letter = turned(draws.pick(LETTERS), draws.randrange(8))
        if max(letter.shape) <= high:
            return letter
    return blob(draws, rows, columns, draws.uniform(0.5, 0.85))


def trimmed(mask: np.ndarray) -> np.ndarray:
    """The smallest box around what is not 0."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise RejectError
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


# --- scenes --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Thing:
    """An object: cells of its own colours in a box that stands somewhere."""

    top: int
    left: int
    cells: Grid
    """Colours; 0 is not part of the object."""

    @property
    def mask(self) -> Mask:
        return self.cells > 0

    @property
    def rows(self) -> int:
        return int(self.cells.shape[0])

    @property
    def columns(self) -> int:
        return int(self.cells.shape[1])

    @property
    def bottom(self) -> int:
        """Its last row."""
        return self.top + self.rows - 1

    @property
    def right(self) -> int:
        """Its last column."""
        return self.left + self.columns - 1

    @property
    def size(self) -> int:
        return int(self.mask.sum())

    @property
    def colour(self) -> int:
        """Its most frequent colour, the smallest of several."""
        return int(np.bincount(self.cells[self.mask]).argmax())

    def moved(self, down: int, right: int) -> Thing:
        return replace(self, top=self.top + down, left=self.left + right)

    def painted(self, colour: int) -> Thing:
        return replace(self, cells=np.where(self.mask, colour, 0).astype(np.uint8))

    def with_cells(self, cells: Grid) -> Thing:
        return replace(self, cells=cells)


def thing(mask: Mask, colour: int, top: int = 0, left: int = 0) -> Thing:
    return Thing(top, left, (mask * colour).astype(np.uint8))


def put(grid: Grid, item: Thing) -> None:
    """Draws an object; what sticks out is cut off."""
    rows, columns = grid.shape
    for row, column in zip(*np.nonzero(item.cells), strict=True):
        if 0 <= row + item.top < rows and 0 <= column + item.left < columns:
            grid[row + item.top, column + item.left] = item.cells[row, column]


def drawn(size: Size, things: Iterable[Thing]) -> Grid:
    grid = blank(*size)
    for item in things:
        put(grid, item)
    return grid


def placed(
    draws: Draws, size: Size, things: Sequence[Thing], gap: int = 1, border: int = 0, taken: Mask | None = None
) -> list[Thing]:
    """The objects at random places, at least `gap` cells apart and `border` cells from the sides.

    taken: cells that are not free, changed in place
    Rejects a crowd that does not fit.
    """
    rows, columns = size
    free = np.ones((rows + 2 * gap, columns + 2 * gap), bool)
    if taken is not None:
        free[gap : gap + rows, gap : gap + columns] = ~taken
    done: dict[int, Thing] = {}
    for number, item in sorted(enumerate(things), key=lambda entry: -entry[1].rows * entry[1].columns):
        highest, furthest = rows - item.rows - border, columns - item.columns - border
        if highest < border or furthest < border:
            raise RejectError
        near = grown(item.mask, gap)
        for _ in range(40):
            top, left = draws.randint(border, highest), draws.randint(border, furthest)
            around = free[top : top + item.rows + 2 * gap, left : left + item.columns + 2 * gap]
            if around[near].all():
                around[gap : gap + item.rows, gap : gap + item.columns][item.mask] = False
                done[number] = replace(item, top=top, left=left)
                break
        else:
            raise RejectError
    if taken is not None:
        taken |= ~free[gap : gap + rows, gap : gap + columns]
    return [done[number] for number in range(len(things))]


def grown(mask: Mask, by: int) -> Mask:
    """The shape and all cells up to `by` steps away, diagonals included, in a box larger on each side."""
    rows, columns = mask.shape
    made = np.zeros((rows + 2 * by, columns + 2 * by), bool)
    for down in range(2 * by + 1):
        for right in range(2 * by + 1):
            made[down : down + rows, right : right + columns] |= mask
    return made


# --- looking again -------------------------------------------------------------------------------------


def things_in(grid: Grid, diagonal: bool = False, many_colours: bool = False) -> list[Thing]:
    """The objects of a grid in reading order: connected cells of one colour (or of any but 0)."""
    rows, columns = grid.shape
    seen = grid == 0
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    if diagonal:
        steps += [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    found = []
    for row in range(rows):
        for column in range(columns):
            if seen[row, column]:
                continue
            colour = grid[row, column]
            seen[row, column] = True
            cells, waiting = [], [(row, column)]
            while waiting:
                here = waiting.pop()
                cells.append(here)
                for down, right in steps:
                    r, c = here[0] + down, here[1] + right
                    if 0 <= r < rows and 0 <= c < columns and not seen[r, c] and (many_colours or grid[r, c] == colour):
                        seen[r, c] = True
                        waiting.append((r, c))
            found.append(_thing_of(grid, cells))
    return found


def _thing_of(grid: Grid, cells: Sequence[tuple[int, int]]) -> Thing:
    top, left = min(r for r, _ in cells), min(c for _, c in cells)
    bottom, right = max(r for r, _ in cells), max(c for _, c in cells)
    made = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    for r, c in cells:
        made[r - top, c - left] = grid[r, c]
    return Thing(top, left, made)


def reachable(free: Mask, starts: Iterable[tuple[int, int]]) -> Mask:
    """The free cells connected to one of the starts, side by side."""
    rows, columns = free.shape
    seen = np.zeros_like(free)
    waiting = [cell for cell in starts if free[cell]]
    for cell in waiting:
        seen[cell] = True
    while waiting:
        row, column = waiting.pop()
        for r, c in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if 0 <= r < rows and 0 <= c < columns and free[r, c] and not seen[r, c]:
                seen[r, c] = True
                waiting.append((r, c))
    return seen


def enclosed(mask: Mask) -> Mask:
    """The cells outside a shape that no path leads to from outside its box."""
    rows, columns = mask.shape
    padded = np.ones((rows + 2, columns + 2), bool)
    padded[1:-1, 1:-1] = ~mask
    return (~mask) & ~reachable(padded, [(0, 0)])[1:-1, 1:-1]


def holes(mask: Mask) -> int:
    """How many separate regions a shape encloses."""
    return len(things_in(enclosed(mask).astype(np.uint8)))


def same_shape(first: Mask, second: Mask) -> bool:
    return first.shape == second.shape and bool((first == second).all())


def shape_key(mask: Mask) -> bytes:
    """Equal for shapes that are turned or mirrored copies of each other."""
    return min(bytes(made.shape) + made.tobytes() for made in (np.ascontiguousarray(turned(mask, n)) for n in range(8)))


def is_mirrored(cells: np.ndarray) -> bool:
    """Whether left and right are each other's mirror images."""
    return bool((cells == cells[:, ::-1]).all())

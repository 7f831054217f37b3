"""Rules that read a grid as a whole: turning, tiling, scaling, shifting, cutting; alone and one after the other.

`RULES` are functions from grid to grid. Each is a family by itself on scenes of any kind, and two or three
drawn at random, one applied to the other's result, are further families.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from arcfold.pretraining.families.canvas import LONGEST, Draws, Grid, RejectError, things_in, trimmed
from arcfold.pretraining.families.registry import Family, Made, MakePair, register
from arcfold.pretraining.families.scenes import any_scene, rectangles

Rule = Callable[[Grid], Grid]
Draw = Callable[[Draws], Rule]
"""Draws what a kind of rule leaves open."""


def _fixed(rule: Rule) -> Draw:
    return lambda draws: rule


def _turn(draws: Draws) -> Rule:
    quarter = draws.randint(1, 3)
    return lambda grid: np.rot90(grid, quarter)


def _flip(draws: Draws) -> Rule:
    return draws.pick([lambda grid: grid[::-1], lambda grid: grid[:, ::-1]])


def _transpose(draws: Draws) -> Rule:
    return draws.pick([lambda grid: grid.T, lambda grid: np.rot90(grid, 2).T])


def _beside(draws: Draws) -> Rule:
    """The grid and a turned or mirrored copy next to it."""
    copy: Rule = draws.pick(
        [lambda grid: grid, lambda grid: grid[:, ::-1], lambda grid: grid[::-1], lambda grid: np.rot90(grid, 2)]
    )
    first = draws.chance(0.5)
    return lambda grid: np.concatenate([grid, copy(grid)] if first else [copy(grid), grid], axis=1)


def _kaleidoscope(draws: Draws) -> Rule:
    """Four copies, mirrored at the middle lines."""
    inward = draws.chance(0.5)

    def rule(grid: Grid) -> Grid:
        corner = grid if inward else np.rot90(grid, 2)
        top = np.concatenate([corner, corner[:, ::-1]], axis=1)
        return np.concatenate([top, top[::-1]])

    return rule


def _pinwheel(draws: Draws) -> Rule:
    """Four copies, each a quarter turn further; squares only."""

    def rule(grid: Grid) -> Grid:
        if grid.shape[0] != grid.shape[1]:
            raise RejectError
        top = np.concatenate([grid, np.rot90(grid, -1)], axis=1)
        return np.concatenate([top, np.rot90(top, 2)])

    return rule


def _tile(draws: Draws) -> Rule:
    repeats = draws.pick([(1, 2), (2, 1), (2, 2), (3, 3), (1, 3), (3, 1), (2, 3)])
    return lambda grid: np.tile(grid, repeats)


def _tile_flipped(draws: Draws) -> Rule:
    """Copies in rows, every second one mirrored."""
    count, vertical = draws.randint(2, 3), draws.chance(0.5)

    def rule(grid: Grid) -> Grid:
        other = grid[::-1] if vertical else grid[:, ::-1]
        rows = [
            np.concatenate([grid if (r + c) % 2 == 0 else other for c in range(count)], axis=1) for r in range(count)
        ]
        return np.concatenate(rows)

    return rule


def _scale(draws: Draws) -> Rule:
    factor = draws.randint(2, 3)
    return lambda grid: np.kron(grid, np.ones((factor, factor), np.uint8))


def _stretch(draws: Draws) -> Rule:
    factor = draws.randint(2, 4)
    return lambda grid: np.repeat(grid, factor, axis=1)


def _scale_by_colours(grid: Grid) -> Grid:
    """As many times as large as there are colours besides the background."""
    factor = len(np.unique(grid[grid > 0]))
    if factor < 2:
        raise RejectError
    return np.kron(grid, np.ones((factor, factor), np.uint8))


def _fractal(draws: Draws) -> Rule:
    """A copy of the grid for each of its filled (or empty) cells."""
    filled = draws.chance(0.7)

    def rule(grid: Grid) -> Grid:
        mask = grid > 0 if filled else grid == 0
        return np.kron(mask.astype(np.uint8), grid)

    return rule


def _fractal_of_commonest(grid: Grid) -> Grid:
    """A copy of the grid for each cell of its commonest colour."""
    counts = np.bincount(grid.ravel(), minlength=10)
    if (counts == counts.max()).sum() > 1:
        raise RejectError
    return np.kron((grid == counts.argmax()).astype(np.uint8), grid)


def _roll(draws: Draws) -> Rule:
    down, right = draws.randint(0, 2), draws.randint(0, 3)
    return lambda grid: np.roll(grid, (down, right), (0, 1))


def _shift(draws: Draws) -> Rule:
    """All moves; what leaves is lost and the background comes in."""
    steps = draws.randint(1, 2)

    def rule(grid: Grid) -> Grid:
        made = np.zeros_like(grid)
        made[steps:] = grid[:-steps]
        return made

    return rule


def _shear(draws: Draws) -> Rule:
    """Each row is rolled one step further than the row above."""
    step = draws.pick([1, -1, 2])
    return lambda grid: np.stack([np.roll(row, step * number) for number, row in enumerate(grid)])


def _boustrophedon(grid: Grid) -> Grid:
    """Every second row is reversed."""
    made = grid.copy()
    made[1::2] = made[1::2, ::-1]
    return made


def _border(draws: Draws) -> Rule:
    colour, thick = draws.colour(), draws.randint(1, 2)
    return lambda grid: np.pad(grid, thick, constant_values=colour)


def _paint_border(draws: Draws) -> Rule:
    colour = draws.colour()

    def rule(grid: Grid) -> Grid:
        made = np.full_like(grid, colour)
        made[1:-1, 1:-1] = grid[1:-1, 1:-1]
        return made

    return rule


def _repeat_edge(draws: Draws) -> Rule:
    """A border that repeats the outermost cells; the corners repeat too or stay empty."""
    corners = draws.chance(0.5)

    def rule(grid: Grid) -> Grid:
        made = np.pad(grid, 1, mode="edge")
        if not corners:
            made[[0, 0, -1, -1], [0, -1, 0, -1]] = 0
        return made

    return rule


def _cut_border(draws: Draws) -> Rule:
    def rule(grid: Grid) -> Grid:
        if min(grid.shape) < 4:
            raise RejectError
        return grid[1:-1, 1:-1]

    return rule


def _half(draws: Draws) -> Rule:
    """Half of it."""
    part: Rule = draws.pick(
        [
            lambda grid: grid[: grid.shape[0] // 2],
            lambda grid: grid[:, grid.shape[1] // 2 :],
            lambda grid: grid[: grid.shape[0] // 2, : grid.shape[1] // 2],
        ]
    )

    def rule(grid: Grid) -> Grid:
        if min(grid.shape) < 4:
            raise RejectError
        return part(grid)

    return rule


def _swap_halves(draws: Draws) -> Rule:
    def rule(grid: Grid) -> Grid:
        if grid.shape[1] % 2:
            raise RejectError
        return np.roll(grid, grid.shape[1] // 2, 1)

    return rule


def _trim(grid: Grid) -> Grid:
    """The box of all that is not background."""
    return trimmed(grid)


def _thin(grid: Grid) -> Grid:
    """Every second row and column."""
    if min(grid.shape) < 4:
        raise RejectError
    return grid[::2, ::2]


def _spread(draws: Draws) -> Rule:
    """Lines between all rows and columns."""
    colour = draws.pick([0, draws.colour()])

    def rule(grid: Grid) -> Grid:
        made = np.full((2 * grid.shape[0] - 1, 2 * grid.shape[1] - 1), colour, np.uint8)
        made[::2, ::2] = grid
        return made

    return rule


def _swap_colours(draws: Draws) -> Rule:
    """Two colours change places; there is one such pair at least."""
    first, second = draws.colours(2)

    def rule(grid: Grid) -> Grid:
        if not (grid == first).any() and not (grid == second).any():
            raise RejectError
        made = grid.copy()
        made[grid == first], made[grid == second] = second, first
        return made

    return rule


def _negative(grid: Grid) -> Grid:
    """Background and colour change places; one colour only."""
    used = np.unique(grid[grid > 0])
    if len(used) != 1:
        raise RejectError
    return np.where(grid > 0, 0, used[0]).astype(np.uint8)


def _commonest_to(draws: Draws) -> Rule:
    """The commonest (or rarest) colour, background aside, becomes another."""
    colour, rarest = draws.colour(), draws.chance(0.4)

    def rule(grid: Grid) -> Grid:
        used, counts = np.unique(grid[grid > 0], return_counts=True)
        if len(used) < 2 or colour in used:
            raise RejectError
        best = counts.min() if rarest else counts.max()
        if (counts == best).sum() > 1:
            raise RejectError
        return np.where(grid == used[counts == best][0], colour, grid).astype(np.uint8)

    return rule


def _only_commonest(draws: Draws) -> Rule:
    """Only the commonest (or rarest) colour stays."""
    rarest = draws.chance(0.4)

    def rule(grid: Grid) -> Grid:
        used, counts = np.unique(grid[grid > 0], return_counts=True)
        if len(used) < 2:
            raise RejectError
        best = counts.min() if rarest else counts.max()
        if (counts == best).sum() > 1:
            raise RejectError
        return np.where(grid == used[counts == best][0], grid, 0).astype(np.uint8)

    return rule


def _fall(grid: Grid) -> Grid:
    """Every cell falls to the ground or onto others."""
    made = np.zeros_like(grid)
    for column in range(grid.shape[1]):
        cells = grid[:, column][grid[:, column] > 0]
        if len(cells):
            made[-len(cells) :, column] = cells
    return made


def _rows_by_count(draws: Draws) -> Rule:
    """Rows sorted by how many cells are filled; equals keep their order."""
    falling = draws.chance(0.5)

    def rule(grid: Grid) -> Grid:
        counts = (grid > 0).sum(axis=1).astype(int)
        return grid[np.argsort(-counts if falling else counts, kind="stable")]

    return rule


def _symmetric(draws: Draws) -> Rule:
    """What is filled on one side is filled on the other too."""
    move: Rule = draws.pick([lambda grid: grid[:, ::-1], lambda grid: grid[::-1], lambda grid: np.rot90(grid, 2)])
    return lambda grid: np.where(grid > 0, grid, move(grid)).astype(np.uint8)


def _mirror_half(draws: Draws) -> Rule:
    """The right half becomes the mirror image of the left."""

    def rule(grid: Grid) -> Grid:
        made, half = grid.copy(), grid.shape[1] // 2
        made[:, -half:] = grid[:, :half][:, ::-1]
        return made

    return rule


def _ring_turn(draws: Draws) -> Rule:
    """The outermost ring of cells moves one step round, clockwise."""
    steps = draws.randint(1, 2)

    def rule(grid: Grid) -> Grid:
        rows, columns = grid.shape
        if min(rows, columns) < 2:
            raise RejectError
        ring = [(0, c) for c in range(columns)] + [(r, columns - 1) for r in range(1, rows)]
        ring += [(rows - 1, c) for c in range(columns - 2, -1, -1)] + [(r, 0) for r in range(rows - 2, 0, -1)]
        made = grid.copy()
        for place, cell in enumerate(ring):
            made[ring[(place + steps) % len(ring)]] = grid[cell]
        return made

    return rule


def _distinct_rows(draws: Draws) -> Rule:
    """Rows that repeat the row above are left out, then columns."""

    def rule(grid: Grid) -> Grid:
        for _ in range(2):
            kept = [0, *(n for n in range(1, len(grid)) if (grid[n] != grid[n - 1]).any())]
            grid = grid[kept].T
        return grid

    return rule


def _life(draws: Draws) -> Rule:
    """Empty cells with some number of filled neighbours are filled (or filled ones with few are emptied)."""
    colour, count, births = draws.colour(), draws.randint(2, 4), draws.chance(0.7)

    def rule(grid: Grid) -> Grid:
        padded = np.pad((grid > 0).astype(int), 1)
        around = sum(
            padded[1 + r : padded.shape[0] - 1 + r, 1 + c : padded.shape[1] - 1 + c]
            for r in (-1, 0, 1)
            for c in (-1, 0, 1)
            if r or c
        )
        chosen = (grid == 0) & (around == count) if births else (grid > 0) & (around < count)
        return np.where(chosen, colour if births else 0, grid).astype(np.uint8)

    return rule


def _neighbour_colour(draws: Draws) -> Rule:
    """Background cells right (or left) of a filled one take a colour."""
    colour, steps = draws.colour(), draws.pick([(0, 1), (1, 0), (1, 1)])
    both = draws.chance(0.5)

    def rule(grid: Grid) -> Grid:
        made = grid.copy()
        for sign in (1, -1) if both else (1,):
            padded = np.pad(grid, 1)
            down, right = steps[0] * sign, steps[1] * sign
            moved = padded[1 - down : padded.shape[0] - 1 - down, 1 - right : padded.shape[1] - 1 - right]
            made[(grid == 0) & (moved > 0)] = colour
        return made

    return rule


def _outline_objects(draws: Draws) -> Rule:
    """Every object keeps its outline; what lies inside, all eight neighbours its own, is emptied or recoloured."""
    colour = draws.pick([0, draws.colour()])

    def rule(grid: Grid) -> Grid:
        padded = np.pad(grid, 1)
        inside = grid > 0
        for down in (0, 1, 2):
            for right in (0, 1, 2):
                inside = inside & (padded[down : down + grid.shape[0], right : right + grid.shape[1]] == grid)
        return np.where(inside, colour, grid).astype(np.uint8)

    return rule


def _checker(draws: Draws) -> Rule:
    """Filled cells on the dark squares of a chess board change colour."""
    colour, even = draws.pick([0, draws.colour()]), draws.randint(0, 1)

    def rule(grid: Grid) -> Grid:
        dark = np.indices(grid.shape).sum(axis=0) % 2 == even
        return np.where(dark & (grid > 0), colour, grid).astype(np.uint8)

    return rule


def _parity_lines(draws: Draws) -> Rule:
    """Every second (or third) column takes a colour where it is filled (or empty)."""
    colour, step, filled = draws.colour(), draws.randint(2, 3), draws.chance(0.5)

    def rule(grid: Grid) -> Grid:
        chosen = np.zeros(grid.shape, bool)
        chosen[:, ::step] = True
        return np.where(chosen & ((grid > 0) == filled), colour, grid).astype(np.uint8)

    return rule


def _sides_recoloured(draws: Draws) -> Rule:
    """What stands in the left half changes colour."""
    colour = draws.colour()

    def rule(grid: Grid) -> Grid:
        made = grid.copy()
        half = made[:, : grid.shape[1] // 2]
        half[half > 0] = colour
        return made

    return rule


def _smallest_away(draws: Draws) -> Rule:
    """Single cells vanish; objects of two and more stay."""
    least = draws.randint(2, 3)

    def rule(grid: Grid) -> Grid:
        made = grid.copy()
        for item in things_in(grid):
            if item.size < least:
                made[item.top : item.bottom + 1, item.left : item.right + 1][item.mask] = 0
        return made

    return rule


def _empty_lines(draws: Draws) -> Rule:
    """Rows without a filled cell (and columns too) take a colour."""
    colour, columns = draws.colour(), draws.chance(0.5)

    def rule(grid: Grid) -> Grid:
        made = grid.copy()
        made[~(grid > 0).any(axis=1)] = colour
        if columns:
            made[:, ~(grid > 0).any(axis=0)] = colour
        return made

    return rule


RULES: dict[str, Draw] = {
    "turn": _turn,
    "flip": _flip,
    "transpose": _transpose,
    "beside": _beside,
    "kaleidoscope": _kaleidoscope,
    "pinwheel": _pinwheel,
    "tile": _tile,
    "tile_flipped": _tile_flipped,
    "scale": _scale,
    "stretch": _stretch,
    "scale_by_colours": _fixed(_scale_by_colours),
    "fractal": _fractal,
    "fractal_of_commonest": _fixed(_fractal_of_commonest),
    "roll": _roll,
    "shift": _shift,
    "shear": _shear,
    "boustrophedon": _fixed(_boustrophedon),
    "border": _border,
    "paint_border": _paint_border,
    "repeat_edge": _repeat_edge,
    "cut_border": _cut_border,
    "half": _half,
    "swap_halves": _swap_halves,
    "trim": _fixed(_trim),
    "thin": _fixed(_thin),
    "spread": _spread,
    "swap_colours": _swap_colours,
    "negative": _fixed(_negative),
    "commonest_to": _commonest_to,
    "only_commonest": _only_commonest,
    "fall": _fixed(_fall),
    "rows_by_count": _rows_by_count,
    "symmetric": _symmetric,
    "mirror_half": _mirror_half,
    "ring_turn": _ring_turn,
    "distinct_rows": _distinct_rows,
    "life": _life,
    "neighbour_colour": _neighbour_colour,
    "outline_objects": _outline_objects,
    "checker": _checker,
    "parity_lines": _parity_lines,
    "sides_recoloured": _sides_recoloured,
    "smallest_away": _smallest_away,
    "empty_lines": _empty_lines,
}

GROWING = {
    "beside", "kaleidoscope", "pinwheel", "tile", "tile_flipped", "scale", "stretch", "scale_by_colours", "spread",
}  # fmt: skip
"""Rules whose outputs are larger: their inputs are small."""
FRACTAL = {"fractal", "fractal_of_commonest"}
"""Rules whose outputs have the square of the input's sides."""
LOCAL = tuple(name for name in RULES if name not in GROWING | FRACTAL)


def applied(rule: Rule, grid: Grid) -> Grid:
    """What the rule makes of a grid. Rejects grids of one row or column, and results that are too large."""
    if min(grid.shape) < 2:
        raise RejectError
    made = rule(grid)
    if max(made.shape) > LONGEST:
        raise RejectError
    return made


def _on_scenes(names: tuple[str, ...]) -> Family:
    """The rules of these names, one after the other."""

    def made(draws: Draws) -> MakePair:
        rules = [RULES[name](draws) for name in names]
        growing = sum(name in GROWING for name in names)
        largest = 5 if any(name in FRACTAL for name in names) else (16, 10, 5)[min(growing, 2)]
        smallest = 7 if "outline_objects" in names else 2 if largest == 5 else 3
        sizes = draws.sizes(smallest, largest, square="pinwheel" in names)
        if "outline_objects" in names:  # other scenes have few objects with an inside
            scene = rectangles(draws)
        else:
            scene = any_scene(draws, small=largest <= 6 and draws.chance(0.8))

        def make() -> Made:
            first = scene(sizes())
            grid = first
            for rule in rules:
                before = grid
                grid = applied(rule, grid)
                if len(rules) > 1 and np.array_equal(before, grid):
                    raise RejectError
            return Made(first, grid)

        return make

    return made


def _drawn_chain(length: int) -> Family:
    """Rules drawn for each task."""

    def made(draws: Draws) -> MakePair:
        names = [draws.pick(list(RULES)) if draws.chance(0.4) else draws.pick(LOCAL) for _ in range(length)]
        if len(set(names)) < length or sum(name in GROWING | FRACTAL for name in names) > 1:
            raise RejectError
        return _on_scenes(tuple(names))(draws)

    return made


for _name in RULES:
    register(f"whole_{_name}", _on_scenes((_name,)))
register("chain_of_two", _drawn_chain(2), weight=40)
register("chain_of_three", _drawn_chain(3), weight=15)

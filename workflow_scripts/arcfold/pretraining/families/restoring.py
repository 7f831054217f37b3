"""Large patterns that are partly covered: periods in two directions, mirror lines, rings; whole again or the piece."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from arcfold.pretraining.families.canvas import Draws, Grid, RejectError, Size, blank, noise
from arcfold.pretraining.families.registry import Family, Made, MakePair, register

Pattern = Callable[[Size], Grid]


def _periodic(draws: Draws) -> Pattern:
    """A tile in rows and columns, each row of tiles shifted."""
    palette, rows, columns = draws.colours(draws.randint(2, 5)), draws.randint(2, 6), draws.randint(2, 6)
    shift, of_pair = draws.randrange(columns), draws.chance(0.6)
    fixed = noise(draws, rows, columns, palette)

    def pattern(size: Size) -> Grid:
        tile = noise(draws, rows, columns, palette) if of_pair else fixed
        r, c = np.indices(size)
        return tile[r % rows, (c + shift * (r // rows)) % columns]

    return pattern


def _by_sum(draws: Draws) -> Pattern:
    """Colours by a sum of row and column times fixed steps: diagonal stripes of many kinds."""
    palette, down, right = draws.colours(draws.randint(3, 7)), draws.randint(1, 3), draws.randint(1, 3)

    def pattern(size: Size) -> Grid:
        order = draws.sample(palette, len(palette))
        r, c = np.indices(size)
        return np.array(order, np.uint8)[(down * r + right * c) % len(order)]

    return pattern


def _by_product(draws: Draws) -> Pattern:
    """Colours by row times column (plus an offset), as a multiplication table has them."""
    palette, offset = draws.colours(draws.randint(4, 8)), draws.randint(0, 3)

    def pattern(size: Size) -> Grid:
        order = draws.sample(palette, len(palette))
        r, c = np.indices(size)
        return np.array(order, np.uint8)[((r + offset) * (c + offset)) % len(order)]

    return pattern


def _mirrored(draws: Draws) -> Pattern:
    """A quarter mirrored at both middle lines (perhaps its own transpose too)."""
    palette, diagonal, share = draws.colours(draws.randint(3, 7)), draws.chance(0.5), draws.uniform(0.5, 1.0)

    def pattern(size: Size) -> Grid:
        rows = (size[0] + 1) // 2
        quarter = noise(draws, rows, rows, palette, share)
        if diagonal:
            quarter = np.maximum(quarter, quarter.T)
        half = np.concatenate([quarter, quarter[:, ::-1]], axis=1)
        return np.concatenate([half, half[::-1]])

    return pattern


def _quarters_turned(draws: Draws) -> Pattern:
    """A quarter turned around the middle."""
    palette, share = draws.colours(draws.randint(3, 6)), draws.uniform(0.5, 1.0)

    def pattern(size: Size) -> Grid:
        quarter = noise(draws, (size[0] + 1) // 2, (size[0] + 1) // 2, palette, share)
        top = np.concatenate([quarter, np.rot90(quarter, -1)], axis=1)
        return np.concatenate([top, np.rot90(top, 2)])

    return pattern


def _rings(draws: Draws) -> Pattern:
    """Rings around a point, their colours in turn; square ones or rhombs."""
    palette, square = draws.colours(draws.randint(2, 5)), draws.chance(0.5)

    def pattern(size: Size) -> Grid:
        order = draws.sample(palette, len(palette))
        r, c = np.indices(size)
        down, right = abs(r - draws.randrange(size[0])), abs(c - draws.randrange(size[1]))
        return np.array(order, np.uint8)[(np.maximum(down, right) if square else down + right) % len(order)]

    return pattern


PATTERNS = {
    "periodic": _periodic, "diagonal": _by_sum, "products": _by_product, "mirrored": _mirrored,
    "pinwheel": _quarters_turned, "ringed": _rings,
}  # fmt: skip


def _covered(name: str, how: str) -> Family:
    """Rectangles of one colour cover parts of a pattern: it is whole again, or the piece under the only cover is the
    answer, or the wrong cells in it are marked."""

    def made(draws: Draws) -> MakePair:
        sizes, cover = draws.sizes(10, 22, square=name in ("mirrored", "pinwheel")), draws.colour()
        pattern, count, mark = PATTERNS[name](draws), draws.randint(1, 4), draws.colour()

        def make() -> Made:
            whole = pattern(sizes())
            if (whole == cover).any():
                raise RejectError
            rows, columns = whole.shape
            first = whole.copy()
            if how == "spoilt":
                for _ in range(draws.many(2, 5)):
                    first[draws.randrange(rows), draws.randrange(columns)] = cover
                return Made(first, np.where(first == cover, mark, whole).astype(np.uint8) if mark != cover else whole)
            for _ in range(1 if how == "piece" else count):
                height, width = draws.randint(2, max(2, rows // 3)), draws.randint(2, max(2, columns // 3))
                top, left = draws.randint(0, rows - height), draws.randint(0, columns - width)
                first[top : top + height, left : left + width] = cover
            if name in ("mirrored", "pinwheel"):
                turns = (
                    [np.rot90(first, n) for n in range(4)]
                    if name == "pinwheel"
                    else [first, first[::-1], first[:, ::-1], first[::-1, ::-1]]
                )
                if np.all([turn == cover for turn in turns], axis=0).any():
                    raise RejectError  # nothing tells what is there
            if how == "piece":
                return Made(first, whole[top : top + height, left : left + width])
            return Made(first, whole)

        return make

    return made


def _continued(name: str) -> Family:
    """The pattern is there in one part of the grid; the rest is empty and is filled."""

    def made(draws: Draws) -> MakePair:
        sizes, pattern, down = draws.sizes(12, 22), PATTERNS[name](draws), draws.chance(0.5)

        def make() -> Made:
            whole = pattern(sizes())
            first = blank(*whole.shape)
            part = draws.uniform(0.5, 0.75)
            if down:
                first[: int(part * len(whole))] = whole[: int(part * len(whole))]
            else:
                rows, columns = (int(np.sqrt(part) * side) + 1 for side in whole.shape)
                first[:rows, :columns] = whole[:rows, :columns]
            return Made(first, whole)

        return make

    return made


for _name in PATTERNS:
    for _how in ("covers", "piece", "spoilt"):
        if (_name, _how) not in {("ringed", "spoilt"), ("products", "spoilt")}:
            register(f"restore_{_name}_{_how}", _covered(_name, _how))
    if _name not in ("mirrored", "pinwheel", "ringed"):
        register(f"continue_{_name}", _continued(_name))

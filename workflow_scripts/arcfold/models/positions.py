"""Where a token stands in its text: the rule that a model's rotary positions follow.

A position is one integer, whatever it stands for, so that whatever runs a model carries one number a token and
asks the rule for the next one. Two rules are known:

- places, the rule of all models but our own: 0, 1, 2, … along the text;
- grids, the rule of models of the type `arcfold_qwen3`: the number of the grid in the text, the row and the
  column, each of which turns a third of a head's frequencies (the first, fourth, … of them by the grid).

By grids a marker stands at row 0 and column 0, the first row is 1, its first cell has column 0, and the token
that ends a row has the column behind its last cell. A marker that opens a grid counts it; others stay in the
grid before them. In the embedded text format, where / is a row's end and E an output's:

    token    I   1   2   /   3   4   /   O   5   /   E   I   6   /
    grid     1   1   1   1   1   1   1   2   2   2   2   3   3   3
    row      0   1   1   1   2   2   2   0   1   1   0   0   1   1
    column   0   0   1   2   0   1   2   0   0   1   0   0   0   1

So a position follows from the one before it, the token that stands there and the new token: a search keeps one
number a branch. Interleaved axes: Qwen3-VL, 2025, arXiv 2511.21631, whose text model gives the same for
`mrope_section` = `sections(E)`; rotary positions: Su et al., 2021, arXiv 2104.09864.

Shapes: T tokens, E numbers of a head.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from arcfold.jobs.files import InputError, shortened

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MODEL_TYPE = "arcfold_qwen3"
"""The `model_type` of config.json by which stock programs refuse a model whose positions they do not compute."""
GRID_TOKENS = "grid_tokens"
"""The key of config.json that says what each token is."""

CELL, ROW_END, MARKER, OPENING = range(4)
"""What a token is: a cell, the end of a row, a marker, or a marker that opens a grid. Tokens in no list are markers."""

AXES = 3
AXIS_BITS = 12
"""A position by grids is grid << 24 | row << 12 | column."""
ONE_ROW, ONE_GRID = 1 << AXIS_BITS, 1 << 2 * AXIS_BITS
AXIS_MASK = ONE_ROW - 1

_NEVER = np.int32(-(2**30))


class PositionRule:
    """From tokens to positions."""

    def __init__(self, kinds: Sequence[int] | np.ndarray | None = None) -> None:
        """kinds: for each token id what it is; None for the rule of places"""
        self.kinds = None if kinds is None else np.asarray(kinds, dtype=np.uint8)

    @property
    def by_grids(self) -> bool:
        return self.kinds is not None

    def of_text(self, tokens: Sequence[int] | np.ndarray) -> np.ndarray:
        """(T,) int64 positions of a whole text."""
        if self.kinds is None:
            return np.arange(len(tokens))
        return self._of_grids(np.asarray(tokens), None, None)

    def of_texts(self, tokens: np.ndarray, begins: np.ndarray) -> np.ndarray:
        """(T,) int64 positions of texts that stand one after the other in `tokens` (T,), each from its begin on.

        begins: where they begin, ascending, the first at 0; two may be the same
        """
        if self.kinds is None:
            return np.arange(len(tokens)) - np.repeat(begins, np.diff(np.append(begins, len(tokens))))
        return self._of_grids(tokens, None, begins)

    def following(self, tokens: Sequence[int] | np.ndarray, first: int) -> np.ndarray:
        """(T,) int64 positions of consecutive tokens, of which the first has the position `first`."""
        if self.kinds is None:
            return np.arange(first, first + len(tokens))
        return self._of_grids(np.asarray(tokens), first, None)

    def numbered(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(T,) int32 numbers for positions (T,), and (P,) int64 the position that each number stands for.

        Numbers are few, so that a table with a line for each, of angles say, is small; some may occur nowhere.
        """
        if self.kinds is None:
            return positions.astype(np.int32), np.arange(positions.max(initial=0) + 1)
        # all grids by all rows by all columns: no sorting, and not much more than there are
        axes = positions >> 2 * AXIS_BITS, positions >> AXIS_BITS & AXIS_MASK, positions & AXIS_MASK
        grids, rows, columns = (int(axis.max(initial=0)) + 1 for axis in axes)
        grid, row, column = np.ogrid[:grids, :rows, :columns]
        numbers = (axes[0] * rows + axes[1]) * columns + axes[2]
        return numbers.astype(np.int32), (grid * ONE_GRID + row * ONE_ROW + column).ravel()

    def first(self, token: int) -> int:
        """The position of a text's first token."""
        return 0 if self.kinds is None else self.next(0, None, token)

    def next(self, position: int, last: int | None, token: int) -> int:
        """The position of `token` behind the token `last` at `position`; None: behind a marker."""
        if self.kinds is None:
            return position + 1
        kind = self.kinds[token]
        if kind >= MARKER:
            return int(position & -ONE_GRID) + (ONE_GRID if kind == OPENING else 0)
        if last is not None and self.kinds[last] == CELL:
            return position + 1
        return int(position & -ONE_ROW) + ONE_ROW

    def _of_grids(self, tokens: np.ndarray, first: int | None, begins: np.ndarray | None) -> np.ndarray:
        """Positions of texts from `begins` on, or, where `first` is given, of the middle of one."""
        # Without a loop over tokens: each axis is a count, less what it was where it last began anew.
        assert self.kinds is not None
        if not len(tokens):
            return np.zeros(0, dtype=np.int64)
        kind = self.kinds[tokens]
        marker, opening, place = kind >= MARKER, kind == OPENING, np.arange(len(tokens), dtype=np.int32)
        new_row = np.empty(len(tokens), dtype=bool)
        new_row[1:] = kind[:-1] != CELL
        new_row[0] = first is None
        if begins is not None:
            begins = begins[begins < len(tokens)]
            new_row[begins] = True
        new_row &= ~marker
        grid, rows = np.cumsum(opening, dtype=np.int32), np.cumsum(new_row, dtype=np.int32)
        column_zero = np.where(marker | new_row, place, _NEVER)
        row_zero = np.where(marker, rows, _NEVER)
        if first is not None:
            grid += (first >> 2 * AXIS_BITS) - int(opening[0])
            row_zero[0], column_zero[0] = -(first >> AXIS_BITS & AXIS_MASK), -(first & AXIS_MASK)
        elif begins is None:
            row_zero[0] = 0
        else:
            # of texts that begin at the same place all but the last are empty
            row_zero[begins] = rows[begins] - new_row[begins]
            grid -= np.repeat(grid[begins] - opening[begins], np.diff(np.append(begins, len(tokens))))
        rows -= np.maximum.accumulate(row_zero)
        place -= np.maximum.accumulate(column_zero)
        made: np.ndarray = grid.astype(np.int64)
        made *= ONE_GRID
        made += rows * np.int32(ONE_ROW) + place
        return made


PLACES = PositionRule()


def rule_of(config: Any) -> PositionRule:
    """The rule of a model, from its config.json or a library's object with the same keys.

    Raises InputError for one of our own type whose keys make no rule.
    """

    def get(key: str) -> Any:
        return config.get(key) if isinstance(config, Mapping) else getattr(config, key, None)

    if get("model_type") != MODEL_TYPE:
        return PLACES
    vocabulary, size, tokens, rope = (get(key) for key in ("vocab_size", "head_dim", GRID_TOKENS, "rope_parameters"))
    if type(size) is not int or size < 2 * AXES or size % 2:
        raise InputError(f"head_dim is {shortened(repr(size))}, expected an even number of {2 * AXES} or more")
    kinds = {"cells": CELL, "row_end": ROW_END, "opening": OPENING}
    if not isinstance(tokens, Mapping) or set(tokens) != set(kinds):
        raise InputError(f"{GRID_TOKENS}: expected lists of token ids under {', '.join(kinds)}")
    table = np.full(vocabulary, MARKER)
    for name, kind in kinds.items():
        numbers = tokens[name]
        if not isinstance(numbers, list) or any(type(n) is not int or not 0 <= n < vocabulary for n in numbers):
            raise InputError(f"{GRID_TOKENS}/{name}: expected a list of token ids below {vocabulary}")
        table[numbers] = kind
    for key, value in rope_keys(size).items():
        if not isinstance(rope, Mapping) or rope.get(key) != value:
            raise InputError(f"rope_parameters/{key} is missing or another, expected {value!r}")
    return PositionRule(table)


def rope_keys(size: int) -> dict[str, Any]:
    """What `rope_parameters` of config.json says of the axes, as Qwen3-VL's does. size: E"""
    return {"mrope_section": sections(size), "mrope_interleaved": True}


def sections(size: int) -> list[int]:
    """Frequencies of each axis, E / 2 in all."""
    return [len(range(axis, size // 2, AXES)) for axis in range(AXES)]


@functools.cache
def axis_shifts(size: int, device: torch.device) -> Tensor:
    """(E,) int64: by how many bits a position is shifted to get the axis that turns each number of a head.

    Frequency j turns by axis j mod 3, and numbers j and j + E / 2 of a head turn together.
    """
    import torch

    shifts = [(AXES - 1 - frequency % AXES) * AXIS_BITS for frequency in range(size // 2)]
    # one tensor for all, whatever runs: the first to ask may be a search, whose tensors no training may keep
    with torch.inference_mode(False):
        return torch.tensor([*shifts, *shifts], device=device)


def axis_values(positions: Tensor, shifts: Tensor) -> Tensor:
    """(…, E) int64: for each number of a head the position on its axis, from (…) positions by grids."""
    return (positions[..., None] >> shifts) & AXIS_MASK


def from_axes(axes: Tensor) -> Tensor:
    """(…) positions by grids from (3, …): grids, rows and columns, as Qwen3-VL takes them."""
    return axes[0] * ONE_GRID + axes[1] * ONE_ROW + axes[2]

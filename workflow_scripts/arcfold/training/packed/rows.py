"""Micro-batches as rows: their samples one after the other, packed into one tensor of numbers.

A row may be padded to a larger `Shape`: the tokens behind its last sample are a piece of their own
that nothing looks at, and the positions behind its last scored one have weight zero, so that loss
and gradients are those of the samples alone.

Samples of 5, 3 and 4 tokens, with a loss on the last 2, 1 and 2 of them, in a row of their own size
(T = 12, L = 5) and in one of T = 16:

    token       0  1  2  3  4 | 5  6  7 | 8  9 10 11        | 12 13 14 15
    ids         1  2  3  4  5 | 6  7  8 | 9  8  7  6        |  0  0  0  0
    positions   0  1  2  3  4 | 0  1  2 | 0  1  2  3        |  0  0  0  0    where they are places
    place       L  L  0  1  L | L  2  L | L  3  4  L        |  L  L  L  L    L: has no loss
    bounds      0  5  8  12  12, or 0  5  8  12  16: three samples and a piece of padding
    scored      2  3  6  9 10     the token before one with a loss: its logits are what counts
    targets     4  5  8  7  6     ids[scored + 1]
    weights     1/5 each where a step is this row alone; 0 behind the fifth

Shapes: T tokens of a row, L scored positions, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from arcfold.models.positions import PLACES, PositionRule
from arcfold.training.job import IGNORED, Sample
from arcfold.training.packed.buckets import Shape

# Triton compiles a kernel anew for a pointer that is not a multiple of 16 bytes, which no capture may see.
_ALIGNED = 16  # numbers
_TOKENS_AT_ONCE = 2**20  # whose positions are computed together: they take 100 bytes a token meanwhile


@dataclass(frozen=True)
class Row:
    """A micro-batch on the device; all but `weights` int32."""

    ids: Tensor
    """(T,) tokens."""
    positions: Tensor
    """(T,) for each token the number of its position in `Rows.distinct`."""
    place: Tensor
    """(T,) for each token its index in `scored`, or L."""
    bounds: Tensor
    """(S + 2,) where each piece begins, and the end; the last piece is padding, maybe empty."""
    scored: Tensor
    """(L,) where in the row the next token has a loss."""
    targets: Tensor
    """(L,) those next tokens."""
    weights: Tensor
    """(L,) float32 weight of each loss; zero for padding."""
    lengths: tuple[int, ...]
    """Tokens of each piece that is not empty; () where only the device knows."""
    longest: int
    """No piece is longer."""


def row_of(numbers: Tensor, shape: Shape, lengths: tuple[int, ...] = ()) -> Row:
    """The parts of a packed row (`Rows.pack`), as views. numbers: (packed_size(shape),) int32 or longer.

    lengths: of the pieces, where the host knows them (`Rows.pieces`).
    """
    # one tensor holds them all, so that a row is one copy to a captured graph's input
    parts = [numbers[start : start + size] for start, size in _layout(shape)]
    ids, positions, place, bounds, scored, targets, weights = parts
    return Row(
        ids, positions, place, bounds, scored, targets, weights.view(torch.float32), lengths, shape.longest
    )  # fmt: skip


def packed_size(shape: Shape) -> int:
    """Numbers of a packed row."""
    start, size = _layout(shape)[-1]
    return _aligned(start + size)


class Rows:
    """All samples of a job, one after the other: a micro-batch is a slice of them."""

    def __init__(self, samples: Sequence[Sample], rule: PositionRule = PLACES) -> None:
        """rule: the model's, from the tokens of a sample to their positions"""
        # (all tokens,) arrays made once: packing a micro-batch is copying slices, without a loop over tokens
        self.lengths = [len(sample.input_ids) for sample in samples]
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self.ids = np.concatenate([sample.input_ids for sample in samples])
        self.positions, self.distinct = rule.numbered(self._positions(rule))
        labels = np.concatenate([sample.labels for sample in samples])
        # the first token of a sample has nothing before it that could predict it
        labels[self.starts[:-1]] = IGNORED
        label_at = np.flatnonzero(labels != IGNORED)
        self.scored = label_at - 1
        self.targets = labels[label_at]
        self.scored_before = np.searchsorted(label_at, self.starts)

    def _positions(self, rule: PositionRule) -> np.ndarray:
        """(all tokens,) int64, each in its sample."""
        parts, first = [], 0
        while first < len(self.lengths):
            room = self.starts[first] + _TOKENS_AT_ONCE
            last = max(first + 1, int(np.searchsorted(self.starts, room, side="right")) - 1)
            begins = self.starts[first:last]
            parts.append(rule.of_texts(self.ids[begins[0] : self.starts[last]], begins - begins[0]))
            first = last
        return np.concatenate(parts)

    def label_tokens(self, first: int, last: int) -> int:
        """Tokens with a loss of samples `first` to `last` - 1."""
        return int(self.scored_before[last] - self.scored_before[first])

    def shape(self, first: int, last: int) -> Shape:
        """The exact shape of samples `first` to `last` - 1 of the job."""
        tokens = int(self.starts[last] - self.starts[first])
        return Shape(tokens, self.label_tokens(first, last), last - first, max(self.lengths[first:last]))

    def pieces(self, first: int, last: int, shape: Shape) -> tuple[int, ...]:
        """Tokens of each piece of a row that is not empty."""
        rest = shape.tokens - int(self.starts[last] - self.starts[first])
        return (*self.lengths[first:last], *([rest] if rest else []))

    def pack(self, first: int, last: int, shape: Shape, label_tokens: int) -> np.ndarray:
        """Samples `first` to `last` - 1 as one int32 array for `row_of`; each loss weighs 1 / label_tokens.

        shape: of at least these samples' own size, with `samples` of at least last - first; label_tokens: of
        the whole step, so that micro-batches add up to its mean.
        """
        made = np.zeros(packed_size(shape), dtype=np.int32)
        ids, positions, place, bounds, scored, targets, weights = (
            made[start : start + size] for start, size in _layout(shape)
        )
        start, stop = int(self.starts[first]), int(self.starts[last])
        at = slice(int(self.scored_before[first]), int(self.scored_before[last]))
        tokens, count = stop - start, at.stop - at.start
        ids[:tokens] = self.ids[start:stop]
        positions[:tokens] = self.positions[start:stop]
        scored[:count] = self.scored[at] - start
        targets[:count] = self.targets[at]
        weights.view(np.float32)[:count] = 1 / label_tokens
        # `place` turns "which tokens are scored" round: gradients are then gathered, never scattered
        place[:] = shape.scored
        place[scored[:count]] = np.arange(count)
        bounds[: last - first + 1] = self.starts[first : last + 1] - start
        bounds[last - first + 1 : -1] = tokens  # a step may be short of samples
        bounds[-1] = shape.tokens
        return made


def _layout(shape: Shape) -> list[tuple[int, int]]:
    """Start and size of ids, positions, place, bounds, scored, targets, weights in a packed row."""
    sizes = (shape.tokens,) * 3 + (shape.samples + 2,) + (shape.scored,) * 3
    starts = np.cumsum([0, *(_aligned(size) for size in sizes[:-1])])
    return [(int(start), size) for start, size in zip(starts, sizes, strict=True)]


def _aligned(count: int) -> int:
    return -(-count // _ALIGNED) * _ALIGNED

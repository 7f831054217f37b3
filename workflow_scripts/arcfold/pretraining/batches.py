"""Batches for training a base model: tasks in random views, written as tokens, packed without padding.

Every draw is made when a batch is read: task, pairs and their order, symmetry, colours. A batch depends
on the seed, its number and the rank alone, so a training goes on where it stopped, on any machine.

A sample is written by arithmetic on whole arrays, never token by token: a grid in any symmetry is a base
address and two strides into the shard's cells, and every token of a batch finds its grid, row and
column from its own index.

The text format is the embedded one, with the ids of its tokenizer.

A task of two pairs, [1 2] -> [2] and [3 4 / 5 6] -> [3], as a sample of 19 tokens in a batch of 24, written as
it stands; / is a row's end, E an output's, . padding (symmetry 1, a mirror, would write I 2 1 / O 2 / E I 4 3 / ...):

    ids         I 1 2 / O 2 / E I 3 4 / 5 6 / O 3 / E . . . . .
    targets     1 2 / O 2 / E I 3 4 / 5 6 / O 3 / E . . . . . .
    kinds       0 0 0 0 2 2 2 3 3 3 3 3 3 3 3 1 1 1 0 0 0 0 0 0
    positions   0 to 18, then 0 to 4: padding is a sample of its own
    bounds      0 19 24 24
    by_grids    of the second I grid 3, row 0, column 0; of the / behind 5 6 grid 3, row 2, column 2; of padding 0

Shapes: T tokens of a batch, G grids of a batch, S samples of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from arcfold.arc.tasks import N_COLOURS
from arcfold.jobs.files import InputError
from arcfold.models.positions import ONE_GRID, ONE_ROW
from arcfold.pretraining.shards import Shard

NEWLINE, INPUT, OUTPUT, END, PAD = 10, 11, 12, 13, 14
VOCABULARY = 16

GRID_TOKENS = {"cells": list(range(N_COLOURS)), "row_end": [NEWLINE], "opening": [INPUT, OUTPUT]}
"""What `text.Codec.grid_tokens` gives for these ids."""

NO_LOSS, LATER_OUTPUT, FIRST_OUTPUT, LATER_INPUT = range(4)
"""What a token's target is, for the loss: nothing, or a token of an output behind the first pair, of the
first pair's output (nothing before it explains it), or of an input behind the first pair."""

TRANSPOSE, UPSIDE_DOWN, MIRROR = 4, 2, 1
"""A symmetry of the square is a number from 0 to 7: mirror, then turn upside down, then transpose."""

PAIRS = {2: 1.0, 3: 2.0, 4: 3.0, 5: 2.0, 6: 1.5, 7: 0.75, 8: 0.75}
"""Numbers of pairs in a sample and how often each is drawn; most ARC tasks have 3 + 1."""


@dataclass(frozen=True)
class BatchSettings:
    """How batches are drawn."""

    tokens: int = 131072
    """Tokens of a batch: all samples one after the other, and padding at the end."""
    longest: int = 8192
    """Tokens of a sample: pairs that do not fit are left out, down to two."""
    output_symmetry: float = 0.0
    """Share of samples whose outputs are turned by a symmetry of their own: another rule, made of two."""
    upscale: float = 0.0
    """Share of samples whose cells are squares of 2 × 2 or 3 × 3, where they fit."""
    seed: int = 0


class Batch(NamedTuple):
    """A batch of T tokens."""

    ids: np.ndarray
    """(T,) uint8 tokens."""
    targets: np.ndarray
    """(T,) uint8: the token behind each one; PAD behind a sample's last."""
    kinds: np.ndarray
    """(T,) uint8: NO_LOSS, LATER_OUTPUT, FIRST_OUTPUT or LATER_INPUT of each target."""
    positions: np.ndarray
    """(T,) int32: place in its sample."""
    by_grids: np.ndarray
    """(T,) int64: position by grids in its sample (`models.positions`); 0 for padding."""
    bounds: np.ndarray
    """(2 most_samples(T) + 2,) int32: where each sample begins, each 512 tokens of padding too; T from there on."""


_PIECE = 512


def most_samples(tokens: int) -> int:
    """How many samples a batch holds at most: one for every 512 tokens."""
    return max(tokens // _PIECE, 1)


@dataclass(frozen=True)
class Sample:
    """A task in a view: what is written of it."""

    grids: np.ndarray
    """(2 pairs,): indices of the store's grids, inputs and outputs in turn."""
    symmetry: int
    colours: np.ndarray
    """(10,) uint8: the new colour of each old one."""
    output_symmetry: int = 0
    scale: int = 1
    tokens: int = 0


class Store:
    """Several shards as one: their grids, and their tasks by corpus."""

    def __init__(self, shards: Sequence[Shard], weights: Mapping[str, float], last_pairs_hidden: int = 0) -> None:
        """weights: how often a corpus is drawn from, relative to the others.
        last_pairs_hidden: so many pairs of each task, the last ones, are never drawn

        Raises InputError if a shard has no weight.
        """
        for shard in shards:
            if shard.name not in weights:
                raise InputError(f"mixture: no weight for corpus {shard.name}, expected one for each")
        # one shard stays where it lies; several are put behind each other, each on a whole byte
        self.cells = shards[0].cells if len(shards) == 1 else np.concatenate([shard.cells for shard in shards])
        offsets = np.cumsum([0, *(2 * len(shard.cells) for shard in shards)])
        self.starts = np.concatenate([shard.starts + offset for shard, offset in zip(shards, offsets, strict=False)])
        self.shapes = np.concatenate([shard.shapes for shard in shards]).astype(np.int64)
        pairs = np.cumsum([0, *(int(shard.first_pair[-1]) for shard in shards)])
        self.first_pair = [shard.first_pair + first for shard, first in zip(shards, pairs, strict=False)]
        self.names = [shard.name for shard in shards]
        self.task_ids = [shard.tasks for shard in shards]
        self.last_pairs_hidden = last_pairs_hidden
        # running sums: a corpus is drawn by looking where a number from 0 to 1 falls
        share = np.array([weights[name] for name in self.names])
        if share.min() < 0 or not share.sum():
            raise InputError("mixture: expected weights of 0 or more, and one above 0")
        self.until = np.cumsum(share / share.sum())

    def lengths(self, grids: np.ndarray, scale: int = 1, transposed: bool = False) -> np.ndarray:
        """Tokens of each grid, inputs and outputs in turn: marker, rows with their ends, and <eos> behind outputs."""
        rows, columns = self.shapes[grids].T * scale
        if transposed:
            rows, columns = columns, rows
        length: np.ndarray = 1 + rows * (columns + 1)
        length[1::2] += 1
        return length

    def pairs_of(self, corpus: int, task: int) -> range:
        """The pairs of a task, but hidden ones: grids 2 k and 2 k + 1 for each k."""
        first = self.first_pair[corpus]
        return range(int(first[task]), int(first[task + 1]) - self.last_pairs_hidden)


class Batches:
    """The batches of a training, by number."""

    def __init__(
        self, store: Store, settings: BatchSettings, rank: int = 0, pairs: Mapping[int, float] | None = None
    ) -> None:
        if settings.tokens < 2 * settings.longest and settings.tokens != settings.longest:
            raise InputError(
                f"batches: {settings.tokens} tokens, expected as many as the longest sample "
                f"({settings.longest}) or at least twice as many"
            )
        self.store, self.settings, self.rank = store, settings, rank
        table = dict(PAIRS if pairs is None else pairs)
        self._counts = np.array(list(table))
        self._until = np.cumsum(np.array(list(table.values())) / sum(table.values()))

    def __getitem__(self, number: int) -> Batch:
        draws = np.random.default_rng([self.settings.seed, self.rank, number])
        samples: list[Sample] = []
        left, refused = self.settings.tokens, 0
        # a sample that does not fit whole is cut to the pairs that do; the last gap is filled with what fits of
        # a few more draws
        while refused < 8 and len(samples) < most_samples(self.settings.tokens) and left > 64:
            sample = self.draw(draws, min(left, self.settings.longest))
            if sample is None:
                refused += 1
                continue
            samples.append(sample)
            left -= sample.tokens
        return assemble(self.store, samples, self.settings.tokens)

    def draw(self, draws: np.random.Generator, room: int) -> Sample | None:
        """A random sample of at most `room` tokens; None if two pairs of the drawn task do not fit."""
        store, settings = self.store, self.settings
        corpus = int(np.searchsorted(store.until, draws.random(), side="right").clip(0, len(store.until) - 1))
        task = int(draws.integers(len(store.task_ids[corpus])))
        pairs = store.pairs_of(corpus, task)
        wanted = int(
            self._counts[np.searchsorted(self._until, draws.random(), side="right").clip(0, len(self._until) - 1)]
        )
        chosen = pairs.start + _draw_distinct(draws, len(pairs), wanted)
        symmetry = int(draws.integers(8))
        # made while the batch is read, these cost the shards nothing: more tasks out of the same cells
        extra, scale = 0, 1
        if draws.random() < settings.output_symmetry:
            extra = int(draws.integers(1, 8))
        if draws.random() < settings.upscale:
            scale = int(draws.integers(2, 4))
        colours = draws.permutation(N_COLOURS).astype(np.uint8)
        grids = np.stack([2 * chosen, 2 * chosen + 1], axis=1).ravel()
        if scale * int(store.shapes[grids].max()) > 30:
            scale = 1
        turned = bool(symmetry & TRANSPOSE)
        # pairs are kept from the front while they fit, by their lengths as they will be written
        lengths = store.lengths(grids, scale, turned)
        if extra & TRANSPOSE:
            lengths[1::2] = store.lengths(grids, scale, not turned)[1::2]
        total = np.cumsum(lengths[::2] + lengths[1::2])
        kept = int(np.searchsorted(total, room, side="right"))
        if kept < 2:
            return None
        return Sample(grids[: 2 * kept], symmetry, colours, extra, scale, int(total[kept - 1]))


def _draw_distinct(draws: np.random.Generator, count: int, wanted: int) -> np.ndarray:
    """`wanted` different numbers below `count`, or all of them, in random order."""
    if count <= 4 * wanted:
        return draws.permutation(count)[:wanted]
    while True:
        chosen = draws.integers(count, size=wanted)
        if len(set(chosen.tolist())) == wanted:
            return chosen


def assemble(store: Store, samples: Sequence[Sample], tokens: int) -> Batch:
    """The samples as T = `tokens` tokens. Raises InputError if they are more."""
    grids = np.concatenate([sample.grids for sample in samples])
    sizes = [len(sample.grids) for sample in samples]
    of_sample = np.repeat(np.arange(len(samples)), sizes)
    place = np.arange(len(grids)) - np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    scale = np.array([sample.scale for sample in samples])[of_sample]
    symmetry = np.array([sample.symmetry for sample in samples])[of_sample]
    own = np.array([sample.output_symmetry for sample in samples])[of_sample]
    is_output = (place & 1).astype(bool)

    # (G,) arrays: an output's own symmetry first, then the sample's, as strides into the cells
    base, rows, columns = store.starts[grids], store.shapes[grids, 0], store.shapes[grids, 1]
    view = _turned((base, columns, np.ones_like(columns), rows, columns), np.where(is_output, own, 0))
    base, down, right, rows, columns = _turned(view, symmetry)
    rows, columns = rows * scale, columns * scale
    lengths = 1 + rows * (columns + 1) + is_output
    total = int(lengths.sum())
    if total > tokens:
        raise InputError(f"batches: samples of {total} tokens for a batch of {tokens}")

    # (T',) arrays from here on: each token finds its grid, and its row and column from its offset there
    grid_of = np.repeat(np.arange(len(grids), dtype=np.int32), lengths)  # (T',) T' without the padding
    starts = np.cumsum(lengths) - lengths
    offset = (np.arange(total, dtype=np.int32) - starts.astype(np.int32)[grid_of]) - 1  # -1 at the marker
    width = (columns + 1).astype(np.int32)[grid_of]
    row = offset // width
    column = offset - row * width
    if (scale > 1).any():
        cell_row, cell_column = row // scale[grid_of], column // scale[grid_of]
    else:
        cell_row, cell_column = row, column
    in_rows = (offset >= 0) & (row < rows.astype(np.int32)[grid_of])  # cells and row ends
    is_cell = in_rows & (column < width - 1)
    # two cells in a byte, the first in the lower half
    source = np.where(is_cell, base[grid_of] + cell_row * down[grid_of] + cell_column * right[grid_of], 0)
    colour = (store.cells[source >> 1] >> ((source & 1) << 2).astype(np.uint8)) & 15
    palettes = np.concatenate([sample.colours for sample in samples])
    painted = palettes[of_sample.astype(np.int32)[grid_of] * N_COLOURS + colour]

    ids = np.full(tokens, PAD, np.uint8)
    ids[:total] = np.where(is_cell, painted, NEWLINE)
    ids[starts] = np.where(is_output, OUTPUT, INPUT)
    ids[(starts + lengths - 1)[is_output]] = END

    by_grids = np.zeros(tokens, np.int64)
    by_grids[:total] = ((1 + place) * ONE_GRID)[grid_of] + np.where(in_rows, (1 + row) * ONE_ROW + column, 0)

    # what each token is, as the target of the one before it: an input's rows up to and including the
    # marker that ends them, an output's rows and what ends them
    kind_of_grid = np.where(is_output, np.where(place == 1, FIRST_OUTPUT, LATER_OUTPUT), LATER_INPUT)
    kind_of_grid[place == 0] = NO_LOSS
    kind = np.zeros(tokens + 1, np.uint8)
    kind[:total] = kind_of_grid.astype(np.uint8)[grid_of]
    kind[starts[is_output]] = np.where(place[is_output] == 1, NO_LOSS, LATER_INPUT)
    first_tokens = starts[place == 0]
    kind[first_tokens] = NO_LOSS

    targets = np.full(tokens, PAD, np.uint8)
    targets[:-1] = ids[1:]
    targets[first_tokens[1:] - 1] = PAD
    # attention is quadratic in a piece, so padding is cut into short ones
    begins = np.concatenate([first_tokens, np.arange(total, tokens, _PIECE)])
    bounds = np.full(2 * most_samples(tokens) + 2, tokens, np.int32)
    bounds[: len(begins)] = begins
    positions = np.arange(tokens, dtype=np.int32)
    positions -= np.repeat(begins, np.diff(np.append(begins, tokens))).astype(np.int32)
    return Batch(ids, targets, kind[1:], positions, by_grids, bounds)


_View = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""(G,) each: address of the first cell, its distance to the cell below and to the right, rows, columns."""


def _turned(view: _View, symmetry: np.ndarray) -> _View:
    """Each grid's view turned by its symmetry, (G,): the strides change, the cells stay."""
    base, down, right, rows, columns = view
    mirror, flip, transpose = ((symmetry & bit).astype(bool) for bit in (MIRROR, UPSIDE_DOWN, TRANSPOSE))
    base = base + np.where(mirror, (columns - 1) * right, 0) + np.where(flip, (rows - 1) * down, 0)
    right, down = np.where(mirror, -right, right), np.where(flip, -down, down)
    return (
        base,
        np.where(transpose, right, down),
        np.where(transpose, down, right),
        np.where(transpose, columns, rows),
        np.where(transpose, rows, columns),
    )

"""The living prefixes of many queries, decoded step by step without leaving the device.

A row is a living prefix. A step runs the last token of every row, compares every successor's
probability with the threshold, and puts the successors that pass in the place of the rows, all in
tensors of fixed shape: on a GPU it is one CUDA graph, and the host looks only after some steps.
While they run it may do other things, but neither add rows nor move the pool.
A step that would not fit (too many successors, no room for finished replies or in the pool)
changes nothing and neither do those after it, until the host has made room.

Shapes: R rows of a step (a few fixed numbers), V vocabulary; the others as in `stepping`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from arcfold import kernels
from arcfold.fused_layers import PooledPass
from arcfold.pool import PoolDecoder
from arcfold.stepping import HOLD, Prepared, Queries, Rows, State, Threshold, advance, prepare

SMALLEST = 32
"""Rows of the smallest step; the others are powers of 2 above it."""
LANES = 512
"""Rows that there is memory for from the start: more of it is other memory, which recorded steps do not know."""


@dataclasses.dataclass(frozen=True)
class NewRow:
    """A living prefix on its way to the device."""

    query: int
    tokens: tuple[int, ...]
    """At least one; the last is not in the pool yet."""
    log_prob: float
    slots: np.ndarray
    """Slots of the tokens before the last."""


@dataclasses.dataclass(frozen=True)
class Finished:
    """A reply that ended during the steps."""

    query: int
    tokens: tuple[int, ...]
    """With the end token."""
    log_prob: float


@dataclasses.dataclass(frozen=True)
class _Flight:
    """Steps that have begun, and functions that wait for what the device says of them."""

    rows: int
    first: int
    """The first slot that they may use."""
    stop: int
    """The slot behind the last that they may use."""
    numbers: Callable[[], np.ndarray]
    """(6 + 2 R + 3 F,) int64: counters; the rows' queries and depths; queries, depths and scores of finished replies"""
    margins: Callable[[], np.ndarray]
    texts: Callable[[], np.ndarray]
    """(F, W') tokens of the finished replies"""


class Frontier:
    """The rows on the device and the steps that move them on."""

    def __init__(
        self,
        decoder: PoolDecoder,
        longest: Sequence[int],
        threshold: Threshold,
    ) -> None:
        """`longest`: for each query the tokens that its reply has at most, the end included."""
        device = decoder.layout.device
        self._decoder = decoder
        self._device = device
        self._threshold = threshold
        self._width = max(longest)
        self.alive = np.zeros(0, dtype=np.int64)
        """(rows,) the query of each living row."""
        self._deepest = np.zeros(0, dtype=np.int64)
        """(rows,) tokens of prompt and prefix."""
        self._needed = 0
        self.tokens = 0
        """Tokens run so far."""
        queries = len(longest)
        self._open: set[int] = set()
        self._closed: set[int] = set()
        self._starts, self._lengths = np.zeros((2, queries), dtype=np.int64)
        """(queries,) where each query's prompt stands in the pool, and its tokens."""
        self._moved = False
        """Whether the device has not heard of some of them."""
        self._margins = np.full(queries, math.inf, dtype=np.float32)
        """The margins as they were after the last steps."""
        self._flight: _Flight | None = None
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self._graph_pool: Any = None
        self._generation = decoder.generation
        self._state = State(
            Rows.new(LANES, self._width, device),
            Rows.new(LANES + 1, self._width, device),
            Queries(
                torch.zeros(queries, dtype=torch.int64, device=device),
                torch.zeros(queries, dtype=torch.int64, device=device),
                torch.tensor(longest, dtype=torch.int64, device=device),
                torch.full((queries,), math.inf, device=device),
            ),
            torch.zeros(6, dtype=torch.int64, device=device),
        )

    def __len__(self) -> int:
        return len(self.alive)

    def _grow(self, rows: int) -> None:
        """Makes room for `rows` rows; the graphs know the old memory and go."""
        if rows <= len(self._state.rows.query):
            return
        grown = Rows.new(rows, self._width, self._device)
        for new, old in zip(grown, self._state.rows, strict=True):
            new[: len(self)] = old[: len(self)]
        done = Rows.new(rows + 1, self._width, self._device)  # the last place takes what nobody wants
        self._state = dataclasses.replace(self._state, rows=grown, done=done)
        self._forget_graphs()

    def open(self, query: int, start: int, length: int) -> None:
        """Tells where the prompt of a query stands in the pool, before its first row is added."""
        if query in self._open:
            return
        self._open.add(query)
        self._starts[query], self._lengths[query] = start, length
        self._moved = True
        if query in self._closed:  # it starts anew
            self._state.queries.margin[query] = math.inf

    def add(self, rows: Sequence[NewRow]) -> None:
        """Puts new rows behind the living ones. Their queries must be open, and no steps running."""
        self._check_idle()
        if self._moved:
            self._tell_prompts()
        count, total = len(self), len(self) + len(rows)
        self._grow(_rows_for(total))
        new = self._row_arrays(rows)
        for tensor, array in zip(self._state.rows.first(total), new, strict=True):
            _write(tensor[count:], array)
        query, _, depth, *_ = new
        self.alive = np.concatenate([self.alive, query])
        self._deepest = np.concatenate([self._deepest, self._lengths[query] + depth])
        self._needed = max(self._needed, total)

    def _row_arrays(self, rows: Sequence[NewRow]) -> tuple[np.ndarray, ...]:
        """The new rows as arrays, in the order of `Rows`."""
        text = np.zeros((len(rows), self._width), dtype=np.int32)
        table = np.zeros((len(rows), self._width), dtype=np.int32)
        for number, row in enumerate(rows):
            text[number, : len(row.tokens)] = row.tokens
            table[number, : len(row.slots)] = row.slots
        return (
            np.array([row.query for row in rows], dtype=np.int64),
            np.array([row.tokens[-1] for row in rows], dtype=np.int64),
            np.array([len(row.tokens) for row in rows], dtype=np.int64),
            np.array([row.log_prob for row in rows], dtype=np.float64),
            table,
            text,
        )

    def _tell_prompts(self) -> None:
        _write(self._state.queries.start, self._starts)
        _write(self._state.queries.length, self._lengths)
        self._moved = False

    def _check_idle(self) -> None:
        if self._flight is not None:
            raise ValueError("steps are running, expected none")

    def close(self, query: int) -> float:
        """Forgets a query and returns the smallest margin of its decisions here.

        Its living rows go too; if it has any, no steps may be running.
        """
        if query not in self._open:  # it never had a row
            return math.inf
        self._open.remove(query)
        self._closed.add(query)
        if (self.alive == query).any():
            self._check_idle()
            kept = np.flatnonzero(self.alive != query)
            where = torch.from_numpy(kept).to(self._device)
            for tensor in self._state.rows:
                tensor[: len(kept)] = tensor[where]
            self.alive, self._deepest = self.alive[kept], self._deepest[kept]
            self._needed = len(kept)
        return float(self._margins[query])

    def collect(self) -> None:
        """Moves together what open prompts and living rows use of the pool. No steps may be running."""
        self._check_idle()
        decoder, count = self._decoder, len(self)
        held = np.zeros(decoder.slots, dtype=bool)
        held[0] = True
        for query in self._open:
            held[self._starts[query] : self._starts[query] + self._lengths[query]] = True
        live = torch.from_numpy(held).to(self._device)
        place = torch.arange(self._width, device=self._device)
        row = self._state.rows.first(count)
        live[row.table[place < row.depth[:, None] - 1].long()] = True
        moved = decoder.compact(live)
        row.table.copy_(moved[row.table.long()])
        self._starts = moved.cpu().numpy()[self._starts]
        self._moved = True

    def begin(self, count: int) -> None:
        """Begins up to `count` steps of the living rows, of which there must be some, and does not wait for them.

        The slots that they may use, from the pool's first free one on, count as handed out until `settle`.
        """
        self._check_idle()
        decoder = self._decoder
        rows = _rows_for(max(len(self) + len(self) // 4, self._needed))
        self._grow(rows)
        deepest = _rows_for(int(self._deepest.max()) + count, kernels.PART // 2)
        state, first = self._state, decoder.used
        if self._moved:
            self._tell_prompts()
        _write(state.counters, np.array([len(self), 0, 0, first, 0, 0], dtype=np.int64))
        step = self._graph(rows, deepest)
        for _ in range(count):
            step()
        decoder.used += min(rows * count, decoder.free)
        row, done = state.rows.first(rows), state.done.first(len(state.done.query) - 1)
        width = int((self._deepest - self._lengths[self.alive]).max()) + count
        parts = [state.counters, row.query, row.depth, done.query, done.depth, done.score.view(torch.int64)]
        self._flight = _Flight(
            rows,
            first,
            decoder.used,
            decoder.fetch(torch.cat(parts)),
            decoder.fetch(state.queries.margin.clone()),
            decoder.fetch(done.text[:, :width].clone()),
        )

    def settle(self) -> list[Finished]:
        """Waits for the steps that have begun, if any have, and returns the replies that they finished."""
        flight, decoder = self._flight, self._decoder
        if flight is None:
            return []
        self._flight = None
        numbers = flight.numbers()
        self._margins = flight.margins()
        living, want, ended, used, *_ = numbers[: len(self._state.counters)].tolist()
        of_rows, of_done = np.split(numbers[len(self._state.counters) :], [2 * flight.rows])
        queries, depths = of_rows.reshape(2, flight.rows)[:, :living]
        self.tokens += used - flight.first
        if decoder.used == flight.stop:
            decoder.used = used
        else:  # others were handed out behind them
            decoder.garbage += flight.stop - used
        self._needed = want
        self.alive = queries
        self._deepest = self._lengths[queries] + depths
        return self._finished(ended, of_done.reshape(3, -1), flight.texts())

    def _finished(self, count: int, numbers: np.ndarray, texts: np.ndarray) -> list[Finished]:
        """The first `count` replies of (3, F) queries, depths and scores, the latter's bits, and texts (F, W')."""
        queries, depths, scores = numbers[:, :count]
        return [
            Finished(query, (*text[:depth].tolist(), self._threshold.end), score)
            for query, depth, score, text in zip(
                queries.tolist(), depths.tolist(), scores.view(np.float64).tolist(), texts[:count], strict=True
            )
        ]

    def _graph(self, rows: int, deepest: int) -> Callable[[], None]:
        """A function that does one step of `rows` rows whose texts have at most `deepest` tokens."""
        if not (self._device.type == "cuda" and kernels.has_triton(self._device)):
            return lambda: self._step(rows, deepest)
        if self._generation != self._decoder.generation:
            self._generation = self._decoder.generation
            self._forget_graphs()
        if (rows, deepest) not in self._graphs:
            self._graphs[rows, deepest] = self._record(rows, deepest)
        return self._graphs[rows, deepest].replay

    def _forget_graphs(self) -> None:
        self._graphs.clear()
        self._graph_pool = None  # the memory that graphs share goes with the last of them

    def _record(self, rows: int, deepest: int) -> torch.cuda.CUDAGraph:
        """Records one step; the run before it, which compiles kernels, is held from changing anything."""
        counters = self._state.counters
        before = counters.clone()
        counters[HOLD] = 1
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._step(rows, deepest)
        torch.cuda.current_stream().wait_stream(stream)
        counters.copy_(before)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._graph_pool):
            self._step(rows, deepest)
        self._graph_pool = graph.pool()
        return graph

    def _step(self, rows: int, deepest: int) -> None:
        """One step of the first `rows` rows."""
        state, decoder = self._state, self._decoder
        prepared = prepare(state, rows, decoder.slots)
        what = _FrontierPass(decoder, prepared, state.rows.table[:rows], deepest)
        log_probs = decoder.run(state.rows.token[:rows], prepared.position, 0, what)  # (R, V)
        advance(state, rows, decoder.slots, log_probs, self._threshold)


class _FrontierPass(PooledPass):
    """One step's attention: each row to its prompt, which it shares, and to its own slots."""

    def __init__(self, decoder: PoolDecoder, prepared: Prepared, table: torch.Tensor, deepest: int) -> None:
        self.slots = prepared.slot
        self._decoder = decoder
        self._rows = (prepared.start, prepared.length, table, prepared.depth, deepest)

    def pool(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._decoder.keys[layer], self._decoder.values[layer]

    def look(self, layer: int, query: torch.Tensor, scale: float) -> torch.Tensor:
        keys, values = self.pool(layer)
        return kernels.decode(query, keys, values, *self._rows, scale)


def _write(target: torch.Tensor, array: np.ndarray) -> None:
    """Copies an array into a tensor; to a GPU from pinned memory, so that the host need not wait."""
    source = torch.from_numpy(array)
    target.copy_(source.pin_memory() if target.is_cuda else source, non_blocking=True)


def _rows_for(count: int, smallest: int = SMALLEST) -> int:
    """The smallest power of 2 times `smallest` that is at least `count`."""
    return smallest << max(0, math.ceil(math.log2(max(1, count) / smallest)))

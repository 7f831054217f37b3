"""The living prefixes of many queries, decoded step by step without leaving the device.

A row is a living prefix. A step runs the last token of every row, compares every successor's
probability with the threshold, and puts the successors that pass in the place of the rows, all in
tensors of fixed shape: on a GPU it is one CUDA graph, and the host looks only after some steps.
While they run it may do other things, but neither add rows nor move the cache.
A step that would not fit (too many successors, no room for finished replies or in the cache)
changes nothing and neither do those after it, until the host has made room.

Example: the prompts A at slots 1-5 and B at slots 6-8, three rows, min_prob 0.1, end token 3; R = 32, V = 4.

    add      rows A (1) 0.6, A (2) 0.3, B (2) 0.9: each with its query, last token, depth 1 and no slots
    launch   counters (3 living, 0, 0, 9 slots used, 0, 0); a burst of 2 steps may use 2 * 32 slots from 9 on
      step 1   runs 1, 2, 2 at slots 9, 10, 11: log-probabilities (32, 4), 29 of the rows without meaning;
               the replies (1, 3), (2, 3) of A and (2, 3) of B end, (1, 0) 0.12 is the row of lane 0
      step 2   runs 0 at slot 12: the reply (1, 0, 3) ends, no row is left
    wait     counters (0 living, 0, 4 finished, 13 used, 0, 0): four replies, and the slots from 13 on are free again

Shapes: R rows of a step (a few fixed numbers), V vocabulary; the others as in `stepping`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from arcfold.search import kernels
from arcfold.search.fused_layers import SlotPass
from arcfold.search.gpu_cache import GpuDecoder
from arcfold.search.stepping import HOLD, Queries, Rows, State, StepInputs, Threshold, advance, prepare

MIN_ROWS = 32
"""Rows of the smallest step; the others are powers of 2 above it. Each size is a CUDA graph of its own: few sizes are
recorded once and used often, and lanes without a row cost little."""
INITIAL_ROWS = 512
"""Rows that there is memory for from the start: more of it is other memory, which recorded steps do not know."""


@dataclasses.dataclass(frozen=True)
class NewRow:
    """A living prefix on its way to the device."""

    query: int
    tokens: tuple[int, ...]
    """At least one; the last is not in the cache yet."""
    log_prob: float
    slots: np.ndarray
    """(tokens - 1,) slots of the tokens before the last."""
    position: int
    """Of the last token."""


@dataclasses.dataclass(frozen=True)
class Finished:
    """A reply that ended during the steps."""

    query: int
    tokens: tuple[int, ...]
    """With the end token."""
    log_prob: float


@dataclasses.dataclass(frozen=True)
class _InFlightSteps:
    """Steps that have begun, and functions that wait for what the device says of them."""

    rows: int
    """R."""
    first: int
    """The first slot that they may use."""
    stop: int
    """The slot behind the last that they may use."""
    numbers: Callable[[], np.ndarray]
    """(6 + 2 R + 3 F,) int64: counters; the rows' queries and depths; queries, depths and scores of finished replies"""
    margins: Callable[[], np.ndarray]
    """(Q,) fp32"""
    texts: Callable[[], np.ndarray]
    """(F, W') int32 tokens of the finished replies, W' as many as the deepest can have"""


class Frontier:
    """The rows on the device and the steps that move them on.

    `open` a query, `add` its rows, `launch` steps, `wait` for them; `compact` and `close` between two bursts.
    """

    def __init__(
        self,
        decoder: GpuDecoder,
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
        self._wanted_rows = 0
        self.tokens = 0
        """Tokens run so far, one for each row and step."""
        queries = len(longest)
        self._open: set[int] = set()
        self._closed: set[int] = set()
        self._starts, self._lengths = np.zeros((2, queries), dtype=np.int64)
        """(queries,) the first slot of each query's prompt, and its tokens."""
        self._prompts_changed = False
        """Whether the device has not heard of some of them. It is told before a launch, all at once."""
        self._margins = np.full(queries, math.inf, dtype=np.float32)
        """The margins as they were after the last steps."""
        self._in_flight: _InFlightSteps | None = None
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self._graph_pool: Any = None
        self._generation = decoder.generation
        self._state = State(
            Rows.new(INITIAL_ROWS, self._width, device),
            Rows.new(INITIAL_ROWS + 1, self._width, device),
            Queries(
                torch.zeros(queries, dtype=torch.int64, device=device),
                torch.zeros(queries, dtype=torch.int64, device=device),
                torch.tensor(longest, dtype=torch.int64, device=device),
                torch.full((queries,), math.inf, device=device),
            ),
            torch.zeros(6, dtype=torch.int64, device=device),
            None if decoder.rule.kinds is None else torch.from_numpy(decoder.rule.kinds).to(device, torch.int64),
        )

    def __len__(self) -> int:
        """Living rows."""
        return len(self.alive)

    def _grow(self, rows: int) -> None:
        """Makes room for `rows` rows; graphs that were captured know the old memory and go."""
        if rows <= len(self._state.rows.query):
            return
        grown = Rows.new(rows, self._width, self._device)
        for new, old in zip(grown, self._state.rows, strict=True):
            new[: len(self)] = old[: len(self)]
        done = Rows.new(rows + 1, self._width, self._device)  # the last place takes what nobody wants
        self._state = dataclasses.replace(self._state, rows=grown, done=done)
        self._forget_graphs()

    def open(self, query: int, start: int, length: int) -> None:
        """Tells where the prompt of a query stands in the cache, before its first row is added.

        start: its first slot; length: its tokens
        """
        if query in self._open:
            return
        self._open.add(query)
        self._starts[query], self._lengths[query] = start, length
        self._prompts_changed = True
        if query in self._closed:  # it starts anew
            self._state.queries.margin[query] = math.inf

    def add(self, rows: Sequence[NewRow]) -> None:
        """Puts new rows behind the living ones. Their queries must be open.

        Raises ValueError while steps are running.
        """
        self._check_idle()
        if self._prompts_changed:
            self._upload_prompts()
        count, total = len(self), len(self) + len(rows)
        self._grow(_bucket_size(total))
        new = self._row_arrays(rows)
        for tensor, array in zip(self._state.rows.first(total), new, strict=True):
            _upload(tensor[count:], array)
        query, _, depth, *_ = new
        self.alive = np.concatenate([self.alive, query])
        self._deepest = np.concatenate([self._deepest, self._lengths[query] + depth])
        self._wanted_rows = max(self._wanted_rows, total)

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
            np.array([row.position for row in rows], dtype=np.int64),
            np.array([row.log_prob for row in rows], dtype=np.float64),
            table,
            text,
        )

    def _upload_prompts(self) -> None:
        _upload(self._state.queries.start, self._starts)
        _upload(self._state.queries.length, self._lengths)
        self._prompts_changed = False

    def _check_idle(self) -> None:
        if self._in_flight is not None:
            raise ValueError("steps are running, expected none")

    def close(self, query: int) -> float:
        """Forgets a query and returns the smallest margin of its decisions here, infinite if there were none.

        Its living rows go too. Raises ValueError if it has any while steps are running.
        """
        if query not in self._open:  # it never had a row
            return math.inf
        self._open.remove(query)
        self._closed.add(query)
        if (self.alive == query).any():
            self._check_idle()
            kept = np.flatnonzero(self.alive != query)
            # Close together, in the same order: the first rows are the living ones, for every step of the device.
            where = torch.from_numpy(kept).to(self._device)
            for tensor in self._state.rows:
                tensor[: len(kept)] = tensor[where]
            self.alive, self._deepest = self.alive[kept], self._deepest[kept]
            self._wanted_rows = len(kept)
        return float(self._margins[query])

    def compact(self) -> None:
        """Moves together what open prompts and living rows use of the cache.

        Raises ValueError while steps are running.
        """
        self._check_idle()
        decoder, count = self._decoder, len(self)
        held = np.zeros(decoder.slots, dtype=bool)
        held[0] = True
        for query in self._open:
            held[self._starts[query] : self._starts[query] + self._lengths[query]] = True
        live = torch.from_numpy(held).to(self._device)
        place = torch.arange(self._width, device=self._device)
        row = self._state.rows.first(count)
        # The last token of a row has no slot yet: the step that runs it gives it one.
        live[row.table[place < row.depth[:, None] - 1].long()] = True
        moved = decoder.compact(live)
        row.table.copy_(moved[row.table.long()])
        self._starts = moved.cpu().numpy()[self._starts]
        self._prompts_changed = True

    def launch(self, count: int) -> None:
        """Begins up to `count` steps of the living rows, of which there must be some, and does not wait for them.

        The slots that they may use, from the first free one on, count as handed out until `wait`.
        Raises ValueError while steps are running.
        """
        self._check_idle()
        decoder = self._decoder
        # A quarter more than are alive: a burst in which rows branch is not held up at once. What the last burst wanted
        # and did not get is known exactly.
        rows = _bucket_size(max(len(self) + len(self) // 4, self._wanted_rows))
        self._grow(rows)
        # The longest row decides into how many parts attention cuts the keys. Rounded up, so that few graphs serve all.
        deepest = _bucket_size(int(self._deepest.max()) + count, kernels.PART // 2)
        state, first = self._state, decoder.used
        if self._prompts_changed:
            self._upload_prompts()
        _upload(state.counters, np.array([len(self), 0, 0, first, 0, 0], dtype=np.int64))
        step = self._graph(rows, deepest)
        # A burst: nothing here waits, so the device goes from step to step without the host. Steps after the last row
        # has ended find none and change nothing.
        for _ in range(count):
            step()
        decoder.used += min(rows * count, decoder.free_slots)
        row, done = state.rows.first(rows), state.done.first(len(state.done.query) - 1)
        width = int((self._deepest - self._lengths[self.alive]).max()) + count
        parts = [state.counters, row.query, row.depth, done.query, done.depth, done.score.view(torch.int64)]
        # Copies of what the host wants to know: the next burst may begin before it has read them.
        self._in_flight = _InFlightSteps(
            rows,
            first,
            decoder.used,
            decoder.to_host(torch.cat(parts)),
            decoder.to_host(state.queries.margin.clone()),
            decoder.to_host(done.text[:, :width].clone()),
        )

    def wait(self) -> list[Finished]:
        """Waits for the steps that have begun, if any have, and returns the replies that they finished.

        Raises InputError where a step's log-probabilities were NaN.
        """
        in_flight, decoder = self._in_flight, self._decoder
        if in_flight is None:
            return []
        self._in_flight = None
        numbers = in_flight.numbers()
        self._margins = in_flight.margins()
        if (self._margins < 0).any():
            raise decoder.not_finite("search")
        living, want, ended, used, *_ = numbers[: len(self._state.counters)].tolist()
        of_rows, of_done = np.split(numbers[len(self._state.counters) :], [2 * in_flight.rows])
        queries, depths = of_rows.reshape(2, in_flight.rows)[:, :living]
        self.tokens += used - in_flight.first
        # Slots that the steps did not use are free again, unless a prompt was put behind them meanwhile.
        if decoder.used == in_flight.stop:
            decoder.used = used
        else:  # others were handed out behind them
            decoder.garbage += in_flight.stop - used
        self._wanted_rows = want
        self.alive = queries
        self._deepest = self._lengths[queries] + depths
        return self._finished(ended, of_done.reshape(3, -1), in_flight.texts())

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
        """A function that does one step of `rows` rows whose texts have at most `deepest` tokens.

        On a GPU it replays a CUDA graph: a step of a small model is many kernels of a few microseconds each, and
        launched one by one they would wait for the host.
        """
        if not (self._device.type == "cuda" and kernels.has_triton(self._device)):
            return lambda: self._step(rows, deepest)
        if self._generation != self._decoder.generation:
            self._generation = self._decoder.generation
            self._forget_graphs()
        if (rows, deepest) not in self._graphs:
            self._graphs[rows, deepest] = self._capture(rows, deepest)
        return self._graphs[rows, deepest].replay

    def _forget_graphs(self) -> None:
        self._graphs.clear()
        self._graph_pool = None  # the memory that graphs share goes with the last of them

    def _capture(self, rows: int, deepest: int) -> torch.cuda.CUDAGraph:
        """Captures one step; the run before it, which compiles kernels, is held from changing anything."""
        # With HOLD set a step runs as ever and leaves rows, replies and used slots as they are. What it writes to the
        # cache lies in slots that are not handed out yet. Capturing itself runs nothing.
        counters = self._state.counters
        before = counters.clone()
        counters[HOLD] = 1
        # torch asks for a warm-up on a stream other than the current one before a capture.
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
        """One step of the first `rows` rows: prepare, the model's pass, advance. Nothing here looks at a value."""
        state, decoder = self._state, self._decoder
        inputs = prepare(state, rows, decoder.slots)
        what = _DecodePass(decoder, inputs, state.rows.table[:rows], deepest)
        # A row is a token: (1, R) ids, and the logits of all of them.
        log_probs = decoder.run(state.rows.token[:rows], inputs.position, 0, what)  # (R, V)
        advance(state, rows, decoder.slots, log_probs, self._threshold)


class _DecodePass(SlotPass):
    """One step's attention: each row to its prompt, which it shares, and to its own slots."""

    def __init__(self, decoder: GpuDecoder, inputs: StepInputs, table: torch.Tensor, deepest: int) -> None:
        self.slots = inputs.slot
        self._decoder = decoder
        self._rows = (inputs.start, inputs.length, table, inputs.depth, deepest)

    def kv_cache(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._decoder.keys[layer], self._decoder.values[layer]

    def attend_cached(self, layer: int, query: torch.Tensor, scale: float) -> torch.Tensor:
        keys, values = self.kv_cache(layer)
        return kernels.decode(query, keys, values, *self._rows, scale)


def _upload(target: torch.Tensor, array: np.ndarray) -> None:
    """Copies an array into a tensor; to a GPU from pinned memory, so that the host need not wait."""
    source = torch.from_numpy(array)
    target.copy_(source.pin_memory() if target.is_cuda else source, non_blocking=True)


def _bucket_size(count: int, smallest: int = MIN_ROWS) -> int:
    """The smallest power of 2 times `smallest` that is at least `count`."""
    return smallest << max(0, math.ceil(math.log2(max(1, count) / smallest)))

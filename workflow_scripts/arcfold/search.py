"""All replies that a model gives at least some probability, for many prompts at once.

Prefixes of equal length are disjoint events, so at most 1 / min_prob prefixes of a prompt can be
alive at any depth: going level by level finds every reply in as many steps as the longest has
tokens, with the living prefixes of many prompts in every forward pass. A draft is a guess of a
whole reply; one pass over it gives every probability along it, and only prefixes that leave it
with enough probability are decoded token by token.

Shapes: B outputs of a pass (living prefixes, and every token along a draft), V vocabulary.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from arcfold.decoding import Segment, chain, open_decoder
from arcfold.frontier import Frontier, NewRow
from arcfold.pool import PoolDecoder, decoder_kind
from arcfold.stepping import Threshold

BURST = 16
"""Steps that a GPU takes before the host looks at what came of them."""


@dataclass(frozen=True)
class Query:
    """A prompt whose replies are searched."""

    prompt: tuple[int, ...]
    longest: int
    """Tokens that a reply has at most, its end token included."""


@dataclass(frozen=True)
class Reply:
    """A reply, which ends with the end token, and the natural logarithm of its probability."""

    tokens: tuple[int, ...]
    log_prob: float


@dataclass(frozen=True)
class Found:
    """What the search found for one query."""

    replies: tuple[Reply, ...]
    """All with probability of at least min_prob, sorted by (-log_prob, tokens)."""
    margin: float
    """How near a decision was: the smallest |log p(prefix) - log min_prob| over all prefixes judged.
    Where it is above the noise of the number type, another exact search finds the same replies."""


@dataclass(frozen=True)
class Progress:
    """How far a search is, for a progress bar."""

    done: int
    """Queries whose search is over."""
    replies: int
    """Replies found for them."""
    tokens: int
    """Tokens run so far, prompts included."""
    passes: int
    """Forward passes so far."""


Drafts = Callable[[int, Reply], Iterable[tuple[int, tuple[int, ...]]]]


def search(
    model: torch.nn.Module,
    queries: Sequence[Query],
    *,
    end: int,
    min_prob: float,
    drafts: Drafts | None = None,
    groups: Sequence[Hashable] | None = None,
    memory_budget: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    engine: str | None = None,
) -> list[Found]:
    """For each query, all replies y ending in `end` within its `longest` with p(y | prompt) >= min_prob.

    `model` is a transformers causal language model (or a PeftModel with LoRA) in eval mode on its
    device; log-probabilities are its log-softmax in fp32, over the whole vocabulary, summed in fp64.

    `drafts(query, reply)` is called for each reply when it is found and yields guesses
    `(other query, tokens)`; they change the speed, never the replies. `groups[i]` names queries
    that draft for each other: of a group only a few start, the others follow once there is a draft.

    `memory_budget`: bytes for keys and values, all queries together; None finds one. A query that
    needs more is run all the same, alone. The same call gives the same bytes on the same device.

    `engine`: "arenas" (on a CPU) or "pool" (on a GPU); None takes the one for the model's device.

    Raises ValueError for wrong arguments, InputError for a model that can't be searched this way.
    """
    _check(queries, min_prob, groups)
    if not queries:
        return []
    longest = max(len(query.prompt) + query.longest for query in queries)
    waiting = _Waiting(queries, None if drafts is None else groups)
    with open_decoder(model, longest, decoder_kind(model, engine), memory_budget) as decoder:
        kind = _PoolSearch if isinstance(decoder, PoolDecoder) else _Search
        return kind(decoder, queries, end, math.log(min_prob), drafts, waiting, progress).run()


def _check(queries: Sequence[Query], min_prob: float, groups: Sequence[Hashable] | None) -> None:
    if not 0 < min_prob <= 1:
        raise ValueError(f"min_prob is {min_prob}, expected a number above 0 and at most 1")
    if groups is not None and len(groups) != len(queries):
        raise ValueError(f"{len(groups)} groups for {len(queries)} queries, expected one for each")
    for number, query in enumerate(queries):
        if not query.prompt or query.longest < 1:
            raise ValueError(f"query {number}: expected a prompt of at least one token and longest of at least 1")


@dataclass(eq=False)
class _Prefix:
    """A living prefix of a reply."""

    tokens: tuple[int, ...]
    log_prob: float
    pending: tuple[int, ...]
    """Its last tokens, which are not in the arena yet."""
    seen: np.ndarray
    """(n,) True for the places of the arena that it builds on; later places count as False."""
    guess: tuple[int, ...] = ()
    """How it might go on."""


@dataclass(eq=False)
class _Run:
    """A query that is being searched."""

    number: int
    query: Query
    arena: Any
    prefixes: list[_Prefix]
    reserved: int
    """Tokens that its arena is expected to need."""
    drafts: list[tuple[float, tuple[int, ...]]]
    """(-log-probability where it was found, tokens without the end), sorted."""
    replies: list[Reply] = field(default_factory=list)
    margin: float = math.inf

    def guess_for(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """The rest of the first draft that begins with `tokens`, cut to the longest reply."""
        depth = len(tokens)
        for _, draft in self.drafts:
            if len(draft) > depth and draft[:depth] == tokens:
                return draft[depth : self.query.longest - 1]
        return ()


class _Waiting:
    """Which query starts next: the longest prompt of those that may start.

    Without groups all may. With groups one query of each may start, and if none of those that
    started has found a reply, then twice as many, until there is a draft for all the rest.
    """

    def __init__(self, queries: Sequence[Query], groups: Sequence[Hashable] | None) -> None:
        self._key = [(-len(query.prompt), number) for number, query in enumerate(queries)]
        self._group = list(range(len(queries))) if groups is None else list(groups)
        self._ready: list[tuple[int, int]] = []
        self._held: dict[Hashable, list[tuple[int, int]]] = {}
        for key in sorted(self._key):
            self._held.setdefault(self._group[key[1]], []).append(key)
        self._started: dict[Hashable, int] = {}
        self._unfinished: dict[Hashable, int] = {}
        for group in list(self._held):
            self._release(group, 1)

    def __bool__(self) -> bool:
        return bool(self._ready)

    def first(self) -> int:
        return self._ready[0][1]

    def take(self) -> int:
        return self._ready.pop(0)[1]

    def put_back(self, number: int) -> None:
        bisect.insort(self._ready, self._key[number])

    def found(self, number: int) -> None:
        """A query of this group found a reply: the others have a draft."""
        group = self._group[number]
        self._release(group, len(self._held.get(group, ())))

    def finished(self, number: int) -> None:
        group = self._group[number]
        self._unfinished[group] -= 1
        if self._unfinished[group] == 0:
            self._release(group, 2 * self._started[group])

    def _release(self, group: Hashable, count: int) -> None:
        held = self._held.get(group, [])
        released, self._held[group] = held[:count], held[count:]
        self._started[group] = self._started.get(group, 0) + len(released)
        self._unfinished[group] = self._unfinished.get(group, 0) + len(released)
        for key in released:
            bisect.insort(self._ready, key)


@dataclass(frozen=True)
class _Chunk:
    """What one output block of a pass belongs to: a prefix and the guess that was run behind it."""

    run: _Run
    prefix: _Prefix
    start: int
    """Place of the first pending token in the arena."""

    @property
    def outputs(self) -> int:
        return 1 + len(self.prefix.guess)

    def only_end(self) -> np.ndarray:
        """For each output whether the reply has only room for the end token."""
        depth = len(self.prefix.tokens) + np.arange(self.outputs)
        return depth + 1 == self.run.query.longest


class _Search:
    """The state of one call of `search`; on a CPU, where every prefix is run in the same kind of pass."""

    def __init__(
        self,
        decoder: Any,
        queries: Sequence[Query],
        end: int,
        log_min: float,
        drafts: Drafts | None,
        waiting: _Waiting,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.decoder = decoder
        self.queries = queries
        self.end = end
        self.log_min = log_min
        self.drafts = drafts
        self.waiting = waiting
        self.progress = progress
        self.running: list[_Run] = []
        self.found: dict[int, Found] = {}
        self.proposed: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in queries]
        self.reserved = [len(query.prompt) + query.longest for query in queries]
        self.replies = self.tokens = self.passes = 0

    def run(self) -> list[Found]:
        while self.waiting or self.running:
            self._admit()
            self._advance()
            self._finish()
            if self.progress is not None:
                self.progress(Progress(len(self.found), self.replies, self.tokens, self.passes))
        return [self.found[number] for number in range(len(self.queries))]

    def _advance(self) -> None:
        """Takes the running queries a level further, or more."""
        self._pass()
        # The arenas may have grown over the budget: the youngest queries go back and start anew later.
        while len(self.running) > 1 and sum(run.arena.bytes for run in self.running) > self.decoder.budget:
            self._send_back()

    def _admit(self) -> None:
        """Starts queries for as long as what they are expected to need fits the budget."""
        used = sum(map(self._expected, self.running))
        while self.waiting:
            number = self.waiting.first()
            used += self.reserved[number] * self.decoder.layout.token_bytes
            if self.running and (used > self.decoder.budget or not self._has_room(number)):
                return
            self.running.append(self._start(self.waiting.take()))

    def _expected(self, run: _Run) -> int:
        """Bytes that a running query has or is expected to need."""
        return max(run.arena.bytes, run.reserved * self.decoder.layout.token_bytes)

    def _has_room(self, number: int) -> bool:
        """Whether a query that fits the budget can start at once."""
        return True

    def _start(self, number: int) -> _Run:
        query = self.queries[number]
        arena = self.decoder.arena(self._capacity(number))
        run = _Run(number, query, arena, [], self.reserved[number], self._drafts_of(number))
        run.prefixes.append(_Prefix((), 0.0, query.prompt, np.zeros(0, dtype=bool), run.guess_for(())))
        return run

    def _drafts_of(self, number: int) -> list[tuple[float, tuple[int, ...]]]:
        """The drafts that a query is run with; the list still grows while it runs."""
        return self.proposed[number]

    def _capacity(self, number: int) -> int:
        """Tokens that a query's arena holds before it has to grow."""
        query = self.queries[number]
        drafted = max([64, *(len(tokens) for _, tokens in self.proposed[number])])
        return len(query.prompt) + min(query.longest, drafted)

    def _pass(self) -> None:
        """One forward pass over pending tokens and guesses, and the prefixes that come of it."""
        segments: list[Segment] = []
        chunks: list[_Chunk] = []
        room = self.decoder.pass_tokens
        for run in self.running:
            size = sum(len(prefix.pending) + len(prefix.guess) for prefix in run.prefixes)
            if not size or (segments and size > room):
                continue
            room -= size
            self._compact(run, size)
            made, of_run = _segments(run)
            segments += made
            chunks += of_run
            run.prefixes = []
        self.passes += 1
        self.tokens += sum(len(segment.tokens) for segment in segments)
        self._judge(chunks, self.decoder.log_probs(segments))

    def _compact(self, run: _Run, need: int) -> None:
        """Drops what no living prefix builds on, where the arena is full and that is most of it."""
        if run.arena.length + need <= run.arena.capacity:
            return
        alive = np.zeros(run.arena.length, dtype=bool)
        for prefix in run.prefixes:
            alive[: len(prefix.seen)] |= prefix.seen
        places = np.flatnonzero(alive)
        if 2 * (len(places) + need) <= run.arena.capacity:
            run.arena.keep(places)
            for prefix in run.prefixes:
                prefix.seen = _padded(prefix.seen, len(alive))[places]

    def _judge(self, chunks: Sequence[_Chunk], log_probs: torch.Tensor) -> None:
        """Compares every successor's probability with min_prob; log_probs (B, V) as `_segments` ordered them."""
        before = _before(chunks, log_probs)  # (B,)
        only_end = np.concatenate([chunk.only_end() for chunk in chunks])
        needed = self.decoder.there((self.log_min - before).astype(np.float32))  # log-probability a token must have
        ending = self.decoder.there(only_end)
        gap = log_probs - needed[:, None]  # (B, V)
        alive = gap >= 0
        alive[:, : self.end] &= ~ending[:, None]
        alive[:, self.end + 1 :] &= ~ending[:, None]
        nearest = torch.where(ending, gap[:, self.end].abs(), gap.abs().amin(1)).cpu().numpy()
        rows, tokens = alive.nonzero(as_tuple=True)
        gained = log_probs[rows, tokens].double().cpu().numpy()
        self._keep(chunks, np.where(before >= self.log_min, nearest, math.inf), before, rows, tokens, gained)

    def _keep(
        self,
        chunks: Sequence[_Chunk],
        margins: np.ndarray,
        before: np.ndarray,
        rows: torch.Tensor,
        tokens: torch.Tensor,
        gained: np.ndarray,
    ) -> None:
        """Notes the margins (B,) and follows each successor: outputs `rows`, `tokens`, log-probabilities `gained`."""
        begins = np.cumsum([0, *(chunk.outputs for chunk in chunks[:-1])])
        for chunk, margin in zip(chunks, np.minimum.reduceat(margins, begins).tolist(), strict=True):
            chunk.run.margin = min(chunk.run.margin, margin)
        row = rows.cpu().numpy()
        of = np.searchsorted(begins, row, side="right") - 1
        hits = zip(
            of.tolist(), (row - begins[of]).tolist(), tokens.tolist(), (before[row] + gained).tolist(), strict=True
        )
        for number, step, token, log_prob in hits:
            self._follow(chunks[number], step, token, log_prob)

    def _follow(self, chunk: _Chunk, step: int, token: int, log_prob: float) -> None:
        """Keeps a successor that is probable enough: `token` after `step` tokens of the chunk's guess."""
        run, prefix = chunk.run, chunk.prefix
        tokens = (*prefix.tokens, *prefix.guess[:step], token)
        if token == self.end:
            self._reply(run, Reply(tokens, log_prob))
        elif step == len(prefix.guess) or prefix.guess[step] != token:
            seen = _padded(prefix.seen, chunk.start + len(prefix.pending) + step)
            seen[chunk.start :] = True
            run.prefixes.append(_Prefix(tokens, log_prob, (token,), seen, run.guess_for(tokens)))

    def _reply(self, run: _Run, reply: Reply) -> None:
        """Notes a reply and what it drafts for other queries."""
        run.replies.append(reply)
        self.replies += 1
        if self.drafts is None:
            return
        for other, guess in self.drafts(run.number, reply):
            tokens = tuple(itertools.takewhile(lambda token: token != self.end, guess))
            if other not in self.found and all(tokens != known for _, known in self.proposed[other]):
                bisect.insort(self.proposed[other], (-reply.log_prob, tokens))
        self.waiting.found(run.number)

    def _finish(self) -> None:
        """Takes out the queries that have no living prefix any more."""
        alive = self._alive()
        for run in self.running:
            if run.number not in alive:
                replies = tuple(sorted(run.replies, key=lambda reply: (-reply.log_prob, reply.tokens)))
                self.found[run.number] = Found(replies, min(run.margin, self._close(run)))
                self.waiting.finished(run.number)
        self.running = [run for run in self.running if run.number in alive]

    def _alive(self) -> set[int]:
        """Numbers of the queries that have living prefixes."""
        return {run.number for run in self.running if run.prefixes}

    def _close(self, run: _Run) -> float:
        """Lets a query go; the smallest margin of decisions that its run does not know of."""
        return math.inf

    def _send_back(self) -> None:
        """Takes the youngest query out, to start anew when there is more room for it."""
        run = self.running.pop()
        self._close(run)
        self.replies -= len(run.replies)
        self.reserved[run.number] = 2 * max(run.arena.capacity, run.reserved)
        self.waiting.put_back(run.number)


class _PoolSearch(_Search):
    """On a GPU: passes are for prompts and drafts, everything else is decoded on the device, many steps at a time."""

    decoder: PoolDecoder
    frontier: Frontier | None = None

    def run(self) -> list[Found]:
        self.decoder.expect(sum(self.reserved) + BURST * len(self.queries))
        return super().run()

    def _advance(self) -> None:
        while any(run.prefixes for run in self.running):
            self._pass()
        if self.frontier is not None and len(self.frontier):
            self._steps(self.frontier)

    def _judge(self, chunks: Sequence[_Chunk], log_probs: torch.Tensor) -> None:
        super()._judge(chunks, log_probs)
        if self.frontier is None:
            longest = [query.longest for query in self.queries]
            self.frontier = Frontier(self.decoder, longest, Threshold(self.end, self.log_min))
        rows: list[NewRow] = []
        for run in {chunk.run.number: chunk.run for chunk in chunks}.values():
            ready = [prefix for prefix in run.prefixes if not prefix.guess]
            run.prefixes = [prefix for prefix in run.prefixes if prefix.guess]
            if ready:
                self.frontier.open(run.number, run.arena.base, len(run.query.prompt))
                rows += [_new_row(run, prefix) for prefix in ready]
        if rows:
            self.frontier.add(rows)

    def _steps(self, frontier: Frontier) -> None:
        """Some steps of the frontier, and room in the pool for the next ones."""
        if self.decoder.free < len(frontier):
            self._make_room(frontier)
        runs = {run.number: run for run in self.running}
        before = frontier.tokens
        for reply in frontier.steps(BURST):
            self._reply(runs[reply.query], Reply(reply.tokens, reply.log_prob))
        self.passes += BURST
        self.tokens += frontier.tokens - before

    def _make_room(self, frontier: Frontier) -> None:
        """Room for a step: by moving together what is used, by sending queries back, by a larger pool."""
        frontier.collect()
        while self.decoder.free < 2 * len(frontier) and len(self.running) > 1:
            self._send_back()
            frontier.collect()
        if self.decoder.free < 2 * len(frontier):
            self.decoder.grow(self.decoder.slots * 3 // 2 + len(frontier))

    def _expected(self, run: _Run) -> int:
        return run.reserved * self.decoder.layout.token_bytes

    def _capacity(self, number: int) -> int:
        # Every token of a draft is run at most once before the prefixes are decoded on the device.
        return len(self.queries[number].prompt) + sum(len(tokens) for _, tokens in self.proposed[number])

    def _drafts_of(self, number: int) -> list[tuple[float, tuple[int, ...]]]:
        return list(self.proposed[number])  # later ones have no room in the stretch that was measured for these

    def _has_room(self, number: int) -> bool:
        need = self._capacity(number) + BURST * len(self.running)
        if self.decoder.free < need and self.frontier is not None and not any(run.prefixes for run in self.running):
            self.frontier.collect()
        return self.decoder.free >= need

    def _alive(self) -> set[int]:
        return super()._alive() | (set() if self.frontier is None else set(self.frontier.alive.tolist()))

    def _close(self, run: _Run) -> float:
        return math.inf if self.frontier is None else self.frontier.close(run.number)


def _new_row(run: _Run, prefix: _Prefix) -> NewRow:
    """A prefix that has one pending token and no guess, for the frontier."""
    places = np.flatnonzero(prefix.seen)[len(run.query.prompt) :]
    return NewRow(run.number, prefix.tokens, prefix.log_prob, run.arena.base + places)


def _before(chunks: Sequence[_Chunk], log_probs: torch.Tensor) -> np.ndarray:
    """(B,) the log-probability of each output's prefix, in fp64, from log_probs (B, V)."""
    guesses = np.concatenate([[*chunk.prefix.guess, 0] for chunk in chunks]).astype(np.int64)
    along = log_probs.gather(1, torch.from_numpy(guesses)[:, None].to(log_probs.device))
    gained = along.flatten().double().cpu().numpy()
    before = np.empty(len(guesses))
    begin = 0
    for chunk in chunks:
        end = begin + chunk.outputs
        before[begin] = chunk.prefix.log_prob
        before[begin + 1 : end] = chunk.prefix.log_prob + gained[begin : end - 1].cumsum()
        begin = end
    return before


def _segments(run: _Run) -> tuple[list[Segment], list[_Chunk]]:
    """The segments that run a query's pending tokens and guesses, and the chunks of their outputs in order.

    Prefixes with a guess, and the prompt, get a segment each; all single tokens share one.
    """
    segments: list[Segment] = []
    chunks: list[_Chunk] = []
    singles = [prefix for prefix in run.prefixes if len(prefix.pending) == 1 and not prefix.guess]
    for prefix in run.prefixes:
        if len(prefix.pending) > 1 or prefix.guess:
            tokens = [*prefix.pending, *prefix.guess]
            chunks.append(_Chunk(run, prefix, run.arena.length))
            first = len(run.query.prompt) + len(prefix.tokens) - len(prefix.pending)
            outputs = range(len(prefix.pending) - 1, len(tokens))
            segments.append(chain(run.arena, tokens, first, outputs, np.flatnonzero(prefix.seen)))
    if singles:
        chunks += [_Chunk(run, prefix, run.arena.length + step) for step, prefix in enumerate(singles)]
        segments.append(_single_tokens(run, singles))
    return segments, chunks


def _single_tokens(run: _Run, prefixes: list[_Prefix]) -> Segment:
    """One segment for prefixes with one pending token each; they share the arena and see their own places."""
    count = len(prefixes)
    positions = np.array([len(run.query.prompt) + len(prefix.tokens) - 1 for prefix in prefixes])
    tokens = np.array([prefix.pending[0] for prefix in prefixes])
    start = run.arena.append(count)
    mask = np.stack([_padded(prefix.seen, start + count) for prefix in prefixes])
    mask[:, start:] = np.eye(count, dtype=bool)
    return Segment(run.arena, tokens, positions, np.arange(count), start, mask=None if mask.all() else mask)


def _padded(seen: np.ndarray, length: int) -> np.ndarray:
    """A copy of `seen` with `length` places, the new ones not seen."""
    longer = np.zeros(length, dtype=bool)
    longer[: len(seen)] = seen
    return longer

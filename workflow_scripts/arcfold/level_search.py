"""The search itself: from the living prefixes of many queries to those that are one token longer.

A draft is a guess of a whole reply; one pass over it gives every probability along it, and only
prefixes that leave it with enough probability are run token by token. On a CPU a prefix without
a draft guesses what followed the last time its text read like its end: a pass over some tokens
costs little more than one over a single token. On a GPU such prefixes go to the frontier.

Shapes: B outputs of a pass (living prefixes, and every token along a guess), V vocabulary.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from arcfold.decoding import Segment
from arcfold.frontier import Finished, Frontier, NewRow
from arcfold.pool import PoolDecoder
from arcfold.prefixes import (
    LONGEST_LOOKUP,
    Chunk,
    Prefix,
    Run,
    guessed,
    log_probs_before,
    one_segment,
    padded,
    shared_segment,
)
from arcfold.replies import Drafts, Found, Progress, Query, Reply, Tally
from arcfold.stepping import Threshold
from arcfold.waiting import Waiting

BURST = 16
"""Steps that a GPU takes before the host looks at what came of them."""


class Launched(NamedTuple):
    """A pass that has begun."""

    chunks: list[Chunk]
    log_probs: Callable[[], np.ndarray]
    """Waits for the (B, V) log-probabilities, in the order of the chunks' outputs."""


class LevelSearch:
    """The state of one call of `search`; on a CPU, where every prefix is run in the same kind of pass."""

    def __init__(
        self,
        decoder: Any,
        queries: Sequence[Query],
        end: int,
        log_min: float,
        drafts: Drafts | None,
        waiting: Waiting,
        groups: Sequence[Hashable],
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.decoder = decoder
        self.queries = queries
        self.end = end
        self.log_min = log_min
        self.drafts = drafts
        self.waiting = waiting
        self.groups = groups
        self.tally = Tally(groups)
        self.progress = progress
        self.running: list[Run] = []
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
                self.progress(Progress(len(self.found), self.tally.done, self.replies, self.tokens, self.passes))
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

    def _expected(self, run: Run) -> int:
        """Bytes that a running query has or is expected to need."""
        return max(run.arena.bytes, run.reserved * self.decoder.layout.token_bytes)

    def _has_room(self, number: int) -> bool:
        """Whether a query that fits the budget can start at once."""
        return True

    def _start(self, number: int) -> Run:
        query = self.queries[number]
        arena = self.decoder.arena(self._capacity(number))
        run = Run(number, query, arena, [], self.reserved[number], self._drafts_of(number))
        run.prefixes.append(Prefix((), 0.0, query.prompt, np.zeros(0, dtype=bool), self._guess(run, ())))
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
        launched = self._launch()
        if launched is not None:
            self._judge(launched)

    def _launch(self) -> Launched | None:
        """Begins a pass over pending tokens and guesses, as many queries as it takes; None if there are none."""
        segments: list[Segment] = []
        chunks: list[Chunk] = []
        room = self.decoder.pass_tokens
        for run in self.running:
            size = sum(prefix.size for prefix in run.prefixes)
            if not size or (segments and size > room):
                continue
            room -= size
            made, of_run = self._segments(run)
            segments += made
            chunks += of_run
            run.prefixes = []
        if not segments:
            return None
        self.passes += 1
        self.tokens += sum(len(segment.tokens) for segment in segments)
        return Launched(chunks, self.decoder.fetch(self.decoder.log_probs(segments)))

    def _segments(self, run: Run) -> tuple[list[Segment], list[Chunk]]:
        """The segments that run a query's pending tokens and guesses, and the chunks of their outputs in order.

        All prefixes share one segment: they look at the same arena, so nothing is copied for them.
        """
        self._tidy(run)
        if len(run.prefixes) == 1 and run.prefixes[0].seen.all():
            prefix = run.prefixes[0]
            return [one_segment(run, prefix)], [Chunk(run, prefix, len(prefix.seen))]
        return shared_segment(run)

    def _tidy(self, run: Run) -> None:
        """Drops what was run behind the last place in use, and what no prefix builds on where that is half."""
        used = max(len(prefix.seen) for prefix in run.prefixes)
        run.arena.length = used
        if used + sum(prefix.size for prefix in run.prefixes) <= run.arena.capacity:
            return
        alive = np.logical_or.reduce([padded(prefix.seen, used) for prefix in run.prefixes])
        places = np.flatnonzero(alive)
        if 2 * len(places) <= run.arena.capacity:
            run.arena.keep(places)
            for prefix in run.prefixes:
                prefix.seen = padded(prefix.seen, used)[places]

    def _judge(self, launched: Launched) -> None:
        """Compares every successor's probability with min_prob and follows those that are probable enough."""
        chunks, log_probs = launched.chunks, launched.log_probs()  # (B, V)
        begins = np.cumsum([0, *(chunk.outputs for chunk in chunks[:-1])])
        guesses = guessed(chunks)
        before = log_probs_before(chunks, guesses, log_probs)  # (B,)
        only_end = np.concatenate([chunk.only_end() for chunk in chunks])
        gap = log_probs - (self.log_min - before).astype(np.float32)[:, None]  # (B, V)
        nearest = np.where(only_end, np.abs(gap[:, self.end]), np.abs(gap).min(1))
        self._note(chunks, np.where(before >= self.log_min, nearest, math.inf), begins)
        alive = gap >= 0
        alive[only_end, : self.end] = False
        alive[only_end, self.end + 1 :] = False
        followed = guesses >= 0  # a prefix that goes on as was guessed stands in the outputs already
        alive[followed, guesses[followed]] = False
        rows, tokens = alive.nonzero()
        of = np.searchsorted(begins, rows, side="right") - 1
        values = before[rows] + log_probs[rows, tokens]
        hits = zip(of.tolist(), (rows - begins[of]).tolist(), tokens.tolist(), values.tolist(), strict=True)
        for number, step, token, log_prob in hits:
            self._follow(chunks[number], step, token, log_prob)

    def _note(self, chunks: Sequence[Chunk], margins: np.ndarray, begins: np.ndarray) -> None:
        """Notes the outputs' margins (B,), infinite where a guess had gone wrong, and how far guesses held."""
        held = np.add.reduceat(np.isfinite(margins), begins).tolist()
        for chunk, margin, alive in zip(chunks, np.minimum.reduceat(margins, begins).tolist(), held, strict=True):
            chunk.run.margin = min(chunk.run.margin, margin)
            if chunk.prefix.guess:
                whole = alive == chunk.outputs
                chunk.run.stride = min(LONGEST_LOOKUP, 2 * chunk.run.stride) if whole else max(2, alive)

    def _guess(self, run: Run, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """How a prefix might go on: as a draft does, else as the text did where it last read like its end."""
        return run.drafted(tokens) or run.lookup(tokens, self.end)

    def _follow(self, chunk: Chunk, step: int, token: int, log_prob: float) -> None:
        """Keeps a successor that is probable enough and was not guessed: `token` after `step` tokens of a guess."""
        run, prefix = chunk.run, chunk.prefix
        tokens = (*prefix.tokens, *prefix.guess[:step], token)
        if token == self.end:
            self._reply(run, Reply(tokens, log_prob))
        else:
            seen = padded(prefix.seen, chunk.start + len(prefix.pending) + step)
            seen[chunk.start :] = True
            run.prefixes.append(Prefix(tokens, log_prob, (token,), seen, self._guess(run, tokens)))

    def _reply(self, run: Run, reply: Reply) -> None:
        """Notes a reply and what it drafts for other queries."""
        run.replies.append(reply)
        self.replies += 1
        if self.drafts is None:
            return
        for other, guess in self.drafts(run.number, reply):
            tokens = guess[: guess.index(self.end)] if self.end in guess else guess
            if other not in self.found and all(tokens != known for _, known in self.proposed[other]):
                bisect.insort(self.proposed[other], (-reply.log_prob, tokens))
        self.waiting.release(run.number)

    def _finish(self) -> None:
        """Takes out the queries that have no living prefix any more."""
        alive = self._alive()
        for run in self.running:
            if run.number not in alive:
                replies = tuple(sorted(run.replies, key=lambda reply: (-reply.log_prob, reply.tokens)))
                self.found[run.number] = Found(replies, min(run.margin, self._close(run)))
                self.waiting.release(run.number)
                self.tally.finish(self.groups[run.number])
        self.running = [run for run in self.running if run.number in alive]

    def _alive(self) -> set[int]:
        """Numbers of the queries that have living prefixes."""
        return {run.number for run in self.running if run.prefixes}

    def _close(self, run: Run) -> float:
        """Lets a query go; the smallest margin of decisions that its run does not know of."""
        return math.inf

    def _send_back(self) -> None:
        """Takes the youngest query out, to start anew when there is more room for it."""
        run = self.running.pop()
        self._close(run)
        self.replies -= len(run.replies)
        self.reserved[run.number] = 2 * max(run.arena.capacity, run.reserved)
        self.waiting.put_back(run.number)


class PoolSearch(LevelSearch):
    """On a GPU: passes are for prompts and drafts, everything else is decoded on the device, many steps at a time.

    The device is never without work for as long as there is some. A burst of steps begins as soon as the one
    before has ended, passes stand behind it, and meanwhile the host looks at the replies of the burst before and
    at the passes that ran before it. What it learns of them joins in the next burst but one. The order depends on
    results alone, never on who is faster.
    """

    burst = BURST
    decoder: PoolDecoder
    frontier: Frontier | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.flying: list[Launched] = []
        """Passes that have begun and were not looked at."""
        self.ready: list[NewRow] = []
        """Prefixes for the frontier, which takes them between two bursts."""

    def run(self) -> list[Found]:
        self.decoder.expect(sum(self.reserved) + self.burst * len(self.queries))
        return super().run()

    def _advance(self) -> None:
        self._passes()
        if self.frontier is not None:
            self._steps(self.frontier)

    def _passes(self) -> None:
        """Looks at the passes that ran before the burst that is running, and begins those that are to follow it."""
        flown, self.flying = self.flying, []
        for launched in flown:
            self._judge(launched)
        while (begun := self._launch()) is not None:
            self.flying.append(begun)

    def _segments(self, run: Run) -> tuple[list[Segment], list[Chunk]]:
        chunks = []
        segments = []
        for prefix in run.prefixes:
            chunks.append(Chunk(run, prefix, run.arena.length))
            segments.append(one_segment(run, prefix))
        return segments, chunks

    def _guess(self, run: Run, tokens: tuple[int, ...]) -> tuple[int, ...]:
        return run.drafted(tokens)  # without a draft it goes to the frontier

    def _judge(self, launched: Launched) -> None:
        super()._judge(launched)
        if self.frontier is None:
            longest = [query.longest for query in self.queries]
            self.frontier = Frontier(self.decoder, longest, Threshold(self.end, self.log_min))
        for run in {chunk.run.number: chunk.run for chunk in launched.chunks}.values():
            ready = [prefix for prefix in run.prefixes if not prefix.guess]
            run.prefixes = [prefix for prefix in run.prefixes if prefix.guess]
            if ready:
                self.frontier.open(run.number, run.arena.base, len(run.query.prompt))
                self.ready += [_new_row(run, prefix) for prefix in ready]

    def _steps(self, frontier: Frontier) -> None:
        """Waits for the burst that is running, begins the next one, and looks at the replies of the former."""
        finished = self._settle(frontier)
        if self.decoder.free < len(frontier):
            self._note_replies(finished)
            finished = []
            self._make_room(frontier)
        if len(frontier):
            frontier.begin(self.burst)
            self.passes += self.burst
        self._note_replies(finished)

    def _settle(self, frontier: Frontier) -> list[Finished]:
        """Waits for the burst that is running and lets the frontier take what is ready; the replies that ended."""
        before = frontier.tokens
        finished = frontier.settle()
        self.tokens += frontier.tokens - before
        if self.ready:
            frontier.add(self.ready)
            self.ready = []
        return finished

    def _note_replies(self, finished: Sequence[Finished]) -> None:
        runs = {run.number: run for run in self.running}
        for reply in finished:
            self._reply(runs[reply.query], Reply(reply.tokens, reply.log_prob))

    def _land(self, frontier: Frontier) -> None:
        """Waits until nothing runs and all living prefixes stand in the frontier: only then the pool may move."""
        self._note_replies(self._settle(frontier))
        while self.flying or any(run.prefixes for run in self.running):
            self._passes()
        self._settle(frontier)

    def _make_room(self, frontier: Frontier) -> None:
        """Room for a step: by moving together what is used, by sending queries back, by a larger pool."""
        self._land(frontier)
        frontier.collect()
        while self.decoder.free < 2 * len(frontier) and len(self.running) > 1:
            self._send_back()
            frontier.collect()
        if self.decoder.free < 2 * len(frontier):
            self.decoder.grow(self.decoder.slots * 3 // 2 + len(frontier))

    def _expected(self, run: Run) -> int:
        return run.reserved * self.decoder.layout.token_bytes

    def _capacity(self, number: int) -> int:
        # Every token of a draft is run at most once before the prefixes are decoded on the device.
        return len(self.queries[number].prompt) + sum(len(tokens) for _, tokens in self.proposed[number])

    def _drafts_of(self, number: int) -> list[tuple[float, tuple[int, ...]]]:
        return list(self.proposed[number])  # later ones have no room in the stretch that was measured for these

    def _admit(self) -> None:
        if self.waiting and self.frontier is not None:
            need = self._need(self.waiting.first())
            worth = self.decoder.garbage >= max(need, self.decoder.slots // 16)  # tidying moves all that is in use
            if self.decoder.free < need and worth:
                self._land(self.frontier)
                self.frontier.collect()
        super()._admit()

    def _need(self, number: int) -> int:
        """Slots that have to be free for a query to start."""
        return self._capacity(number) + self.burst * len(self.running)

    def _has_room(self, number: int) -> bool:
        return self.decoder.free >= self._need(number)

    def _alive(self) -> set[int]:
        flying = {chunk.run.number for launched in self.flying for chunk in launched.chunks}
        stepping = () if self.frontier is None else self.frontier.alive.tolist()
        return super()._alive() | flying | {row.query for row in self.ready} | set(stepping)

    def _close(self, run: Run) -> float:
        self.decoder.garbage += run.arena.capacity
        return math.inf if self.frontier is None else self.frontier.close(run.number)


def _new_row(run: Run, prefix: Prefix) -> NewRow:
    """A prefix that has one pending token and no guess, for the frontier."""
    places = np.flatnonzero(prefix.seen)[len(run.query.prompt) :]
    return NewRow(run.number, prefix.tokens, prefix.log_prob, run.arena.base + places)

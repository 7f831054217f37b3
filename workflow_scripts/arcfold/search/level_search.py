"""The search itself: from the living prefixes of many queries to those that are one token longer.

A draft is a guess of a whole reply; one pass over it gives every probability along it, and only
prefixes that leave it with enough probability are run token by token. On a CPU a prefix without
a draft guesses what followed the last time its text read like its end: a pass over some tokens
costs little more than one over a single token. On a GPU such prefixes go to the frontier.

Example, the second pass of that in `search`: three living prefixes, (1) and (2) of A and (2) of B, no guesses.
The caches hold 5 and 3 tokens. B = 3, V = 4, end token 3, threshold 0.1.

    segments  A: tokens (2,) = 1 2 at places 5 and 6, mask (2, 7); B: token (1,) = 2 at place 3
    outputs   log-probabilities (3, V); `before` (3,) = log of 0.6, 0.3, 0.9; so `gap` (3, V) is positive at
              (A 1, 0), (A 1, end), (A 2, end) and (B 2, end): one new prefix, three replies
    then      A has the prefix (1, 0), which sees places 0 to 5 (the next pass drops place 6), and B is finished

With the guess (0, 2, 0) behind the prefix (1) the same pass would run 3 tokens more and have B = 6 outputs.

Shapes: B outputs of a pass (living prefixes, and every token along a guess), V vocabulary.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from arcfold.search.decoding import Segment
from arcfold.search.frontier import Finished, Frontier, NewRow
from arcfold.search.gpu_cache import GpuDecoder
from arcfold.search.prefixes import (
    LONGEST_LOOKUP,
    Chunk,
    Prefix,
    RunningQuery,
    guessed,
    log_probs_before,
    one_segment,
    padded,
    shared_segment,
)
from arcfold.search.queue import QueryQueue
from arcfold.search.replies import Drafts, Found, GroupStats, Progress, Query, Reply
from arcfold.search.stepping import Threshold

BURST = 16
"""Steps that a GPU takes before the host looks at what came of them. With longer bursts the device waits for the host
less often; with shorter ones replies become drafts sooner, and fewer slots are set aside that no row comes to use."""


class InFlightPass(NamedTuple):
    """A pass that has begun and whose results may still be on the way to the host."""

    chunks: list[Chunk]
    log_probs: Callable[[], np.ndarray]
    """Waits for the (B, V) log-probabilities, in the order of the chunks' outputs."""


class LevelSearch:
    """The state of one call of `search`; on a CPU, where every prefix is run in the same kind of pass.

    Each query goes from the queue to `running` and from there to `found`; one that was taken out for lack of
    memory goes back to the queue and starts anew.
    """

    def __init__(
        self,
        decoder: Any,
        queries: Sequence[Query],
        end: int,
        log_min: float,
        drafts: Drafts | None,
        queue: QueryQueue,
        groups: Sequence[Hashable],
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.decoder = decoder
        self.queries = queries
        self.end = end
        self.log_min = log_min
        self.drafts = drafts
        self.queue = queue
        self.groups = groups
        self.stats = GroupStats(groups)
        self.progress = progress
        self.running: list[RunningQuery] = []
        self.found: dict[int, Found] = {}
        self.proposed: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in queries]
        """Drafts for each query, as in `RunningQuery.drafts`."""
        self.reserved = [len(query.prompt) + query.longest for query in queries]
        """Tokens that each query's cache is expected to need."""
        self.replies = self.tokens = self.passes = 0

    def run(self) -> list[Found]:
        """Searches all queries; what was found for each, in their order."""
        while self.queue or self.running:
            self._admit()
            self._advance()
            self._finish()
            if self.progress is not None:
                self.progress(Progress(len(self.found), self.stats.done, self.replies, self.tokens, self.passes))
        return [self.found[number] for number in range(len(self.queries))]

    def _advance(self) -> None:
        """Takes the running queries a level further, or more."""
        self._pass()
        # The caches may have grown over the budget. The youngest query has the least to lose; the last one stays in
        # any case, so that one query makes progress however small the budget is.
        while len(self.running) > 1 and sum(run.cache.bytes for run in self.running) > self.decoder.budget:
            self._preempt()

    def _admit(self) -> None:
        """Starts queries for as long as what they are expected to need fits the budget."""
        used = sum(map(self._expected_bytes, self.running))
        while self.queue:
            number = self.queue.peek()
            used += self.reserved[number] * self.decoder.layout.token_bytes
            # With nothing running the next one starts whatever it needs: else the search would never end.
            if self.running and (used > self.decoder.budget or not self._has_room(number)):
                return
            self.running.append(self._start(self.queue.pop()))

    def _expected_bytes(self, run: RunningQuery) -> int:
        """Bytes that a running query has or is expected to need."""
        return max(run.cache.bytes, run.reserved * self.decoder.layout.token_bytes)

    def _has_room(self, number: int) -> bool:
        """Whether a query that fits the budget can start at once."""
        return True

    def _start(self, number: int) -> RunningQuery:
        query = self.queries[number]
        cache = self.decoder.allocate(self._capacity(number))
        rule = self.decoder.rule
        run = RunningQuery(number, query, cache, [], self.reserved[number], self._drafts_of(number), rule)
        first, nothing = rule.first(query.prompt[0]), np.zeros(0, dtype=bool)
        run.prefixes.append(Prefix((), 0.0, query.prompt, nothing, first, self._guess(run, ())))
        return run

    def _drafts_of(self, number: int) -> list[tuple[float, tuple[int, ...]]]:
        """The drafts that a query is run with; the list still grows while it runs."""
        return self.proposed[number]

    def _capacity(self, number: int) -> int:
        """Tokens that a query's cache holds before it has to grow."""
        query = self.queries[number]
        # Replies are mostly as long as the drafts; memory for the longest one would mostly stay empty.
        drafted = max([64, *(len(tokens) for _, tokens in self.proposed[number])])
        return len(query.prompt) + min(query.longest, drafted)

    def _pass(self) -> None:
        """One forward pass over pending tokens and guesses, and the prefixes that come of it."""
        launched = self._launch()
        if launched is not None:
            self._judge(launched)

    def _launch(self) -> InFlightPass | None:
        """Begins a pass over pending tokens and guesses, as many queries as it takes; None if there are none."""
        segments: list[Segment] = []
        chunks: list[Chunk] = []
        room = self.decoder.pass_tokens
        for run in self.running:
            size = sum(prefix.size for prefix in run.prefixes)
            # A query is never cut in two: what does not fit waits for the next pass, but a smaller one may go first.
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
        return InFlightPass(chunks, self.decoder.to_host(self.decoder.log_probs(segments)))

    def _segments(self, run: RunningQuery) -> tuple[list[Segment], list[Chunk]]:
        """The segments that run a query's pending tokens and guesses, and the chunks of their outputs in order.

        All prefixes share one segment: they look at the same cache, so nothing is copied for them.
        """
        self._compact(run)
        # A single prefix that sees everything needs no mask, and attention without one is faster.
        if len(run.prefixes) == 1 and run.prefixes[0].seen.all():
            prefix = run.prefixes[0]
            segment = one_segment(run, prefix)
            return [segment], [Chunk(run, prefix, segment.start, segment.positions)]
        return shared_segment(run)

    def _compact(self, run: RunningQuery) -> None:
        """Drops what was run behind the last place in use, and what no prefix builds on where that is half."""
        used = max(len(prefix.seen) for prefix in run.prefixes)
        run.cache.length = used
        if used + sum(prefix.size for prefix in run.prefixes) <= run.cache.capacity:
            return
        alive = np.logical_or.reduce([padded(prefix.seen, used) for prefix in run.prefixes])
        places = np.flatnonzero(alive)
        # Moving costs as much as growing does: where more than half is in use, the cache grows instead.
        if 2 * len(places) <= run.cache.capacity:
            run.cache.keep(places)
            for prefix in run.prefixes:
                prefix.seen = padded(prefix.seen, used)[places]

    def _judge(self, launched: InFlightPass) -> None:
        """Compares every successor's probability with min_prob and follows those that are probable enough."""
        chunks, log_probs = launched.chunks, launched.log_probs()  # (B, V)
        if np.isnan(log_probs[:, self.end]).any():
            raise self.decoder.not_finite("search")
        begins = np.cumsum([0, *(chunk.outputs for chunk in chunks[:-1])])
        guesses = guessed(chunks)
        # In fp64, so that a sum over some hundred tokens adds no rounding of its own to what is compared.
        before = log_probs_before(chunks, guesses, log_probs)  # (B,)
        only_end = np.concatenate([chunk.only_end() for chunk in chunks])
        gap = log_probs - (self.log_min - before).astype(np.float32)[:, None]  # (B, V)
        nearest = np.where(only_end, np.abs(gap[:, self.end]), np.abs(gap).min(1))
        self._note(chunks, np.where(before >= self.log_min, nearest, math.inf), begins)
        alive = gap >= 0
        # With room for one more token only the end makes a reply: other successors are not followed, however probable.
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
        """Notes the outputs' margins (B,), infinite where a guess had gone wrong, and how far guesses held.

        Behind a guess's first improbable token nothing was decided: those outputs tell nothing of the margin.
        """
        held = np.add.reduceat(np.isfinite(margins), begins).tolist()
        for chunk, margin, alive in zip(chunks, np.minimum.reduceat(margins, begins).tolist(), held, strict=True):
            chunk.run.margin = min(chunk.run.margin, margin)
            if chunk.prefix.guess:
                # Guesses that held all along become twice as long, others as long as they held: a wrong one costs its
                # tokens, a right one saves a pass for each.
                whole = alive == chunk.outputs
                chunk.run.lookup_length = min(LONGEST_LOOKUP, 2 * chunk.run.lookup_length) if whole else max(2, alive)

    def _guess(self, run: RunningQuery, tokens: tuple[int, ...]) -> tuple[int, ...]:
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
            first = chunk.position_behind(step, token)
            run.prefixes.append(Prefix(tokens, log_prob, (token,), seen, first, self._guess(run, tokens)))

    def _reply(self, run: RunningQuery, reply: Reply) -> None:
        """Notes a reply and what it drafts for other queries."""
        run.replies.append(reply)
        self.replies += 1
        if self.drafts is None:
            return
        for other, guess in self.drafts(run.number, reply):
            tokens = guess[: guess.index(self.end)] if self.end in guess else guess
            # Sorted by probability: the likeliest draft that fits is tried, whatever was found first.
            if other not in self.found and all(tokens != known for _, known in self.proposed[other]):
                bisect.insort(self.proposed[other], (-reply.log_prob, tokens))
        self.queue.release(run.number)

    def _finish(self) -> None:
        """Takes out the queries that have no living prefix any more."""
        alive = self._alive()
        for run in self.running:
            if run.number not in alive:
                replies = tuple(sorted(run.replies, key=lambda reply: (-reply.log_prob, reply.tokens)))
                self.found[run.number] = Found(replies, min(run.margin, self._close(run)))
                self.queue.release(run.number)
                self.stats.finish(self.groups[run.number])
        self.running = [run for run in self.running if run.number in alive]

    def _alive(self) -> set[int]:
        """Numbers of the queries that have living prefixes."""
        return {run.number for run in self.running if run.prefixes}

    def _close(self, run: RunningQuery) -> float:
        """Lets a query go; the smallest margin of decisions that its run does not know of."""
        return math.inf

    def _preempt(self) -> None:
        """Takes the youngest query out, to start anew when there is more room for it."""
        run = self.running.pop()
        self._close(run)
        # It will find these again; until then they are counted by nobody, but stay drafts for the others.
        self.replies -= len(run.replies)
        # Expecting more than it has needed so far keeps it out until there is room: each return at least doubles that.
        self.reserved[run.number] = 2 * max(run.cache.capacity, run.reserved)
        self.queue.put_back(run.number)


class GpuSearch(LevelSearch):
    """On a GPU: passes are for prompts and drafts, everything else is decoded on the device, many steps at a time.

    The device is never without work for as long as there is some. A burst of steps begins as soon as the one
    before has ended, passes stand behind it, and meanwhile the host looks at the replies of the burst before and
    at the passes that ran before it. What it learns of them joins in the next burst but one. The order depends on
    results alone, never on who is faster.

    One turn of the loop, with burst n on the device:

        device  burst n  | passes that were launched behind it  | burst n + 1 | ...
        host    judges the passes that ran before burst n, launches passes, waits for burst n, adds what is ready,
                launches burst n + 1, notes the replies of burst n
    """

    burst = BURST
    decoder: GpuDecoder
    frontier: Frontier | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.in_flight: list[InFlightPass] = []
        """Passes that have begun and whose results were not looked at."""
        self.ready: list[NewRow] = []
        """Prefixes for the frontier, which takes them between two bursts."""

    def run(self) -> list[Found]:
        # All at once where the budget allows it: a cache that grows later moves, and recorded steps are lost with it.
        self.decoder.reserve(sum(self.reserved) + self.burst * len(self.queries))
        return super().run()

    def _advance(self) -> None:
        self._passes()
        if self.frontier is not None:
            self._steps(self.frontier)

    def _passes(self) -> None:
        """Looks at the passes that ran before the burst that is running, and begins those that are to follow it."""
        # Exactly those, whether others have ended or not: else the outcome would depend on how fast the host is.
        earlier, self.in_flight = self.in_flight, []
        for launched in earlier:
            self._judge(launched)
        while (begun := self._launch()) is not None:
            self.in_flight.append(begun)

    def _segments(self, run: RunningQuery) -> tuple[list[Segment], list[Chunk]]:
        # One segment for each prefix: the kernel follows a list of slots for each, so a mask would only cost.
        chunks = []
        segments = []
        for prefix in run.prefixes:
            segment = one_segment(run, prefix)
            chunks.append(Chunk(run, prefix, segment.start, segment.positions))
            segments.append(segment)
        return segments, chunks

    def _guess(self, run: RunningQuery, tokens: tuple[int, ...]) -> tuple[int, ...]:
        return run.drafted(tokens)  # without a draft it goes to the frontier

    def _judge(self, launched: InFlightPass) -> None:
        super()._judge(launched)
        if self.frontier is None:
            longest = [query.longest for query in self.queries]
            self.frontier = Frontier(self.decoder, longest, Threshold(self.end, self.log_min))
        # Each query once, in the order of its first chunk: rows join the frontier in an order that never changes.
        for run in {chunk.run.number: chunk.run for chunk in launched.chunks}.values():
            ready = [prefix for prefix in run.prefixes if not prefix.guess]
            run.prefixes = [prefix for prefix in run.prefixes if prefix.guess]
            if ready:
                self.frontier.open(run.number, run.cache.base, len(run.query.prompt))
                self.ready += [_new_row(run, prefix) for prefix in ready]

    def _steps(self, frontier: Frontier) -> None:
        """Waits for the burst that is running, begins the next one, and looks at the replies of the former."""
        finished = self._wait(frontier)
        # A step takes a slot for each row. Steps without room would be held back, and the host would wait for nothing.
        if self.decoder.free_slots < len(frontier):
            self._note_replies(finished)
            finished = []
            self._make_room(frontier)
        if len(frontier):
            frontier.launch(self.burst)
            self.passes += self.burst
        # Only now, while the device works: writing drafts for other views takes the host a while.
        self._note_replies(finished)

    def _wait(self, frontier: Frontier) -> list[Finished]:
        """Waits for the burst that is running and lets the frontier take what is ready; the replies that ended."""
        before = frontier.tokens
        finished = frontier.wait()
        self.tokens += frontier.tokens - before
        if self.ready:
            frontier.add(self.ready)
            self.ready = []
        return finished

    def _note_replies(self, finished: Sequence[Finished]) -> None:
        runs = {run.number: run for run in self.running}
        for reply in finished:
            self._reply(runs[reply.query], Reply(reply.tokens, reply.log_prob))

    def _drain(self, frontier: Frontier) -> None:
        """Waits until nothing runs and all living prefixes stand in the frontier: only then the cache may move."""
        self._note_replies(self._wait(frontier))
        while self.in_flight or any(run.prefixes for run in self.running):
            self._passes()
        self._wait(frontier)

    def _make_room(self, frontier: Frontier) -> None:
        """Room for a step: by moving together what is used, by sending queries back, by a larger cache."""
        self._drain(frontier)
        frontier.compact()
        # Room for two steps at least, so that this does not come back after each.
        while self.decoder.free_slots < 2 * len(frontier) and len(self.running) > 1:
            self._preempt()
            frontier.compact()
        if self.decoder.free_slots < 2 * len(frontier):
            self.decoder.grow(self.decoder.slots * 3 // 2 + len(frontier))

    def _expected_bytes(self, run: RunningQuery) -> int:
        # The slots of its rows lie outside its range, so what it holds says less than what was reserved.
        return run.reserved * self.decoder.layout.token_bytes

    def _capacity(self, number: int) -> int:
        # Every token of a draft is run at most once before the prefixes are decoded on the device.
        return len(self.queries[number].prompt) + sum(len(tokens) for _, tokens in self.proposed[number])

    def _drafts_of(self, number: int) -> list[tuple[float, tuple[int, ...]]]:
        return list(self.proposed[number])  # later ones have no room in the range that was measured for these

    def _admit(self) -> None:
        if self.queue and self.frontier is not None:
            need = self._need(self.queue.peek())
            worth = self.decoder.garbage >= max(need, self.decoder.slots // 16)  # compacting moves all that is in use
            if self.decoder.free_slots < need and worth:
                self._drain(self.frontier)
                self.frontier.compact()
        super()._admit()

    def _need(self, number: int) -> int:
        """Slots that have to be free for a query to start."""
        return self._capacity(number) + self.burst * len(self.running)

    def _has_room(self, number: int) -> bool:
        return self.decoder.free_slots >= self._need(number)

    def _alive(self) -> set[int]:
        in_flight = {chunk.run.number for launched in self.in_flight for chunk in launched.chunks}
        stepping = () if self.frontier is None else self.frontier.alive.tolist()
        return super()._alive() | in_flight | {row.query for row in self.ready} | set(stepping)

    def _close(self, run: RunningQuery) -> float:
        self.decoder.garbage += run.cache.capacity
        return math.inf if self.frontier is None else self.frontier.close(run.number)


def _new_row(run: RunningQuery, prefix: Prefix) -> NewRow:
    """A prefix that has one pending token and no guess, for the frontier."""
    # The prompt is one range that all rows of the query share: only what stands behind it is listed.
    places = np.flatnonzero(prefix.seen)[len(run.query.prompt) :]
    return NewRow(run.number, prefix.tokens, prefix.log_prob, run.cache.base + places, prefix.first)

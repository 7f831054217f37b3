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

import torch

from arcfold.decoding import Arena, Decoder, Segment, chain, default_budget, open_decoder, weight_bytes


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
) -> list[Found]:
    """For each query, all replies y ending in `end` within its `longest` with p(y | prompt) >= min_prob.

    `model` is a transformers causal language model (or a PeftModel with LoRA) in eval mode on its
    device; log-probabilities are its log-softmax in fp32, over the whole vocabulary, summed in fp64.

    `drafts(query, reply)` is called for each reply when it is found and yields guesses
    `(other query, tokens)`; they change the speed, never the replies. `groups[i]` names queries
    that draft for each other: of a group only a few start, the others follow once there is a draft.

    `memory_budget`: bytes for keys and values, all queries together; None finds one. A query that
    needs more is run all the same, alone. The same call gives the same bytes on the same device.

    Raises ValueError for wrong arguments, InputError for a model that can't be searched this way.
    """
    _check(queries, min_prob, groups)
    if not queries:
        return []
    longest = max(len(query.prompt) + query.longest for query in queries)
    with open_decoder(model, longest) as decoder:
        budget = default_budget(decoder.layout, weight_bytes(model)) if memory_budget is None else memory_budget
        waiting = _Waiting(queries, None if drafts is None else groups)
        return _Search(decoder, queries, end, math.log(min_prob), drafts, waiting, budget, progress).run()


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
    seen: torch.Tensor
    """(n,) True for the places of the arena that it builds on; later places count as False."""
    guess: tuple[int, ...] = ()
    """How it might go on."""


@dataclass(eq=False)
class _Run:
    """A query that is being searched."""

    number: int
    query: Query
    arena: Arena
    prefixes: list[_Prefix]
    reserved: int
    """Tokens that its arena is expected to need."""
    drafts: list[tuple[float, tuple[int, ...]]]
    """(-log-probability where it was found, tokens without the end), sorted."""
    replies: list[Reply] = field(default_factory=list)
    margin: float = math.inf

    @property
    def bytes(self) -> int:
        return self.arena.bytes

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


class _Search:
    """The state of one call of `search`."""

    def __init__(
        self,
        decoder: Decoder,
        queries: Sequence[Query],
        end: int,
        log_min: float,
        drafts: Drafts | None,
        waiting: _Waiting,
        budget: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.decoder = decoder
        self.queries = queries
        self.end = end
        self.log_min = log_min
        self.drafts = drafts
        self.waiting = waiting
        self.budget = budget
        self.progress = progress
        self.running: list[_Run] = []
        self.found: dict[int, Found] = {}
        self.proposed: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in queries]
        self.reserved = [len(query.prompt) + query.longest for query in queries]
        self.replies = self.tokens = self.passes = 0

    def run(self) -> list[Found]:
        while self.waiting or self.running:
            self._admit()
            self._pass()
            self._finish()
            self._evict()
            if self.progress is not None:
                self.progress(Progress(len(self.found), self.replies, self.tokens, self.passes))
        return [self.found[number] for number in range(len(self.queries))]

    def _admit(self) -> None:
        """Starts queries for as long as what they are expected to need fits the budget."""
        token_bytes = self.decoder.layout.token_bytes
        used = sum(max(run.bytes, run.reserved * token_bytes) for run in self.running)
        while self.waiting:
            number = self.waiting.first()
            used += self.reserved[number] * token_bytes
            if self.running and used > self.budget:
                return
            self.running.append(self._start(self.waiting.take()))

    def _start(self, number: int) -> _Run:
        query = self.queries[number]
        drafts = self.proposed[number]
        arena = self.decoder.arena(len(query.prompt) + min(query.longest, max([64, *(len(d) for _, d in drafts)])))
        run = _Run(number, query, arena, [], self.reserved[number], drafts)
        nothing = torch.zeros(0, dtype=torch.bool, device=self.decoder.layout.device)
        run.prefixes.append(_Prefix((), 0.0, query.prompt, nothing, run.guess_for(())))
        return run

    def _pass(self) -> None:
        """One forward pass over pending tokens and guesses, and the prefixes that come of it."""
        segments: list[Segment] = []
        chunks: list[_Chunk] = []
        room = self.decoder.pass_tokens
        for run in self.running:
            size = sum(len(prefix.pending) + len(prefix.guess) for prefix in run.prefixes)
            if segments and size > room:
                continue
            room -= size
            self._compact(run)
            made, of_run = _segments(run)
            segments += made
            chunks += of_run
            run.prefixes = []
        self.passes += 1
        self.tokens += sum(len(segment.tokens) for segment in segments)
        self._judge(chunks, self.decoder.log_probs(segments))

    def _compact(self, run: _Run) -> None:
        """Drops what no living prefix builds on, where the arena is full and that is most of it."""
        need = sum(len(prefix.pending) + len(prefix.guess) for prefix in run.prefixes)
        if run.arena.length + need <= run.arena.capacity:
            return
        alive = torch.zeros(run.arena.length, dtype=torch.bool, device=self.decoder.layout.device)
        for prefix in run.prefixes:
            alive[: len(prefix.seen)] |= prefix.seen
        places = alive.nonzero().flatten()
        if 2 * (len(places) + need) <= run.arena.capacity:
            run.arena.keep(places)
            for prefix in run.prefixes:
                prefix.seen = _padded(prefix.seen, len(alive))[places]

    def _judge(self, chunks: Sequence[_Chunk], log_probs: torch.Tensor) -> None:
        """Compares every successor's probability with min_prob; log_probs (B, V) as `_segments` ordered them."""
        before, only_end = self._before(chunks, log_probs)
        needed = (self.log_min - before).to(torch.float32)  # (B,) log-probability that a token must have
        gap = log_probs - needed[:, None]  # (B, V)
        alive = gap >= 0
        alive[:, : self.end] &= ~only_end[:, None]
        alive[:, self.end + 1 :] &= ~only_end[:, None]
        nearest = torch.where(only_end, gap[:, self.end].abs(), gap.abs().amin(1))
        margins = torch.where(before >= self.log_min, nearest, math.inf).tolist()
        rows, tokens = alive.nonzero(as_tuple=True)
        log_prob = before[rows] + log_probs[rows, tokens].double()
        hits: dict[int, list[tuple[int, float]]] = {}
        for row, token, value in zip(rows.tolist(), tokens.tolist(), log_prob.tolist(), strict=True):
            hits.setdefault(row, []).append((token, value))
        row = 0
        for chunk in chunks:
            chunk.run.margin = min([chunk.run.margin, *margins[row : row + chunk.outputs]])
            for step in range(chunk.outputs):
                for token, value in hits.get(row + step, ()):
                    self._follow(chunk, step, token, value)
            row += chunk.outputs

    def _before(self, chunks: Sequence[_Chunk], log_probs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """For each output (B,): the prefix's log-probability in fp64, and whether only the end may follow it."""
        parts: list[torch.Tensor] = []
        only_end: list[bool] = []
        row = 0
        device = log_probs.device
        firsts = torch.tensor([chunk.prefix.log_prob for chunk in chunks], dtype=torch.float64, device=device)
        for number, chunk in enumerate(chunks):
            parts.append(firsts[number : number + 1])
            guess = chunk.prefix.guess
            if guess:
                steps = torch.arange(row, row + len(guess), device=device)
                along = log_probs[steps, torch.tensor(guess, device=device)].double()
                parts.append(firsts[number] + along.cumsum(0))
            depth = len(chunk.prefix.tokens)
            only_end += [depth + step + 1 == chunk.run.query.longest for step in range(chunk.outputs)]
            row += chunk.outputs
        return torch.cat(parts), torch.tensor(only_end, device=device)

    def _follow(self, chunk: _Chunk, step: int, token: int, log_prob: float) -> None:
        """Keeps a successor that is probable enough: `token` after `step` tokens of the chunk's guess."""
        run, prefix = chunk.run, chunk.prefix
        tokens = (*prefix.tokens, *prefix.guess[:step], token)
        if token == self.end:
            reply = Reply(tokens, log_prob)
            run.replies.append(reply)
            self.replies += 1
            self._propose(run.number, reply)
        elif step == len(prefix.guess) or prefix.guess[step] != token:
            seen = _padded(prefix.seen, chunk.start + len(prefix.pending) + step)
            seen[chunk.start :] = True
            run.prefixes.append(_Prefix(tokens, log_prob, (token,), seen, run.guess_for(tokens)))

    def _propose(self, number: int, reply: Reply) -> None:
        if self.drafts is None:
            return
        for other, guess in self.drafts(number, reply):
            tokens = tuple(itertools.takewhile(lambda token: token != self.end, guess))
            if other not in self.found and all(tokens != known for _, known in self.proposed[other]):
                bisect.insort(self.proposed[other], (-reply.log_prob, tokens))
        self.waiting.found(number)

    def _finish(self) -> None:
        for run in self.running:
            if not run.prefixes:
                replies = tuple(sorted(run.replies, key=lambda reply: (-reply.log_prob, reply.tokens)))
                self.found[run.number] = Found(replies, run.margin)
                self.waiting.finished(run.number)
        self.running = [run for run in self.running if run.prefixes]

    def _evict(self) -> None:
        """Sends the youngest queries back while the arenas have grown over the budget; they start anew later."""
        while len(self.running) > 1 and sum(run.bytes for run in self.running) > self.budget:
            run = self.running.pop()
            self.replies -= len(run.replies)
            self.reserved[run.number] = 2 * max(run.arena.capacity, run.reserved)
            self.waiting.put_back(run.number)


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
            outputs = list(range(len(prefix.pending) - 1, len(tokens)))
            segments.append(chain(run.arena, tokens, first, outputs, prefix.seen.nonzero().flatten()))
    if singles:
        chunks += [_Chunk(run, prefix, run.arena.length + step) for step, prefix in enumerate(singles)]
        segments.append(_single_tokens(run, singles))
    return segments, chunks


def _single_tokens(run: _Run, prefixes: list[_Prefix]) -> Segment:
    """One segment for prefixes with one pending token each; they share the arena and see their own places."""
    positions = [len(run.query.prompt) + len(prefix.tokens) - 1 for prefix in prefixes]
    start = run.arena.append(len(prefixes))
    tokens = [prefix.pending[0] for prefix in prefixes]
    segment = Segment(run.arena, tokens, positions, list(range(len(prefixes))), start)
    mask = torch.stack([_padded(prefix.seen, segment.stop) for prefix in prefixes])
    mask[:, start:] = torch.eye(len(prefixes), dtype=torch.bool, device=mask.device)
    if not mask.all():
        segment.mask = mask
    return segment


def _padded(seen: torch.Tensor, length: int) -> torch.Tensor:
    """A copy of `seen` with `length` places, the new ones not seen."""
    longer = torch.zeros(length, dtype=torch.bool, device=seen.device)
    longer[: len(seen)] = seen
    return longer

"""Living prefixes of replies: what they build on, how they might go on, and the segments that run them.

Shapes: S tokens of a segment, N places that it sees, B outputs of a pass (living prefixes, and every
token along a guess), V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from arcfold.decoding import Segment, chain
from arcfold.replies import Query, Reply

LOOKUP_ENDINGS = (24, 12, 6, 3)
"""Tokens at the end of a text that are looked up in the text before it, the longest first."""
LONGEST_LOOKUP = 32
"""Tokens that are guessed from the text itself at most."""


@dataclass(eq=False)
class Prefix:
    """A living prefix of a reply."""

    tokens: tuple[int, ...]
    log_prob: float
    pending: tuple[int, ...]
    """Its last tokens, which are not in the arena yet."""
    seen: np.ndarray
    """(n,) True for the places of the arena that it builds on; later places count as False."""
    guess: tuple[int, ...] = ()
    """How it might go on, the end token not in it."""

    @property
    def size(self) -> int:
        """Tokens that it runs in the next pass."""
        return len(self.pending) + len(self.guess)


@dataclass(eq=False)
class Run:
    """A query that is being searched."""

    number: int
    query: Query
    arena: Any
    prefixes: list[Prefix]
    reserved: int
    """Tokens that its arena is expected to need."""
    drafts: list[tuple[float, tuple[int, ...]]]
    """(-log-probability where it was found, tokens without the end), sorted."""
    replies: list[Reply] = field(default_factory=list)
    margin: float = math.inf
    stride: int = 4
    """Tokens that are guessed from the text itself: more after guesses that held, fewer after others."""

    @cached_property
    def text(self) -> str:
        """The prompt, a character for each token."""
        return "".join(map(chr, self.query.prompt))

    def drafted(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """The rest of the first draft that begins with `tokens`, cut to the longest reply."""
        depth = len(tokens)
        for _, draft in self.drafts:
            if len(draft) > depth and draft[:depth] == tokens:
                return draft[depth : self.query.longest - 1]
        return ()

    def lookup(self, tokens: tuple[int, ...], end: int) -> tuple[int, ...]:
        """What followed the last earlier place in prompt and prefix that reads like the prefix's end."""
        text = self.text + "".join(map(chr, tokens))
        place = _longest_match(text)
        longest = min(self.stride, self.query.longest - 1 - len(tokens))
        if not place or longest <= 0:
            return ()
        return tuple(map(ord, text[place : place + longest].partition(chr(end))[0]))


def _longest_match(text: str) -> int:
    """The place behind the last earlier occurrence of the longest known ending of `text`, or 0."""
    for size in LOOKUP_ENDINGS:
        place = text.rfind(text[-size:], 0, len(text) - 1)
        if place >= 0:
            return place + size
    return 0


@dataclass(frozen=True)
class Chunk:
    """What one output block of a pass belongs to: a prefix and the guess that was run behind it."""

    run: Run
    prefix: Prefix
    start: int
    """Place of the first pending token in the arena."""

    @property
    def outputs(self) -> int:
        return 1 + len(self.prefix.guess)

    def only_end(self) -> np.ndarray:
        """For each output whether the reply has only room for the end token."""
        depth = len(self.prefix.tokens) + np.arange(self.outputs)
        return depth + 1 == self.run.query.longest


def one_segment(run: Run, prefix: Prefix) -> Segment:
    """A segment of a prefix's pending tokens and its guess."""
    tokens = [*prefix.pending, *prefix.guess]
    first = len(run.query.prompt) + len(prefix.tokens) - len(prefix.pending)
    return chain(run.arena, tokens, first, range(len(prefix.pending) - 1, len(tokens)), np.flatnonzero(prefix.seen))


def shared_segment(run: Run) -> tuple[list[Segment], list[Chunk]]:
    """One segment for all prefixes of a query, each behind the places that it builds on, and their chunks."""
    chunks: list[Chunk] = []
    total = sum(prefix.size for prefix in run.prefixes)
    start = run.arena.append(total)
    mask = np.zeros((total, start + total), dtype=bool)
    outputs: list[int] = []
    positions = []
    begin = 0
    for prefix in run.prefixes:
        end = begin + prefix.size
        mask[begin:end, : len(prefix.seen)] = prefix.seen
        mask[begin:end, start + begin : start + end] = np.tri(prefix.size, dtype=bool)
        behind = len(run.query.prompt) + len(prefix.tokens) - len(prefix.pending)
        positions.append(np.arange(behind, behind + prefix.size))
        outputs += range(begin + len(prefix.pending) - 1, end)
        chunks.append(Chunk(run, prefix, start + begin))
        begin = end
    tokens = np.array([token for prefix in run.prefixes for token in (*prefix.pending, *prefix.guess)])
    return [Segment(run.arena, tokens, np.concatenate(positions), np.array(outputs), start, mask=mask)], chunks


def padded(seen: np.ndarray, length: int) -> np.ndarray:
    """A copy of `seen` with `length` places, the new ones not seen."""
    longer = np.zeros(length, dtype=bool)
    longer[: len(seen)] = seen
    return longer


def guessed(chunks: Sequence[Chunk]) -> np.ndarray:
    """(B,) the token that is guessed behind each output; -1 where a guess is over."""
    return np.concatenate([[*chunk.prefix.guess, -1] for chunk in chunks]).astype(np.int64)


def log_probs_before(chunks: Sequence[Chunk], guesses: np.ndarray, log_probs: np.ndarray) -> np.ndarray:
    """(B,) the log-probability of each output's prefix, in fp64, from guesses (B,) and log_probs (B, V)."""
    gained = np.take_along_axis(log_probs, np.maximum(guesses, 0)[:, None], 1)[:, 0].astype(np.float64)
    before = np.empty(len(guesses))
    begin = 0
    for chunk in chunks:
        end = begin + chunk.outputs
        before[begin] = chunk.prefix.log_prob
        before[begin + 1 : end] = chunk.prefix.log_prob + gained[begin : end - 1].cumsum()
        begin = end
    return before

"""Living prefixes of replies: what they build on, how they might go on, and the segments that run them.

Example: a prompt of 5 tokens at places 0 to 4 of its cache; its prefixes (1), (2, 0) and (2, 1) are alive, and token
2 of the last two stands at place 5. Token 1 of (1) is pending, and so are 0 and 1; the guess behind (1) is (0, 0).
`shared_segment` runs five tokens, S = 5, at places 6 to 10, so N = 11:

    token     place  position  sees places      output asked for
    1         6      5         0-4, 6           yes: what follows (1)
    0 (guess) 7      6         0-4, 6, 7        yes: what follows (1, 0)
    0 (guess) 8      7         0-4, 6, 7, 8     yes: what follows (1, 0, 0)
    0         9      6         0-4, 5, 9        yes: what follows (2, 0)
    1         10     6         0-4, 5, 10       yes: what follows (2, 1)

B = 5 outputs in three chunks of 3, 1 and 1; `guessed` gives (0, 0, -1, -1, -1).

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

from arcfold.models.positions import PositionRule
from arcfold.search.decoding import Segment, causal_segment
from arcfold.search.replies import Query, Reply

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
    """Its last tokens, which are not in the cache yet; the whole prompt, in a query's first pass."""
    seen: np.ndarray
    """(n,) bool, True for the places of the cache that it builds on; later places count as False."""
    first: int
    """Position of its first pending token; the others follow by the model's rule."""
    guess: tuple[int, ...] = ()
    """How it might go on, the end token not in it."""

    @property
    def size(self) -> int:
        """Tokens that it runs in the next pass."""
        return len(self.pending) + len(self.guess)


@dataclass(eq=False)
class RunningQuery:
    """A query that is being searched."""

    number: int
    query: Query
    cache: Any
    prefixes: list[Prefix]
    reserved: int
    """Tokens that its cache is expected to need."""
    drafts: list[tuple[float, tuple[int, ...]]]
    """(-log-probability where it was found, tokens without the end), sorted."""
    rule: PositionRule
    """The positions of tokens."""
    replies: list[Reply] = field(default_factory=list)
    margin: float = math.inf
    lookup_length: int = 4  # grows or shrinks with the first guesses, so it matters little where it starts
    """Tokens that are guessed from the text itself: more after guesses that held, fewer after others."""

    @cached_property
    def text(self) -> str:
        """The prompt, a character for each token."""
        return "".join(map(chr, self.query.prompt))

    def drafted(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """The rest of the first draft that begins with `tokens`, cut to the longest reply."""
        depth = len(tokens)
        # The first is the likeliest one. The last token of a longest reply can only be the end: it needs no guess.
        for _, draft in self.drafts:
            if len(draft) > depth and draft[:depth] == tokens:
                return draft[depth : self.query.longest - 1]
        return ()

    def lookup(self, tokens: tuple[int, ...], end: int) -> tuple[int, ...]:
        """What followed the last earlier place in prompt and prefix that reads like the prefix's end.

        `end` is the end token. This is prompt lookup, speculation without a draft model: grids repeat themselves.
        """
        # A string rather than an array: `rfind` is compiled and finds the last occurrence in one call.
        text = self.text + "".join(map(chr, tokens))
        place = _longest_match(text)
        longest = min(self.lookup_length, self.query.longest - 1 - len(tokens))
        if not place or longest <= 0:
            return ()
        return tuple(map(ord, text[place : place + longest].partition(chr(end))[0]))


def _longest_match(text: str) -> int:
    """The place behind the last earlier occurrence of the longest known ending of `text`, or 0."""
    # The longer the ending that is found again, the surer is what followed it.
    for size in LOOKUP_ENDINGS:
        place = text.rfind(text[-size:], 0, len(text) - 1)
        if place >= 0:
            return place + size
    return 0


@dataclass(frozen=True)
class Chunk:
    """What successive outputs of a pass belong to: a prefix and the guess that was run behind it."""

    run: RunningQuery
    prefix: Prefix
    start: int
    """Place of the first pending token in the cache."""
    positions: np.ndarray
    """(prefix.size,) positions of the pending tokens and of the guess."""

    @property
    def outputs(self) -> int:
        """How many: one for the prefix and one for each token of the guess."""
        return 1 + len(self.prefix.guess)

    def only_end(self) -> np.ndarray:
        """(outputs,) bool: whether the reply has only room for the end token."""
        depth = len(self.prefix.tokens) + np.arange(self.outputs)
        return depth + 1 == self.run.query.longest

    def position_behind(self, step: int, token: int) -> int:
        """The position of `token` behind the prefix and `step` tokens of its guess."""
        prefix = self.prefix
        last = prefix.guess[step - 1] if step else prefix.pending[-1]
        return self.run.rule.next(int(self.positions[len(prefix.pending) - 1 + step]), last, token)


def one_segment(run: RunningQuery, prefix: Prefix) -> Segment:
    """A segment of a prefix's pending tokens and its guess."""
    tokens = [*prefix.pending, *prefix.guess]
    outputs = range(len(prefix.pending) - 1, len(tokens))
    return causal_segment(run.cache, tokens, prefix.first, outputs, np.flatnonzero(prefix.seen), run.rule)


def shared_segment(run: RunningQuery) -> tuple[list[Segment], list[Chunk]]:
    """One segment for all prefixes of a query, each behind the places that it builds on, and their chunks.

    Appends to the query's cache. The mask (S, N) keeps the prefixes apart: they share the prompt and what else two of
    them build on, and see none of each other's tokens.
    """
    chunks: list[Chunk] = []
    total = sum(prefix.size for prefix in run.prefixes)
    start = run.cache.append(total)
    mask = np.zeros((total, start + total), dtype=bool)
    outputs: list[int] = []
    positions = []
    begin = 0
    for prefix in run.prefixes:
        end = begin + prefix.size
        mask[begin:end, : len(prefix.seen)] = prefix.seen
        # Its own tokens, the guess too, are a text of their own: a triangle on the diagonal.
        mask[begin:end, start + begin : start + end] = np.tri(prefix.size, dtype=bool)
        # Positions are of the text, places of the cache: siblings may share a position and never a place.
        positions.append(run.rule.following([*prefix.pending, *prefix.guess], prefix.first))
        outputs += range(begin + len(prefix.pending) - 1, end)
        chunks.append(Chunk(run, prefix, start + begin, positions[-1]))
        begin = end
    tokens = np.array([token for prefix in run.prefixes for token in (*prefix.pending, *prefix.guess)])
    return [Segment(run.cache, tokens, np.concatenate(positions), np.array(outputs), start, mask=mask)], chunks


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
    # Where a guess is over, -1 is looked up as token 0; nothing comes behind that output, so nobody adds it.
    gained = np.take_along_axis(log_probs, np.maximum(guesses, 0)[:, None], 1)[:, 0].astype(np.float64)
    before = np.empty(len(guesses))
    begin = 0
    for chunk in chunks:
        end = begin + chunk.outputs
        before[begin] = chunk.prefix.log_prob
        # From left to right along the guess, as one token after the other would have been added.
        before[begin + 1 : end] = chunk.prefix.log_prob + gained[begin : end - 1].cumsum()
        begin = end
    return before

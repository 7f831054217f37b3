"""What a search is asked, what it answers, and how it says how far it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass


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
    inputs: int
    """Groups of queries, the views of a test input, whose search is over."""
    replies: int
    """Replies found for them."""
    tokens: int
    """Tokens run so far, prompts included."""
    passes: int
    """Forward passes so far."""


Drafts = Callable[[int, Reply], Iterable[tuple[int, tuple[int, ...]]]]
"""From a query's number and a reply that was found for it to guesses: another query's number and a whole reply."""


class GroupStats:
    """How many groups have all their members done: what a progress bar counts as inputs."""

    def __init__(self, groups: Iterable[Hashable]) -> None:
        """groups: the group of each member"""
        self._left = Counter(groups)
        self.done = 0
        """Groups that are done so far."""

    def finish(self, group: Hashable) -> None:
        """Says that one more member of a group is done."""
        self._left[group] -= 1
        self.done += self._left[group] == 0

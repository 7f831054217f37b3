"""The search and the rescoring as published solvers do them: one token, one candidate a forward pass.

What ours is tested against and measured against. Both ask the stock model, with its own attention and
its own cache, and share nothing with what they check but the definition: all replies y that end in
`end` with p(y | prompt) >= min_prob.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch

Replies = dict[tuple[int, ...], float]
"""Log-probability of each reply."""


@torch.inference_mode()
def reply_log_prob(model: Any, prompt: Sequence[int], reply: Sequence[int]) -> float:
    """log p(reply | prompt) by one forward pass over both."""
    logits = model(input_ids=_row(model, [*prompt, *reply]), use_cache=False).logits[0]
    log_probs = logits[len(prompt) - 1 : -1].float().log_softmax(-1)
    return math.fsum(log_probs.gather(1, _row(model, reply).T).flatten().tolist())


class SequentialSearch:
    """Depth-first search, one sequence and one token a forward pass, as published solvers do it.

    The cache is cut back on backtracking; the most probable reply found so far for the same task
    is tried first, in one pass over the prompt and that guess.
    """

    def __init__(self, model: Any, end: int, min_prob: float) -> None:
        self._model = model
        self._end = end
        self._log_min = math.log(min_prob)
        self.passes = 0
        """Forward passes so far."""

    @torch.inference_mode()
    def search(self, prompt: Sequence[int], longest: int, guess: Sequence[int] = ()) -> Replies:
        """All replies to one prompt, with their log-probabilities."""
        from transformers import DynamicCache

        self._replies: Replies = {}
        self._longest = longest
        self._cache = DynamicCache()
        guess = tuple(guess)[:longest]
        log_probs = self._forward([*prompt, *guess[:-1]], len(prompt) - 1)
        with _deep(longest):
            self._explore(log_probs, (), 0.0, guess, len(prompt))
        return self._replies

    def _explore(
        self, log_probs: list[list[float]], prefix: tuple[int, ...], score: float, guess: tuple[int, ...], length: int
    ) -> None:
        """Follows every successor of `prefix`; `log_probs` holds a row for it and one for each token of the guess."""
        order = sorted(range(len(log_probs[0])), key=lambda token: -log_probs[0][token])
        if guess:  # first, while its keys and values stand in the cache
            order.remove(guess[0])
            order.insert(0, guess[0])
        for token in order:
            value = score + log_probs[0][token]
            if value < self._log_min:
                continue
            if token == self._end:
                self._replies[(*prefix, token)] = value
            elif len(prefix) + 1 < self._longest:
                if guess and token == guess[0] and len(log_probs) > 1:
                    self._explore(log_probs[1:], (*prefix, token), value, guess[1:], length + 1)
                else:
                    self._cut(length)
                    self._explore(self._forward([token], 0), (*prefix, token), value, (), length + 1)

    def _forward(self, tokens: list[int], first: int) -> list[list[float]]:
        """Log-probabilities (tokens from `first` on, vocabulary), the tokens appended to the cache."""
        self.passes += 1
        out = self._model(
            input_ids=_row(self._model, tokens),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=len(tokens) - first,
        )
        return out.logits[0].float().log_softmax(-1).tolist()

    def _cut(self, length: int) -> None:
        """Cuts the cache back to its first `length` tokens."""
        surplus = self._cache.get_seq_length() - length
        if surplus > 0:
            self._cache.crop(-surplus)


def _row(model: Any, tokens: Sequence[int]) -> torch.Tensor:
    return torch.tensor([list(tokens)], device=next(model.parameters()).device)


@contextlib.contextmanager
def _deep(calls: int) -> Iterator[None]:
    """Lets functions call each other `calls` deep on top of what Python allows: a call for each token of a reply."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(before + calls)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)

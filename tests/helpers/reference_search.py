"""Plain references that the search is tested against: by force, and the sequential search of the benchmark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from arcfold.search.sequential import Replies, SequentialSearch, reply_log_prob

__all__ = ["Replies", "SequentialSearch", "brute_force", "next_log_probs", "reply_log_prob", "search_views"]


@torch.inference_mode()
def brute_force(model: Any, prompt: Sequence[int], longest: int, end: int, min_prob: float) -> Replies:
    """Every reply and its log-probability, by a full forward pass over all living prefixes of a length."""
    replies: Replies = {}
    alive: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for depth in range(1, longest + 1):
        following = []
        rows = next_log_probs(model, [[*prompt, *prefix] for prefix, _ in alive])
        for (prefix, log_prob), row in zip(alive, rows, strict=True):
            for token, value in enumerate(row):
                if log_prob + value < math.log(min_prob):
                    continue
                if token == end:
                    replies[(*prefix, token)] = log_prob + value
                elif depth < longest:
                    following.append(((*prefix, token), log_prob + value))
        alive = following
        if not alive:
            break
    return replies


@torch.inference_mode()
def next_log_probs(model: Any, texts: Sequence[Sequence[int]]) -> list[list[float]]:
    """log p(token | text) for each text, all of one length, and each token of the vocabulary."""
    ids = torch.tensor([list(text) for text in texts], device=next(model.parameters()).device)
    return model(input_ids=ids, use_cache=False).logits[:, -1].float().log_softmax(-1).tolist()


def search_views(
    model: Any, prompts: Sequence[Sequence[int]], longest: int, end: int, min_prob: float
) -> tuple[list[Replies], int]:
    """The sequential search over several prompts of one kind, each guessed by the best reply so far; and its passes."""
    searcher = SequentialSearch(model, end, min_prob)
    results: list[Replies] = []
    best: tuple[float, tuple[int, ...]] = (-math.inf, ())
    for prompt in prompts:
        results.append(searcher.search(prompt, longest, best[1]))
        best = max([best, *((value, tokens) for tokens, value in results[-1].items())])
    return results, searcher.passes

"""All replies that a model gives at least some probability, for many prompts at once.

Prefixes of equal length are disjoint events, so at most 1 / min_prob prefixes of a prompt can be
alive at any depth: going level by level finds every reply in as many steps as the longest has
tokens, with the living prefixes of many prompts in every forward pass. `level_search` does that,
with prompts, drafts and guesses in packed passes; on a GPU the rest is decoded in a `frontier`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import torch

from arcfold.decoding import open_decoder
from arcfold.level_search import LevelSearch, PoolSearch
from arcfold.memory import within_memory
from arcfold.pool import PoolDecoder, decoder_kind
from arcfold.replies import Drafts, Found, Progress, Query, Reply
from arcfold.waiting import Waiting

__all__ = ["Drafts", "Found", "Progress", "Query", "Reply", "search"]


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

    `model` is a causal language model (a light one, transformers' or a PeftModel) in eval mode on its
    device; log-probabilities are its log-softmax in fp32, over the whole vocabulary, summed in fp64.

    `drafts(query, reply)` is called for each reply when it is found and yields guesses
    `(other query, tokens)`; they change the speed, never the replies. `groups[i]` names queries
    that draft for each other: on a GPU only a few of a group start, the others once there is a draft.

    `memory_budget`: bytes for keys and values, all queries together; None finds one. A query that
    needs more is run all the same, alone. Should memory run out, the search begins anew with half of it.
    The same call gives the same bytes on the same device.

    `engine`: "arenas" (on a CPU) or "pool" (on a GPU); None takes the one for the model's device.

    Raises ValueError for wrong arguments, InputError for a model that can't be searched this way or for which
    there is not enough memory.
    """
    _check(queries, min_prob, groups)
    if not queries:
        return []
    longest = max(len(query.prompt) + query.longest for query in queries)

    def attempt(halvings: int) -> list[Found]:
        with open_decoder(model, longest, decoder_kind(model, engine), memory_budget, halvings) as decoder:
            kind = PoolSearch if isinstance(decoder, PoolDecoder) else LevelSearch
            waiting = Waiting(queries, None if drafts is None else groups)
            of = range(len(queries)) if groups is None else groups
            return kind(decoder, queries, end, math.log(min_prob), drafts, waiting, of, progress).run()

    return within_memory(attempt, "search")


def _check(queries: Sequence[Query], min_prob: float, groups: Sequence[Hashable] | None) -> None:
    if not 0 < min_prob <= 1:
        raise ValueError(f"min_prob is {min_prob}, expected a number above 0 and at most 1")
    if groups is not None and len(groups) != len(queries):
        raise ValueError(f"{len(groups)} groups for {len(queries)} queries, expected one for each")
    for number, query in enumerate(queries):
        if not query.prompt or query.longest < 1:
            raise ValueError(f"query {number}: expected a prompt of at least one token and longest of at least 1")

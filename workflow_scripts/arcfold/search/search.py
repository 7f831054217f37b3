"""All replies that a model gives at least some probability, for many prompts at once.

The search goes level by level and is exact: a reply is at most as probable as any of its prefixes, so
a prefix below min_prob can be dropped with all that follows it. Prefixes of equal length are disjoint events, so at
most 1 / min_prob prefixes of a prompt can be alive at any depth: every reply is found in as many steps as the longest
has tokens, with the living prefixes of many prompts in every forward pass. `level_search` does that, with prompts,
drafts and guesses in packed passes; on a GPU the rest is decoded in a `frontier`.

Example: prompts A of 5 tokens and B of 3, a vocabulary of 4 with end token 3, min_prob 0.1 (V = 4).

    pass  tokens run                log-probs  what is at least 0.1 then
    1     A's 5 and B's 3           (2, V)     A: (1) 0.6, (2) 0.3     B: (2) 0.9
    2     1 and 2 of A, 2 of B      (3, V)     A: replies (1, 3) 0.48 and (2, 3) 0.27, prefix (1, 0) 0.12
                                               B: reply (2, 3) 0.855; nothing is alive, so B is done
    3     0 of A                    (1, V)     A: reply (1, 0, 3) 0.108; A is done

Twelve tokens in three passes. The margin of A is log 1.08, of its last reply; that of B is log 2: its first pass gave
the other successors 0.05 or less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import torch

from arcfold.jobs.memory import within_memory
from arcfold.search.decoding import open_decoder
from arcfold.search.gpu_cache import GpuDecoder, decoder_class
from arcfold.search.level_search import GpuSearch, LevelSearch
from arcfold.search.queue import QueryQueue
from arcfold.search.replies import Drafts, Found, Progress, Query, Reply

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

    `model` is a causal language model (a plain one, transformers' or a PeftModel) in eval mode on its
    device; log-probabilities are its log-softmax in fp32, over the whole vocabulary, summed in fp64.
    Gives one `Found` for each query, in the order of the queries.

    `drafts(query, reply)` is called with a query's number for each reply when it is found and yields guesses
    `(number of another query, tokens)`; they change the speed, never the replies. `groups[i]` names queries
    that draft for each other: on a GPU only a few of a group start, the others once there is a draft.

    `memory_budget`: bytes for keys and values, all queries together; None finds one. A query that
    needs more is run all the same, alone. Should memory run out, the search begins anew with half of it.
    The same call gives the same bytes on the same device.

    `engine`: "cpu" or "gpu", the device that its cache and passes are made for (both run on either); None
    takes the one for the model's device.

    Raises ValueError for wrong arguments (min_prob not in (0, 1], an empty prompt, `longest` below 1, groups that
    are not one for each query, an unknown engine, a model in training mode), InputError for a model that can't be
    searched this way, for which there is not enough memory, or whose logits are not finite.
    """
    _check(queries, min_prob, groups)
    if not queries:
        return []
    longest = max(len(query.prompt) + query.longest for query in queries)

    # Everything that an attempt changes is made in it: after one that ran out of memory the next begins from nothing.
    def attempt(halvings: int) -> list[Found]:
        with open_decoder(model, longest, decoder_class(model, engine), memory_budget, halvings) as decoder:
            kind = GpuSearch if isinstance(decoder, GpuDecoder) else LevelSearch
            # Holding queries back pays only where the first of a group can draft for them.
            queue = QueryQueue(queries, None if drafts is None else groups)
            of = range(len(queries)) if groups is None else groups
            return kind(decoder, queries, end, math.log(min_prob), drafts, queue, of, progress).run()

    return within_memory(attempt, "search")


def _check(queries: Sequence[Query], min_prob: float, groups: Sequence[Hashable] | None) -> None:
    if not 0 < min_prob <= 1:
        raise ValueError(f"min_prob is {min_prob}, expected a number above 0 and at most 1")
    if groups is not None and len(groups) != len(queries):
        raise ValueError(f"{len(groups)} groups for {len(queries)} queries, expected one for each")
    for number, query in enumerate(queries):
        if not query.prompt or query.longest < 1:
            raise ValueError(f"query {number}: expected a prompt of at least one token and longest of at least 1")

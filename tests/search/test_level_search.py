"""The search in slots with bursts of few steps, so that passes, bursts and replies overlap in many ways.

It runs on a GPU where there is one, and there it is the test that nobody reads what is still being written.
"""

import math
from collections.abc import Hashable, Iterable, Sequence

from environments import DEVICE
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference_search import brute_force
from tiny_models import tiny_model

from arcfold.search.decoding import open_decoder
from arcfold.search.gpu_cache import GpuDecoder
from arcfold.search.level_search import GpuSearch
from arcfold.search.queue import QueryQueue
from arcfold.search.replies import Drafts, Found, Progress, Query, Reply

END = 4


def _search(
    model: object,
    queries: Sequence[Query],
    min_prob: float,
    burst: int,
    budget: int | None,
    drafts: Drafts | None = None,
    groups: Sequence[Hashable] | None = None,
) -> tuple[list[Found], list[Progress]]:
    heard: list[Progress] = []
    of = range(len(queries)) if groups is None else groups
    with open_decoder(model, 20, GpuDecoder, budget) as decoder:  # type: ignore[arg-type]
        queue = QueryQueue(queries, groups)
        search = GpuSearch(decoder, queries, END, math.log(min_prob), drafts, queue, of, heard.append)
        search.burst = burst
        return search.run(), heard


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 3),
    queries=st.lists(st.tuples(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.integers(2, 6)), max_size=6),
    min_prob=st.floats(0.004, 0.3),
    guesses=st.lists(st.lists(st.integers(0, 4), max_size=7), max_size=3),
    burst=st.integers(1, 3),
    slots=st.sampled_from([1, 40, 120, None]),
    grouped=st.booleans(),
)
def test_short_bursts_find_what_brute_force_finds(seed, queries, min_prob, guesses, burst, slots, grouped) -> None:
    model = tiny_model("qwen3", seed=seed).to(DEVICE)
    asked = [Query(tuple(prompt), longest) for prompt, longest in queries]

    def drafts(number: int, reply: Reply) -> Iterable[tuple[int, tuple[int, ...]]]:
        for other in range(len(asked)):
            yield other, reply.tokens
            yield from ((other, tuple(guess)) for guess in guesses)

    budget = None if slots is None else slots * 2 * 2 * 8 * 4  # layers, keys and values, numbers, bytes
    groups = [number // 3 for number in range(len(asked))] if grouped else None
    found, heard = _search(model, asked, min_prob, burst, budget, drafts, groups)
    again, _ = _search(model, asked, min_prob, burst, budget, drafts, groups)
    assert repr(again) == repr(found)
    assume(all(one.margin > 1e-4 for one in found))
    for query, one in zip(asked, found, strict=True):
        expected = brute_force(model, query.prompt, query.longest, END, min_prob)
        assert {reply.tokens for reply in one.replies} == set(expected)
        assert all(abs(reply.log_prob - expected[reply.tokens]) < 1e-4 for reply in one.replies)
    if asked:
        assert heard[-1].done == len(asked)
        assert heard[-1].replies == sum(len(one.replies) for one in found)


def test_the_margin_is_that_of_all_decisions_however_many_bursts_they_take() -> None:
    model = tiny_model("qwen3", seed=1).to(DEVICE)
    queries = [Query((1, 2, number), 7) for number in range(4)]
    whole, _ = _search(model, queries, 0.01, 16, None)
    for burst in (1, 2, 5):
        found, _ = _search(model, queries, 0.01, burst, None)
        for one, other in zip(found, whole, strict=True):
            assert math.isclose(one.margin, other.margin, abs_tol=1e-5)
            assert {reply.tokens for reply in one.replies} == {reply.tokens for reply in other.replies}

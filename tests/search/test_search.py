import copy
import math
from collections.abc import Iterable
from functools import cache

import pytest
import torch
from environments import DEVICE
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference_positions import Reference, text_of
from reference_search import Replies, SequentialSearch, brute_force, search_views
from tiny_models import (
    ARCHITECTURES,
    END,
    arc_prompt,
    embedded_model,
    real_prompts,
    shared_embedded_model,
    tiny_model,
    with_lora,
)

from arcfold.jobs.files import InputError
from arcfold.models.positions import MODEL_TYPE
from arcfold.search.search import Found, Progress, Query, Reply, search

ENGINES = ["cpu", "gpu"]
NOISE = 1e-3
"""Log-probabilities of two exact searches in fp32 differ by less; nearer to the threshold they may disagree."""


def _same(found: Found, expected: Replies, min_prob: float, noise: float = NOISE) -> None:
    """The same replies, but for those within the noise of the threshold; the same log-probabilities."""
    mine = {reply.tokens: reply.log_prob for reply in found.replies}
    for tokens in mine.keys() ^ expected.keys():
        assert found.margin < noise, tokens
        assert abs({**mine, **expected}[tokens] - math.log(min_prob)) < noise
    for tokens in mine.keys() & expected.keys():
        assert mine[tokens] == pytest.approx(expected[tokens], abs=noise)
    assert list(found.replies) == sorted(found.replies, key=lambda reply: (-reply.log_prob, reply.tokens))


@settings(max_examples=25, deadline=None)
@given(
    architecture=st.sampled_from(sorted(ARCHITECTURES)),
    seed=st.integers(0, 3),
    kv_heads=st.sampled_from([1, 2]),
    tied=st.booleans(),
    queries=st.lists(st.tuples(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.integers(1, 5)), max_size=4),
    min_prob=st.floats(0.004, 0.6),
    guesses=st.lists(st.lists(st.integers(0, 4), max_size=7), max_size=3),
    budget=st.sampled_from([1, 4000, None]),
    engine=st.sampled_from(ENGINES),
)
def test_same_as_brute_force(architecture, seed, kv_heads, tied, queries, min_prob, guesses, budget, engine) -> None:
    model = tiny_model(architecture, seed=seed, kv_heads=kv_heads, tied=tied)
    asked = [Query(tuple(prompt), longest) for prompt, longest in queries]

    def drafts(number: int, reply: Reply) -> Iterable[tuple[int, tuple[int, ...]]]:
        for other in range(len(asked)):
            yield other, reply.tokens
            yield from ((other, tuple(guess)) for guess in guesses)

    for options in ({}, {"drafts": drafts}, {"drafts": drafts, "groups": [0] * len(asked)}):
        found = search(model, asked, end=4, min_prob=min_prob, memory_budget=budget, engine=engine, **options)
        assume(all(one.margin > 1e-4 for one in found))
        for query, one in zip(asked, found, strict=True):
            _same(one, brute_force(model, query.prompt, query.longest, 4, min_prob), min_prob, 1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", [2, 3])
def test_positions_by_grids_same_as_brute_force_with_the_vision_models_text_model(seed: int, engine: str) -> None:
    model = tiny_model(MODEL_TYPE, seed=seed, kv_heads=2)
    prompts = [text_of(10 * seed + number, 4 + 5 * number, model.config.grid_tokens, 5) for number in range(4)]
    asked = [Query(tuple(prompt), 7) for prompt in prompts]

    def drafts(number: int, reply: Reply) -> Iterable[tuple[int, tuple[int, ...]]]:
        yield from ((other, reply.tokens) for other in range(len(asked)))

    reference = Reference(model)
    expected = [brute_force(reference, prompt, 7, 4, 0.01) for prompt in prompts]
    assert sum(map(len, expected)) > 10
    for options in ({}, {"drafts": drafts, "groups": [0] * 4, "memory_budget": 4000}):
        found = search(model, asked, end=4, min_prob=0.01, engine=engine, **options)
        for one, replies in zip(found, expected, strict=True):
            _same(one, replies, 0.01, 1e-4)


def test_the_sequential_search_by_grids_goes_on_from_its_cache() -> None:
    model = tiny_model(MODEL_TYPE, seed=2, kv_heads=2)
    prompt = text_of(3, 12, model.config.grid_tokens, 5)
    found = SequentialSearch(model, 4, 0.01).search(prompt, 7)
    expected = brute_force(Reference(model), prompt, 7, 4, 0.01)
    assert len(expected) > 2
    assert found == pytest.approx(expected, abs=1e-4)


@cache
def _sequential(count: int, longest: int) -> list[Replies]:
    """All replies of at least 0.01 to real prompts; those of a higher threshold are among them."""
    searcher = SequentialSearch(shared_embedded_model(), END, 0.01)
    return [searcher.search(prompt, longest) for prompt in real_prompts(count)]


@pytest.mark.parametrize("min_prob", [0.17, 0.05, 0.01])
def test_real_tasks_same_as_the_sequential_search(min_prob: float) -> None:
    queries = [Query(prompt, 13) for prompt in real_prompts(12)]
    found = search(shared_embedded_model(), queries, end=END, min_prob=min_prob)
    several = 0
    for replies, one in zip(_sequential(12, 13), found, strict=True):
        expected = {tokens: value for tokens, value in replies.items() if value >= math.log(min_prob)}
        _same(one, expected, min_prob)
        several += len(expected) > 1
    if min_prob < 0.17:  # the untrained model is too unsure for more at 0.17
        assert several >= 0.3 * len(queries)


def test_both_engines_find_the_same() -> None:
    queries = [Query(prompt, 13) for prompt in real_prompts(10)]
    on_cpu, on_gpu = (search(shared_embedded_model(), queries, end=END, min_prob=0.05, engine=name) for name in ENGINES)
    for one, other in zip(on_cpu, on_gpu, strict=True):
        _same(one, {reply.tokens: reply.log_prob for reply in other.replies}, 0.05)
        assert one.margin == pytest.approx(other.margin, abs=NOISE)


def _views() -> list[tuple[int, ...]]:
    """One small task under eight permutations of its colours: views that may draft for each other."""
    prompts = []
    for shift in range(8):
        a, b, c = ((colour + shift) % 10 for colour in (1, 4, 7))
        pairs = [([[a, b], [b, b]], [[b, a], [a, a]]), ([[a, a], [b, a]], [[b, b], [a, b]])]
        prompts.append(arc_prompt([*pairs, ([[c, c], [c, c]], [[c, c], [c, c]])], [[a, b], [a, b]]))
    return prompts


def _shifted(source: int, tokens: tuple[int, ...]) -> Iterable[tuple[int, tuple[int, ...]]]:
    for view in range(8):
        if view != source:
            yield view, tuple((t + view - source) % 10 if t < 10 else t for t in tokens)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("min_prob", [0.17, pytest.param(0.02, marks=pytest.mark.slow)])
def test_drafts_change_the_passes_and_not_the_replies(min_prob: float, engine: str) -> None:
    model = shared_embedded_model()
    queries = [Query(prompt, 31) for prompt in _views()]
    heard: dict[str, list[Progress]] = {"off": [], "on": []}
    off = search(model, queries, end=END, min_prob=min_prob, progress=heard["off"].append, engine=engine)
    on = search(
        model,
        queries,
        end=END,
        min_prob=min_prob,
        drafts=lambda number, reply: _shifted(number, reply.tokens),
        groups=["the task"] * 8,
        progress=heard["on"].append,
        engine=engine,
    )
    for one, other in zip(on, off, strict=True):
        _same(one, {reply.tokens: reply.log_prob for reply in other.replies}, min_prob)
    assert any(len(one.replies) > 0 for one in off)
    assert heard["off"][-1].replies == heard["on"][-1].replies == sum(len(one.replies) for one in off)
    if min_prob == 0.17:
        expected, _ = search_views(model, [query.prompt for query in queries], 31, END, min_prob)
        for one, reference in zip(on, expected, strict=True):
            _same(one, reference, min_prob)


def test_a_query_alone_finds_what_it_finds_among_many() -> None:
    model = shared_embedded_model()
    queries = [Query(prompt, 24) for prompt in real_prompts(12)]
    together = search(model, queries, end=END, min_prob=0.02)
    for query, one in zip(queries, together, strict=True):
        (alone,) = search(model, [query], end=END, min_prob=0.02)
        _same(one, {reply.tokens: reply.log_prob for reply in alone.replies}, 0.02)


def test_a_budget_too_small_for_anything_runs_one_by_one() -> None:
    model = shared_embedded_model()
    queries = [Query(prompt, 24) for prompt in real_prompts(6)]
    heard: list[Progress] = []
    small = search(model, queries, end=END, min_prob=0.05, memory_budget=1, progress=heard.append)
    large = search(model, queries, end=END, min_prob=0.05)
    assert sorted({progress.done for progress in heard}) == list(range(7))
    for one, other in zip(small, large, strict=True):
        _same(one, {reply.tokens: reply.log_prob for reply in other.replies}, 0.05)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_query_that_outgrows_the_budget_sends_the_others_back(engine: str) -> None:
    model = tiny_model("qwen3", seed=1)
    queries = [Query((1, 2, number), 8) for number in range(5)]
    token_bytes = 2 * 2 * 1 * 8 * 4
    found = search(model, queries, end=4, min_prob=0.001, memory_budget=80 * token_bytes, engine=engine)
    assert max(len(one.replies) for one in found) > 20  # more places than the expected 11 for each query
    for query, one in zip(queries, found, strict=True):
        _same(one, brute_force(model, query.prompt, 8, 4, 0.001), 0.001, 1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_call_gives_the_same_bytes(engine: str) -> None:
    model = shared_embedded_model()
    queries = [Query(prompt, 13) for prompt in real_prompts(8)]
    first, second = (repr(search(model, queries, end=END, min_prob=0.05, engine=engine)) for _ in range(2))
    assert first == second


def test_a_reply_of_exactly_the_longest_length_is_found_and_no_longer_one() -> None:
    model = tiny_model("llama", seed=2)
    (found,) = search(model, [Query((1, 2), 6)], end=4, min_prob=0.0005)
    lengths = {len(reply.tokens) for reply in found.replies}
    assert max(lengths) == 6
    for longest in range(1, 6):
        (shorter,) = search(model, [Query((1, 2), longest)], end=4, min_prob=0.0005)
        expected = {reply.tokens: reply.log_prob for reply in found.replies if len(reply.tokens) <= longest}
        _same(shorter, expected, 0.0005)


@pytest.mark.parametrize("merged", [False, True])
def test_with_a_lora(merged: bool) -> None:
    model = with_lora(embedded_model(), seed=1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.mul_(0.3)
    if merged:
        model = model.merge_and_unload()
    prompts = real_prompts(4)
    found = search(model, [Query(prompt, 7) for prompt in prompts], end=END, min_prob=0.02)
    plain = search(shared_embedded_model(), [Query(prompt, 7) for prompt in prompts], end=END, min_prob=0.02)
    assert found != plain
    searcher = SequentialSearch(model, END, 0.02)
    for prompt, one in zip(prompts, found, strict=True):
        _same(one, searcher.search(prompt, 7), 0.02)


def test_certainty_is_a_probability_of_one() -> None:
    model = tiny_model("llama", vocabulary=1)
    (found,) = search(model, [Query((0,), 3)], end=0, min_prob=1.0)
    assert found.replies == (Reply((0,), 0.0),)


def test_no_queries_no_replies() -> None:
    assert search(tiny_model("llama"), [], end=4, min_prob=0.5) == []


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        (Query((), 3), {}, "query 0"),
        (Query((1,), 0), {}, "query 0"),
        (Query((1,), 1), {"min_prob": 0.0}, "min_prob is 0.0"),
        (Query((1,), 1), {"groups": []}, "0 groups for 1 queries"),
        (Query((1,), 1), {"engine": "other"}, "engine is 'other', expected one of cpu, gpu"),
    ],
)
def test_wrong_arguments_are_refused(query: Query, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search(tiny_model("llama"), [query], **{"end": 4, "min_prob": 0.5, **options})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_float16_finds_what_float32_finds(architecture: str, engine: str) -> None:
    model = copy.deepcopy(tiny_model(architecture, seed=1, kv_heads=2)).half()
    exact = copy.deepcopy(model).float()
    queries = [Query(prompt, 5) for prompt in ((1, 2, 3), (0,), (3, 3, 0, 1, 2, 2, 1))]
    found = search(model.to(DEVICE), queries, end=4, min_prob=0.01, engine=engine)
    assert sum(len(one.replies) for one in found) > 5
    for query, one in zip(queries, found, strict=True):
        _same(one, brute_force(exact, query.prompt, query.longest, 4, 0.01), 0.01, 0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("prompt", [(1, 2, 3), (1, 2)])
def test_logits_that_are_not_finite_end_with_one_line(prompt: tuple[int, ...], engine: str, dtype: torch.dtype) -> None:
    """Token 3 overflows: in the prompt, or as a successor that is run in a later step."""
    model = copy.deepcopy(tiny_model("qwen3", seed=1)).to(DEVICE, dtype)
    model.model.embed_tokens.weight.data[3] = torch.inf
    with pytest.raises(InputError, match="search: logits are not finite") as error:
        search(model, [Query((0, 1), 1), Query(prompt, 6)], end=4, min_prob=0.004, engine=engine)
    assert "\n" not in str(error.value)
    assert ("dtype to float32 or bfloat16" in str(error.value)) is (dtype == torch.float16)

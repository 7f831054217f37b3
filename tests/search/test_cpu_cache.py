"""A cache of its own for each question, against forward passes over whole texts by transformers."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_search import next_log_probs
from tiny_models import tiny_model

from arcfold.search import cpu_cache
from arcfold.search.cpu_cache import CpuDecoder, CpuKVCache
from arcfold.search.decoding import Layout, Segment, causal_segment, open_decoder

CPU = Layout(layers=2, heads=1, groups=2, size=8, dtype=torch.float32, device=torch.device("cpu"))


def test_a_cache_grows_and_forgets_without_changing_what_it_keeps() -> None:
    cache = CpuKVCache(CPU, 2)
    written = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(0))
    for token in range(5):
        start = cache.append(1)
        cache.write(1, start, written[:, token : token + 1], -written[:, token : token + 1])
    assert cache.bytes >= 5 * CPU.token_bytes == 5 * 2 * 2 * 8 * 4
    cache.keep(np.array([0, 3, 4]))
    keys, values = cache.read(1, slice(cache.length))
    assert torch.equal(keys, written[:, [0, 3, 4]])
    assert torch.equal(values, -keys)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    length=st.sampled_from(
        [3, cpu_cache.MIN_COMMON_PREFIX - 1, cpu_cache.MIN_COMMON_PREFIX, cpu_cache.MIN_COMMON_PREFIX + 37]
    ),
    branches=st.integers(1, 6),
    kv_heads=st.sampled_from([1, 2]),
    passes=st.integers(1, 3),
)
def test_a_tree_behind_a_prompt_is_seen_as_it_was_grown(
    seed: int, length: int, branches: int, kv_heads: int, passes: int
) -> None:
    """Branches build on random places of earlier ones, several in a pass, beside another question's."""
    draws = random.Random(seed)
    model = tiny_model("qwen3", kv_heads=kv_heads)
    text = draws.choices(range(5), k=length)
    with open_decoder(model, length + 100, CpuDecoder, None) as decoder:
        cache, other = decoder.allocate(length), decoder.allocate(4)
        rows: list[torch.Tensor] = []
        segments = [causal_segment(cache, text, 0, range(length - 1, length), None, decoder.rule)]
        segments.append(causal_segment(other, text[:4], 0, range(0), None, decoder.rule))
        ways: list[tuple[list[int], list[int]]] = [(list(range(length)), text)]  # places and tokens of each branch
        expected = [text]
        for number in range(branches):
            if number % passes == 0:
                rows += list(decoder.log_probs(segments))
                segments = []
            places, tokens = draws.choice(ways)
            cut = draws.randint(length, len(places))
            new = draws.choices(range(5), k=draws.randint(1, 4))
            start = cache.length
            segments.append(causal_segment(cache, new, cut, range(len(new)), np.array(places[:cut]), decoder.rule))
            expected += [[*tokens[:cut], *new[: end + 1]] for end in range(len(new))]
            ways.append(([*places[:cut], *range(start, start + len(new))], [*tokens[:cut], *new]))
        rows += list(decoder.log_probs(segments))
    _check(model, rows, expected)


def _check(model: torch.nn.Module, rows: Sequence[torch.Tensor], texts: list[list[int]]) -> None:
    """That these are the log-probabilities behind the texts."""
    for row, text in zip(rows, texts, strict=True):
        torch.testing.assert_close(row, torch.tensor(next_log_probs(model, [text])[0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("length", [5, cpu_cache.MIN_COMMON_PREFIX + 5])
def test_tokens_of_one_segment_see_what_its_mask_says(length: int, kv_heads: int) -> None:
    """Three continuations in one segment: none of them sees another, one does not see the prompt's last token."""
    model = tiny_model("llama", kv_heads=kv_heads)
    text = random.Random(length).choices(range(5), k=length)
    ways = [(text, [1, 2]), (text, [4]), (text[:-1], [3, 0])]
    with open_decoder(model, length + 10, CpuDecoder, None) as decoder:
        cache = decoder.allocate(length)
        decoder.log_probs([causal_segment(cache, text, 0, range(length - 1, length), None, decoder.rule)])
        start = cache.append(5)
        mask = np.zeros((5, start + 5), dtype=bool)
        begin, tokens, positions = 0, [], []
        for seen, new in ways:
            end = begin + len(new)
            mask[begin:end, : len(seen)] = True
            mask[begin:end, start + begin : start + end] = np.tri(len(new), dtype=bool)
            tokens += new
            positions += range(len(seen), len(seen) + len(new))
            begin = end
        segment = Segment(cache, np.array(tokens), np.array(positions), np.arange(5), start, mask=mask)
        rows = list(decoder.log_probs([segment]))
    _check(model, rows, [[*seen, *new[: i + 1]] for seen, new in ways for i in range(len(new))])

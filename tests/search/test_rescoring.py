import copy

import pytest
import torch
from environments import DEVICE
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_positions import Reference, text_of
from reference_search import reply_log_prob
from tiny_models import ARCHITECTURES, END, real_prompts, shared_embedded_model, tiny_model, with_lora

from arcfold.jobs.files import InputError
from arcfold.models.positions import MODEL_TYPE
from arcfold.search.rescoring import Progress, reply_log_probs

TOKENS = st.lists(st.integers(0, 4), min_size=1, max_size=6)
QUESTIONS = st.lists(st.tuples(TOKENS, st.lists(TOKENS, max_size=5)), max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    questions=QUESTIONS,
    architecture=st.sampled_from(sorted(ARCHITECTURES)),
    kv_heads=st.sampled_from([1, 2]),
    tied=st.booleans(),
    budget=st.sampled_from([1, 2000, None]),
    engine=st.sampled_from(["cpu", "gpu"]),
)
def test_same_as_one_pass_for_each_reply(questions, architecture, kv_heads, tied, budget, engine) -> None:
    model = tiny_model(architecture, kv_heads=kv_heads, tied=tied)
    found = reply_log_probs(model, questions, memory_budget=budget, engine=engine)
    expected = [[reply_log_prob(model, prompt, reply) for reply in replies] for prompt, replies in questions]
    assert [len(values) for values in found] == [len(values) for values in expected]
    for mine, reference in zip(found, expected, strict=True):
        assert mine == pytest.approx(reference, abs=1e-4)


@pytest.mark.parametrize("engine", ["cpu", "gpu"])
def test_positions_by_grids_same_as_passes_of_the_vision_models_text_model(engine: str) -> None:
    model = tiny_model(MODEL_TYPE, seed=4, kv_heads=2)
    kinds = model.config.grid_tokens
    questions = [
        (text_of(number, 3 + 6 * number, kinds, 5), [text_of(100 * number + n, 1 + n % 9, kinds, 5) for n in range(12)])
        for number in range(4)
    ]
    reference = Reference(model)
    for (prompt, replies), values in zip(questions, reply_log_probs(model, questions, engine=engine), strict=True):
        assert values == pytest.approx([reply_log_prob(reference, prompt, reply) for reply in replies], abs=1e-4)


def _questions() -> list[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """Real prompts with replies that share beginnings, are equal, are prefixes of one another."""
    base = (1, 2, 10, 3, 4, 10, END)
    replies = [base, (*base[:4], 5, 10, END), base[:3], base, (0, END), (*base[:6], 3, 4, 10, END)]
    return [(prompt, replies[: 1 + number % 6]) for number, prompt in enumerate(real_prompts(12))]


@pytest.mark.parametrize("engine", ["cpu", "gpu"])
def test_the_embedded_model_same_as_one_pass_for_each_reply(engine: str) -> None:
    model = shared_embedded_model()
    found = reply_log_probs(model, _questions(), engine=engine)
    for (prompt, replies), values in zip(_questions(), found, strict=True):
        assert values == pytest.approx([reply_log_prob(model, prompt, reply) for reply in replies], abs=2e-3)


def test_the_same_call_gives_the_same_bytes_and_the_budget_changes_nothing_but_noise() -> None:
    model = shared_embedded_model()
    first = reply_log_probs(model, _questions())
    assert first == reply_log_probs(model, _questions())
    alone = reply_log_probs(model, _questions(), memory_budget=1)
    for mine, other in zip(first, alone, strict=True):
        assert mine == pytest.approx(other, abs=2e-3)


@pytest.mark.parametrize("merged", [False, True])
def test_with_a_lora(merged: bool) -> None:
    adapted = with_lora(tiny_model("qwen3", seed=2, kv_heads=2), seed=5)
    plain = reply_log_probs(tiny_model("qwen3", seed=3, kv_heads=2), [([1, 2], [[3, 4], [3, 1, 4]])])[0]
    model = adapted.merge_and_unload() if merged else adapted
    found = reply_log_probs(model, [([1, 2], [[3, 4], [3, 1, 4]])])[0]
    expected = [reply_log_prob(model, [1, 2], reply) for reply in ([3, 4], [3, 1, 4])]
    assert found == pytest.approx(expected, abs=1e-4)
    assert found != pytest.approx(plain, abs=1e-2)
    tiny_model.cache_clear()  # the adapter changed a cached model


def test_progress_counts_questions_replies_and_tokens() -> None:
    heard: list[Progress] = []
    model = tiny_model("llama")
    reply_log_probs(model, [([1, 2], [[3, 4], [3, 1]]), ([1], [[0]]), ([2], [])], progress=heard.append)
    assert heard == [Progress(done=2, inputs=3, replies=3, tokens=2 + 1 + 1)]


def test_nothing_asked_nothing_run() -> None:
    model = tiny_model("llama")
    assert reply_log_probs(model, []) == []
    assert reply_log_probs(model, [([1], [])]) == [[]]
    assert reply_log_probs(model, [([1], [[]])]) == [[0.0]]


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="prompt is empty"):
        reply_log_probs(tiny_model("llama"), [([], [[1]])])


def test_long_replies_behind_one_prompt_are_cut_into_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arcfold.search.decoding.CPU_PASS", 20)
    generator = torch.Generator().manual_seed(0)
    replies = [torch.randint(0, 5, (12,), generator=generator).tolist() for _ in range(9)]
    model = tiny_model("qwen2", kv_heads=2)
    found = reply_log_probs(model, [([1, 2, 3], replies), ([1], replies[:2])])
    for (prompt, of_prompt), values in zip([([1, 2, 3], replies), ([1], replies[:2])], found, strict=True):
        assert values == pytest.approx([reply_log_prob(model, prompt, reply) for reply in of_prompt], abs=1e-4)


@pytest.mark.parametrize("engine", ["cpu", "gpu"])
def test_float16_scores_as_float32_does(engine: str) -> None:
    model = copy.deepcopy(tiny_model("qwen3", seed=1, kv_heads=2)).half()
    exact = copy.deepcopy(model).float()
    questions = [((1, 2, 3), [(1, 4), (1, 2, 4), (0,)]), ((0,), [(3, 3, 3, 4)])]
    found = reply_log_probs(model.to(DEVICE), questions, engine=engine)
    for (prompt, replies), values in zip(questions, found, strict=True):
        assert values == pytest.approx([reply_log_prob(exact, prompt, reply) for reply in replies], abs=0.02)


@pytest.mark.parametrize("engine", ["cpu", "gpu"])
def test_logits_that_are_not_finite_end_with_one_line(engine: str) -> None:
    model = copy.deepcopy(tiny_model("qwen3", seed=1)).half().to(DEVICE)
    model.model.embed_tokens.weight.data[3] = torch.inf
    assert reply_log_probs(model, [((1, 2), [(0, 3), (0, 4)])], engine=engine)
    with pytest.raises(InputError, match=r"rescoring: .* not finite.*float16.*dtype to float32 or bfloat16") as error:
        reply_log_probs(model, [((1, 2), [(0, 3), (3, 4)])], engine=engine)
    assert "\n" not in str(error.value)

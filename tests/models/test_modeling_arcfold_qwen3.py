"""Our class for transformers against Qwen3-VL's text model, and against itself with and without a cache."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from environments import environment_of_tests
from reference_positions import Reference, axes_of, text_of
from tiny_models import by_grids
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, DynamicCache

from arcfold.models.positions import MODEL_TYPE

KINDS: dict[str, list[int]] = by_grids(16)["grid_tokens"]


def model_of(seed: int = 0, size: int = 16) -> Any:
    """Two layers, two heads for one key head, large random weights."""
    config = AutoConfig.for_model(
        MODEL_TYPE, vocab_size=16, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=size, initializer_range=0.35, eos_token_id=None, **by_grids(size),
    )  # fmt: skip
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(0.3 * torch.randn(parameter.shape))
    return model


def texts(count: int, length: int) -> torch.Tensor:
    return torch.tensor([text_of(seed, length, KINDS, 16) for seed in range(count)])


@pytest.mark.parametrize("size", [8, 16, 18, 22])
def test_hidden_states_are_those_of_the_vision_models_text_model(size: int) -> None:
    """For heads whose frequencies the axes share evenly and unevenly."""
    model, ids = model_of(size=size), texts(3, 60)
    reference = Reference(model)
    with torch.no_grad():
        expected = reference.hidden(ids)
        torch.testing.assert_close(model.model(input_ids=ids).last_hidden_state, expected, rtol=0, atol=1e-5)
        axes = torch.tensor([axes_of(text, KINDS) for text in ids.tolist()]).permute(2, 0, 1)
        given = model.model(input_ids=ids, position_ids=axes).last_hidden_state
        torch.testing.assert_close(given, expected, rtol=0, atol=1e-5)
        # and not those of a Qwen3 with places
        places = torch.arange(60).expand(3, 3, 60)
        assert (model.model(input_ids=ids, position_ids=places).last_hidden_state - expected).abs().max() > 0.1


def test_gradients_are_those_of_the_vision_models_text_model() -> None:
    model, ids = model_of(), texts(2, 40)
    reference = Reference(model)
    for each in (model, reference):
        F.cross_entropy(each(input_ids=ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    theirs = dict(reference.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-4, atol=1e-6)


def generated(model: Any, ids: torch.Tensor, **options: Any) -> list[list[int]]:
    # else transformers would take a pad that stands in a text for padding
    options.setdefault("attention_mask", torch.ones_like(ids))
    made = model.generate(ids, max_new_tokens=24, do_sample=False, pad_token_id=14, **options)
    return [text[ids.shape[1] :] for text in made.tolist()]


def lively() -> Any:
    """A model that goes on with cells, row ends and new grids: its logits for other markers are low."""
    model = model_of(seed=6)
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    return model


OTHERS = {"suppress_tokens": [13, 14, 15]}
"""What is not generated, so that the texts have rows and grids."""


def test_what_is_generated_is_what_full_passes_give() -> None:
    model, reference = lively(), Reference(lively())
    kinds = set()
    for seed in range(6):
        ids = torch.tensor([text_of(seed, 30, KINDS, 16)])
        expected = ids
        with torch.no_grad():
            for _ in range(24):
                logits = reference(expected).logits[:, -1]
                logits[:, OTHERS["suppress_tokens"]] = -torch.inf
                expected = torch.cat([expected, logits.argmax(-1, keepdim=True)], dim=1)
        new = expected[0, 30:].tolist()
        kinds |= {"cells" if token < 10 else "row_end" if token == 10 else "opening" for token in new}
        for options in (
            {"use_cache": True},
            {"use_cache": False},
            {"use_cache": True, "prefill_chunk_size": 7},
            {"cache_implementation": "static", "disable_compile": True},
        ):
            assert generated(model, ids, **OTHERS, **options) == [new], options
    assert kinds == {"cells", "row_end", "opening"}


def test_a_cache_that_was_generated_with_is_gone_on_from() -> None:
    model, ids = lively(), texts(1, 20)
    made = model.generate(
        ids, max_new_tokens=6, do_sample=False, return_dict_in_generate=True, attention_mask=torch.ones_like(ids)
    )
    text = made.sequences
    with torch.no_grad():
        went_on = model(text[:, -1:], past_key_values=made.past_key_values, use_cache=True).logits
        torch.testing.assert_close(went_on, model(text).logits[:, -1:], rtol=0, atol=1e-3)


def test_beams_and_padded_texts_are_generated_as_without_a_cache() -> None:
    model = lively()
    ids = texts(2, 20)
    beams = [generated(model, ids, num_beams=3, use_cache=cached, **OTHERS) for cached in (True, False)]
    assert beams[0] == beams[1]
    padded = torch.cat([torch.full((2, 4), 14), ids], dim=1)
    mask = (torch.arange(24) >= 4).long().expand(2, 24)
    assert generated(model, padded, attention_mask=mask, **OTHERS) == generated(model, ids, **OTHERS)


@pytest.mark.parametrize("configured", [True, False])
def test_a_cache_is_gone_on_from_and_cut_and_its_texts_are_chosen(configured: bool) -> None:
    model, ids = model_of(), texts(2, 30)
    with torch.no_grad():
        full = model(ids).logits
        cache = DynamicCache(config=model.config) if configured else DynamicCache()
        for start, stop in ((0, 11), (11, 12), (12, 30)):
            part = model(ids[:, start:stop], past_key_values=cache, use_cache=True).logits
            torch.testing.assert_close(part, full[:, start:stop], rtol=0, atol=1e-4)
        kept = copy.deepcopy(cache)
        kept.crop(-13)
        part = model(ids[:, 17:20], past_key_values=kept, use_cache=True).logits
        torch.testing.assert_close(part, full[:, 17:20], rtol=0, atol=1e-4)
        # texts change places, and one is there twice
        kept.batch_select_indices(torch.tensor([1, 0, 1]))
        part = model(ids[[1, 0, 1], 20:25], past_key_values=kept, use_cache=True).logits
        torch.testing.assert_close(part, full[[1, 0, 1], 20:25], rtol=0, atol=1e-4)


def test_positions_that_nobody_says_are_an_error() -> None:
    model, ids = model_of(), texts(1, 6)
    with pytest.raises(ValueError, match="positions follow from tokens"):
        model(inputs_embeds=model.get_input_embeddings()(ids))
    cache = DynamicCache(config=model.config)
    model(
        inputs_embeds=model.get_input_embeddings()(ids), position_ids=model.model.positions(ids), past_key_values=cache
    )
    assert cache.get_seq_length() == 6
    with pytest.raises(ValueError, match="positions follow from tokens"):
        model(ids, past_key_values=cache, use_cache=True)


def test_it_is_saved_and_loaded_by_the_auto_classes(tmp_path: Path) -> None:
    model, ids = model_of(), texts(1, 20)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    assert type(AutoModel.from_pretrained(tmp_path)) is type(model.model)
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, model(ids).logits)


ORDERS = {
    "arcfold first": (
        "import arcfold, transformers.modeling_layers, peft; from transformers import AutoModelForCausalLM as A"
    ),
    "transformers first": "from transformers import AutoModelForCausalLM as A; import arcfold",
}


@pytest.mark.parametrize("order", ORDERS)
def test_importing_arcfold_makes_it_known(order: str, tmp_path: Path) -> None:
    model_of().save_pretrained(tmp_path)
    code = f"{ORDERS[order]}; print(type(A.from_pretrained({str(tmp_path)!r})).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment_of_tests(), capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "ArcfoldQwen3ForCausalLM", done.stderr[-2000:]


def test_without_arcfold_it_is_refused_and_arcfold_alone_imports_no_library(tmp_path: Path) -> None:
    model_of().save_pretrained(tmp_path)
    code = (
        "import sys, arcfold; assert not {'numpy', 'torch', 'transformers'} & sys.modules.keys(); "
        "sys.meta_path = [finder for finder in sys.meta_path if not finder.__module__.startswith('arcfold')]; "
        f"from transformers import AutoModelForCausalLM as A; A.from_pretrained({str(tmp_path)!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment_of_tests(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "model type `arcfold_qwen3` but Transformers does not recognize this architecture" in done.stderr

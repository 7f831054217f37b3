"""Layers in few kernels against transformers' own: on a GPU, or with TRITON_INTERPRET=1 where Triton is installed."""

import pytest
import torch
from environments import DEVICE
from reference_search import next_log_probs
from tiny_models import ARCHITECTURES, tiny_model, with_lora

from arcfold.search import kernels
from arcfold.search.decoding import open_decoder
from arcfold.search.gpu_cache import GpuDecoder
from arcfold.search.search import Query, search

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not kernels.has_triton(DEVICE), reason="needs Triton and a GPU or its interpreter"),
]


@pytest.mark.parametrize(("architecture", "kv_heads"), [("llama", 1), ("qwen2", 1), ("qwen3", 2)])
def test_the_fused_search_finds_the_same(architecture: str, kv_heads: int) -> None:
    model = tiny_model(architecture, seed=11, kv_heads=kv_heads).to(DEVICE)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    queries = [Query((1, 2, 3), 3), Query((0, 4), 3)]
    plain = search(model, queries, end=4, min_prob=0.01, engine="cpu")
    found = search(model, queries, end=4, min_prob=0.01, engine="gpu")
    assert sum(len(one.replies) for one in plain) > 3
    for one, other in zip(plain, found, strict=True):
        assert [reply.tokens for reply in one.replies] == [reply.tokens for reply in other.replies]
        assert [reply.log_prob for reply in one.replies] == pytest.approx(
            [reply.log_prob for reply in other.replies], abs=1e-4
        )
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(tensor.is_contiguous() and tensor.storage_offset() == 0 for tensor in after.values())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_of_known_classes_are_fused(architecture: str) -> None:
    model = tiny_model(architecture, seed=12).to(DEVICE)
    before = next_log_probs(model, [[1, 2, 3, 4]])[0]
    with open_decoder(model, 10, GpuDecoder, 0) as decoder:
        assert all("forward" in vars(layer) for layer in model.model.layers)
        assert decoder.layout.layers == len(model.model.layers)
    assert not any("forward" in vars(layer) for layer in model.model.layers)
    assert "forward" not in vars(model.model.norm)
    assert next_log_probs(model, [[1, 2, 3, 4]])[0] == before


def test_a_layer_with_a_lora_beside_it_is_left_alone() -> None:
    model = with_lora(tiny_model("qwen3", seed=13)).to(DEVICE)
    with open_decoder(model, 10, GpuDecoder, 0):
        assert not any("forward" in vars(layer) for layer in model.get_base_model().model.layers)
    tiny_model.cache_clear()  # the adapter changed a cached model

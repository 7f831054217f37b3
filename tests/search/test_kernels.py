"""The Triton kernels against plain torch: on a GPU, or anywhere with TRITON_INTERPRET=1 where Triton is installed."""

import numpy as np
import pytest
import torch
from environments import DEVICE
from reference_search import next_log_probs
from tiny_models import ARCHITECTURES, tiny_model

from arcfold.models.positions import MODEL_TYPE
from arcfold.search import kernels
from arcfold.search.fusing import fused

pytestmark = pytest.mark.skipif(not kernels.has_triton(DEVICE), reason="needs Triton and a GPU or its interpreter")

TYPES = [(torch.float32, 1e-5), (torch.float16, 5e-3)]
if DEVICE.type == "cuda":
    TYPES.append((torch.bfloat16, 2e-2))
SHAPES = [(2, 1, 16), (6, 3, 64), (4, 4, 8), (7, 1, 80)]
"""Query heads, key-value heads, size of a head."""


def _random(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(DEVICE, dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
@pytest.mark.parametrize(("heads", "kv_heads", "size"), SHAPES)
def test_extend_same_as_plain_torch(heads: int, kv_heads: int, size: int, dtype: torch.dtype, tolerance: float) -> None:
    draw = np.random.default_rng(0)
    lists, lengths = [], []
    for seen, own in [(1, 1), (150, 150), (200, 1), (131, 65), (90, 3), (33, 32)]:
        lists.append(draw.permutation(400)[:seen])
        lengths.append(own)
    plan = kernels.extend_plan(lists, lengths, heads // kv_heads, DEVICE)
    assert plan.own.tolist() == [slot for slots, own in zip(lists, lengths, strict=True) for slot in slots[-own:]]
    query = _random(1, sum(lengths), heads, size, dtype=dtype).transpose(1, 2)[0]  # strides as in a model
    keys, values = _random(kv_heads, 400, size, dtype=dtype), _random(kv_heads, 401, size, dtype=dtype)[:, :400]
    values = values.contiguous()
    found = kernels.extend(query, keys, values, plan, 0.3)
    torch.testing.assert_close(
        found, kernels.extend_plain(query, keys, values, plan, 0.3), atol=tolerance, rtol=tolerance
    )


@pytest.mark.parametrize("longest", [512, 4096])
@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
@pytest.mark.parametrize(("heads", "kv_heads", "size"), SHAPES)
def test_decode_same_as_plain_torch(
    heads: int, kv_heads: int, size: int, dtype: torch.dtype, tolerance: float, longest: int
) -> None:
    start = torch.tensor([1, 40, 40, 0, 100, 0, 300], device=DEVICE)
    length = torch.tensor([30, 1, 1, 0, 200, 0, 400], device=DEVICE)
    depth = torch.tensor([1, 40, 7, 0, 64, 5, 112], device=DEVICE)
    table = torch.randint(0, 700, (7, 112), generator=torch.Generator().manual_seed(0)).to(DEVICE, torch.int32)
    query = _random(1, 7, heads, size, dtype=dtype).transpose(1, 2)[0]
    keys, values = _random(kv_heads, 700, size, dtype=dtype), _random(kv_heads, 700, size, dtype=dtype) * 2
    found = kernels.decode(query, keys, values, start, length, table, depth, longest, 0.3)
    expected = kernels.decode_plain(query, keys, values, start, length, table, depth, 0.3)
    real = (length + depth) > 0
    torch.testing.assert_close(found[real], expected[real], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("heads", "kv_heads", "size"), SHAPES)
def test_store_writes_each_token_to_its_slot(heads: int, kv_heads: int, size: int) -> None:
    keys, values = (torch.zeros(kv_heads, 9, size, device=DEVICE) for _ in range(2))
    new = _random(1, 3, kv_heads, size, dtype=torch.float32).transpose(1, 2)[0]
    slots = torch.tensor([7, 2, 5], device=DEVICE)
    kernels.store(keys, values, slots, new, -new)
    expected = torch.zeros_like(keys)
    expected[:, slots] = new
    assert torch.equal(keys, expected)
    assert torch.equal(values, -expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_fused_model_computes_the_same_and_is_restored(architecture: str) -> None:
    model = tiny_model(architecture, seed=7, kv_heads=2).to(DEVICE)
    before = next_log_probs(model, [[1, 2, 3, 4, 0, 1]])[0]
    with fused(model) as count:
        assert count == (9 if architecture in ("qwen3", MODEL_TYPE) else 5) + 1  # norms, and the rotary embedding
        assert next_log_probs(model, [[1, 2, 3, 4, 0, 1]])[0] == pytest.approx(before, abs=1e-5)
    assert next_log_probs(model, [[1, 2, 3, 4, 0, 1]])[0] == before

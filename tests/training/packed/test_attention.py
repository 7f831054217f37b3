"""The attention kernels of training against torch's attention, piece by piece: on a GPU or in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch
from environments import DEVICE, needs_gpu

from arcfold.search import kernels
from arcfold.training.packed import attention
from arcfold.training.packed.network import _attend_each, _attend_efficient, _attend_flash
from arcfold.training.packed.rows import Row

pytestmark = pytest.mark.skipif(not kernels.has_triton(DEVICE), reason="needs Triton and a GPU or its interpreter")

PIECES = [(1,), (128, 64), (200, 1, 0, 131, 65), (300, 7)]
TYPES = (torch.bfloat16, torch.float16) if DEVICE.type == "cuda" else (torch.float32, torch.float16)


def _tensors(tokens: int, heads: int, key_heads: int, size: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """q, k, v with the strides that they have in a model, and a gradient."""
    generator = torch.Generator().manual_seed(tokens + heads + size)
    joined = torch.randn(tokens, heads + 2 * key_heads, size, generator=generator).to(DEVICE, dtype)
    gradient = torch.randn(tokens, heads, size, generator=generator).to(DEVICE, dtype)
    return [joined[:, :heads], joined[:, heads : heads + key_heads], joined[:, heads + key_heads :], gradient]


def _row(pieces: tuple[int, ...]) -> Row:
    bounds = torch.tensor([0, *pieces], dtype=torch.int32, device=DEVICE).cumsum(0, dtype=torch.int32)
    nothing = torch.zeros(0, device=DEVICE)
    lengths = tuple(length for length in pieces if length)
    return Row(nothing, nothing, nothing, bounds, nothing, nothing, nothing, lengths, max(pieces))


@needs_gpu
@pytest.mark.parametrize("way", [_attend_flash, _attend_efficient])
@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize(("heads", "key_heads", "size"), [(2, 2, 64), (4, 2, 32), (3, 1, 128)])
def test_on_a_gpu_attention_of_older_cards_is_that_of_each_piece(way, pieces, heads, key_heads, size) -> None:
    q, k, v, d = _tensors(sum(pieces), heads, key_heads, size, torch.float16)
    row = _row(pieces)
    expected, expected_back = _attend_each(q.float(), k.float(), v.float(), row, 0.3)
    found, back = way(q, k, v, row, 0.3)
    torch.testing.assert_close(found.float(), expected, atol=2e-2, rtol=2e-2)
    first, again = back(d), back(d)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    for one, other in zip(first, expected_back(d.float()), strict=True):
        assert one.is_contiguous()
        assert (one.float() - other).norm() / (other.norm() + 1) < 1e-2


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize(("heads", "key_heads", "size"), [(2, 2, 64), (4, 2, 32), (3, 1, 128)])
@pytest.mark.parametrize("dtype", TYPES)
def test_there_and_back_as_torch(
    pieces: tuple[int, ...], heads: int, key_heads: int, size: int, dtype: torch.dtype
) -> None:
    tokens = sum(pieces)
    q, k, v, d = _tensors(tokens, heads, key_heads, size, dtype)
    if q.is_cuda and not attention.usable(q):
        pytest.skip("needs Hopper")
    row = _row(pieces)
    bounds = row.bounds
    expected, expected_back = _attend_each(q.float(), k.float(), v.float(), row, 0.3)
    wide = torch.full((tokens, heads + 1, size), 7.0, device=DEVICE, dtype=dtype)
    found = wide[:, :heads]
    sums = attention.forward(q, k, v, bounds, 0.3, found)
    assert wide[:, heads:].eq(7.0).all()
    tolerance = 1e-4 if q.dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)
    back = attention.backward(d, q, k, v, found, sums, bounds, 0.3)
    for one, other in zip(back, expected_back(d.float()), strict=True):
        assert one.is_contiguous()
        error = (one.float() - other).norm() / (other.norm() + 1)  # a lone token's gradients are zero
        assert error < (1e-4 if q.dtype == torch.float32 else 1e-2)
    again = attention.backward(d, q, k, v, found, sums, bounds, 0.3)
    assert all(torch.equal(one, other) for one, other in zip(back, again, strict=True))

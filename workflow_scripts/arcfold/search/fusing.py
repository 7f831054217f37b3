"""The small steps of a transformers model in one kernel each, where that computes the same.

A decoding step of a small model is bound by the number of its kernels, and transformers writes
the normalization and the rotary embedding as eight and ten of them. They are replaced while a
context is open, each only after it has given the same as the original on random numbers. Models whose whole layers
are replaced (`fused_layers`) need none of this.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

from arcfold.search import kernels

Rotate = Callable[..., tuple[torch.Tensor, torch.Tensor]]


@contextlib.contextmanager
def fused(model: Any) -> Iterator[int]:
    """Replaces what can be replaced in a transformers model until its end; yields the number of replacements.

    Does nothing where the Triton kernels do not run.
    """
    with contextlib.ExitStack() as stack:
        count = 0
        device = model.get_input_embeddings().weight.device
        if kernels.has_triton(device):
            count = sum(_fuse_norm(module, stack) for module in model.modules())
            count += _fuse_rotation(model, device, stack)
        yield count


def _fuse_norm(module: Any, stack: contextlib.ExitStack) -> bool:
    weight, epsilon = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 1 or epsilon is None or "forward" in vars(module):
        return False
    # By what it computes, not by its class: some models add 1 to the weight, or round elsewhere.
    states = _random((7, len(weight)), weight.device, weight.dtype)
    fast = functools.partial(kernels.rms_norm, weight=weight, epsilon=epsilon)
    if not _same(fast(states), module(states)):
        return False
    module.forward = fast
    stack.callback(vars(module).pop, "forward")
    return True


def _fuse_rotation(model: Any, device: torch.device, stack: contextlib.ExitStack) -> bool:
    """Replaces the function that the layers' module defines for all of them."""
    layers = getattr(model.get_decoder(), "layers", None)
    module = sys.modules[type(layers[0] if layers else model).__module__]
    original: Rotate | None = getattr(module, "apply_rotary_pos_emb", None)
    if original is None:
        return False
    # Small shapes with fewer key heads than query heads; angles twice, as the models make them.
    query, key = (_random((1, heads, 5, 16), device, torch.float32) for heads in (4, 2))
    angles = _random((1, 5, 8), device, torch.float32).repeat(1, 1, 2)
    cos, sin = angles.cos(), angles.sin()
    for fast, slow in zip(kernels.rotate(query, key, cos, sin), original(query, key, cos, sin), strict=True):
        if not _same(fast, slow):
            return False
    module.apply_rotary_pos_emb = kernels.rotate  # type: ignore[attr-defined]
    stack.callback(setattr, module, "apply_rotary_pos_emb", original)
    return True


def _random(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)


def _same(fast: torch.Tensor, slow: torch.Tensor) -> bool:
    return torch.allclose(fast.float(), slow.float(), atol=1e-4, rtol=4 * torch.finfo(slow.dtype).eps)

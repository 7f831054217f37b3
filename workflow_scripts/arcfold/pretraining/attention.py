"""Attention inside the samples of a packed batch: three ways to compute the same.

- `samples`: one scaled_dot_product_attention for each sample; any device, no compiling
- `flex`: flex attention with a mask of 128 × 128 blocks, made from the positions on the device
- `varlen`: torch's variable-length flash attention

Samples of 200 and 312 tokens in a batch of 512, for `flex` in four blocks of 128 queries and as many of keys:

    queries    0-127    128-255    256-383    384-511
    in part    0        0, 1       1, 2       1, 3       blocks with keys that some of the queries do not see
    as a whole                                2          read without a mask; all other blocks are skipped

Flex attention: Dong et al., 2024, arXiv 2412.05496. Flash attention: Dao, 2023, arXiv 2307.08691.
Shapes: T tokens of the batch, H heads, D head size.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("samples", "flex", "varlen")

# Flex attention's own default: larger blocks skip less, smaller ones make longer lists.
_BLOCK = 128


class Attention:
    """Causal attention within samples. `update` tells it the samples of the next batch."""

    def __init__(self, tokens: int, longest: int, device: torch.device) -> None:
        self.tokens, self.longest, self.device = tokens, longest, device

    def update(self, positions: Tensor, bounds: Tensor) -> None:
        """positions: (T,) int32 place of each token in its sample; bounds: begins of the samples, then T."""
        raise NotImplementedError

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(T, H, D) each to (T, H, D)."""
        raise NotImplementedError


class SampleAttention(Attention):
    """Sample by sample."""

    def update(self, positions: Tensor, bounds: Tensor) -> None:
        # waits for the device: this way is for a CPU, and for what the others do not compute
        starts = [*bounds.tolist(), self.tokens]
        self._sizes = [stop - start for start, stop in pairwise(starts) if stop > start]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = zip(*(x.transpose(0, 1).split(self._sizes, dim=1) for x in (q, k, v)), strict=True)
        done = [F.scaled_dot_product_attention(a[None], b[None], c[None], is_causal=True)[0] for a, b, c in parts]
        return torch.cat(done, dim=1).transpose(0, 1)


class FlexAttention(Attention):
    """Flex attention. One mask object lives as long as the training and is changed in place, so that nothing
    is compiled again."""

    def __init__(self, tokens: int, longest: int, device: torch.device) -> None:
        super().__init__(tokens, longest, device)
        from torch.nn.attention.flex_attention import flex_attention

        if tokens % _BLOCK:
            raise ValueError(f"{tokens} tokens, expected a multiple of {_BLOCK}")
        self._flex: Callable[..., Any] = flex_attention
        self._first = torch.zeros(tokens, dtype=torch.int32, device=device)
        first = self._first

        # `first` is one tensor for all batches: a new object would be compiled for again
        def inside(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (key <= query) & (key >= first[query])

        self._inside = inside
        self.mask = self._make()

    def update(self, positions: Tensor, bounds: Tensor) -> None:
        self._first.copy_(torch.arange(self.tokens, dtype=torch.int32, device=self.device) - positions)
        made = self._make()
        for name in _MASK_TENSORS:
            getattr(self.mask, name).copy_(getattr(made, name))

    def _make(self) -> Any:
        """Which blocks of keys each block of queries needs, in part or as a whole.

        The samples of a block's first query and of all behind it begin no earlier than that of the first.
        """
        from torch.nn.attention.flex_attention import BlockMask

        first = self._first
        # by arithmetic on the blocks' ends; `create_block_mask` would look at all T x T pairs for every batch
        blocks = torch.arange(self.tokens // _BLOCK, device=self.device)
        lowest, uniform = first[::_BLOCK], first[::_BLOCK] == first[_BLOCK - 1 :: _BLOCK]
        key, query = blocks[None, :], blocks[:, None]
        needed = (key <= query) & (key >= (lowest // _BLOCK)[:, None])
        whole = needed & (key < query) & uniform[:, None] & (key * _BLOCK >= lowest[:, None])
        parts = [_ordered(part) for part in (needed & ~whole, whole)]
        return BlockMask.from_kv_blocks(
            parts[0][0], parts[0][1], parts[1][0], parts[1][1],
            BLOCK_SIZE=_BLOCK, mask_mod=self._inside, seq_lengths=(self.tokens, self.tokens),
        )  # fmt: skip

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        done = self._flex(*(x.transpose(0, 1)[None] for x in (q, k, v)), block_mask=self.mask)
        return done[0].transpose(0, 1)


_MASK_TENSORS = (
    "kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices",
    "q_num_blocks", "q_indices", "full_q_num_blocks", "full_q_indices",
)  # fmt: skip


def _ordered(needed: Tensor) -> tuple[Tensor, Tensor]:
    """Number of blocks of each row, and their indices first: (1, 1, blocks) and (1, 1, blocks, blocks)."""
    count = needed.sum(dim=1, dtype=torch.int32)
    indices = torch.argsort(needed.to(torch.int8), dim=1, descending=True, stable=True).to(torch.int32)
    return count[None, None], indices[None, None]


class VarlenAttention(Attention):
    """Flash attention over samples of several lengths."""

    def __init__(self, tokens: int, longest: int, device: torch.device) -> None:
        super().__init__(tokens, longest, device)
        from torch.nn.attention import varlen

        self._varlen: Callable[..., Any] = varlen.varlen_attn
        parameters = inspect.signature(varlen.varlen_attn).parameters
        # torch 2.10 asks is_causal, later versions a window
        self._causal: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in parameters else {"is_causal": True}
        self._bounds: Tensor | None = None

    def update(self, positions: Tensor, bounds: Tensor) -> None:
        # one tensor for all batches, as with the mask of `flex`
        if self._bounds is None:
            self._bounds = bounds.clone()
        else:
            self._bounds.copy_(bounds)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        bounds = self._bounds
        done: Tensor = self._varlen(q, k, v, bounds, bounds, self.longest, self.longest, **self._causal)
        return done


def make_attention(kind: str, tokens: int, longest: int, device: torch.device) -> Attention:
    """One of KINDS for batches of `tokens` tokens whose samples have `longest` at most."""
    classes = {"samples": SampleAttention, "flex": FlexAttention, "varlen": VarlenAttention}
    return classes[kind](tokens, longest, device)

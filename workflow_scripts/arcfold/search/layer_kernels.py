"""What stands between the matrix products of a decoding step's layer, as three Triton kernels.

Each does in one launch what transformers writes as three to twelve. Computed in fp32 and rounded once.
All need Triton: on a GPU, or in its interpreter.

Example: three rows of a model with E = 256, H = 4, K = 2, D = 64, F = 768; G = 2.

    add_norm          states and change (3, 256): their sum and, normalized, that: two (3, 256); 3 programs
    rotate_and_store  qkv (3, 512), a row's 4 query, 2 key and 2 value heads; slots 9 10 11: queries (3, 4, 64), and the
                      keys and values (2, M, 64) have new numbers at slots 9, 10 and 11; 3 x 2 programs, each for
                      two query heads, their key head and their value head
    gate              gate_up (3, 1536): silu(first 768) * last 768 of each row, (3, 768); 3 x 1 programs

Shapes: R rows, E numbers of a row's state, H query heads, K key-value heads, G = H / K, D size of a head,
M slots of the cache, F numbers between the two halves of the feed-forward block.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from typing import NamedTuple

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # as in `kernels`
    triton = None


class HeadNorm(NamedTuple):
    """Root mean square normalization of each head, as Qwen3 has it before the rotation."""

    query: torch.Tensor
    """(D,) weights for query heads."""
    key: torch.Tensor
    """(D,) weights for key heads."""
    epsilon: float
    """Added to the mean square."""


def add_norm(
    states: torch.Tensor, change: torch.Tensor, weight: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """states + change, and that normalized by its root mean square, both (R, E).

    states, change: (R, E), contiguous; weight: (E,); epsilon: added to the mean square
    """
    rows, size = states.shape
    total, normed = torch.empty_like(states), torch.empty_like(states)
    wide = triton.next_power_of_2(size)
    _add_norm_kernel[(rows,)](
        states, change, weight, total, normed, epsilon, SIZE=size, WIDE=wide, num_warps=8 if wide > 2048 else 4
    )
    return total, normed


def rotate_and_store(
    qkv: torch.Tensor,
    heads: int,
    cos: torch.Tensor,
    sin: torch.Tensor,
    norm: HeadNorm | None,
    slots: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
) -> torch.Tensor:
    """Rotated queries (R, H, D); the rotated keys and the values go into the cache's (K, M, D) at `slots` (R,).

    qkv: (R, (H + 2 K) D), each row its query, key and value heads one after the other
    heads: H
    cos, sin: (R, D) of each row's position; the halves of a head are rotated against each other
    norm: how heads are normalized before that; None: not at all
    slots: (R,) int64
    keys, values: of one layer, both with the same strides
    """
    rows, kv_heads, size = len(qkv), keys.shape[0], keys.shape[2]
    groups = heads // kv_heads
    query = qkv.new_empty(rows, heads, size)
    _rotate_and_store_kernel[(rows, kv_heads)](
        qkv, cos, sin,
        qkv if norm is None else norm.query, qkv if norm is None else norm.key,
        0.0 if norm is None else norm.epsilon,
        slots, keys, values, query, qkv.stride(0), cos.stride(0), keys.stride(0), keys.stride(1),
        HEADS=heads, KV_HEADS=kv_heads, GROUPS=groups, ROOM=triton.next_power_of_2(groups + 1), SIZE=size,
        WIDE=triton.next_power_of_2(size // 2), NORM=norm is not None, num_warps=2,
    )  # fmt: skip
    return query


def gate(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(first half) * second half of each row, (R, F) from (R, 2 F)."""
    rows, size = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(rows, size)
    # A step has few rows: each is cut in blocks, or most of the GPU would be idle.
    block = min(1024, triton.next_power_of_2(size))
    _gate_kernel[(rows, triton.cdiv(size, block))](gate_up, out, gate_up.stride(0), size, BLOCK=block, num_warps=4)
    return out


if triton is not None:

    @triton.jit
    def _add_norm_kernel(
        states, change, weight, total, normed, epsilon, SIZE: tl.constexpr, WIDE: tl.constexpr
    ):  # fmt: skip
        """`add_norm`; a program for a row.

        states, change: (R, E), contiguous
        weight: (E,)
        total, normed: (R, E) to write
        epsilon: added to the mean square
        SIZE, WIDE: E, and the power of 2 that is at least E
        """
        # A row in one piece: its sum of squares is there before anything of it is written, in one order.
        row = tl.program_id(0).to(tl.int64) * SIZE
        at = tl.arange(0, WIDE)
        inside = at < SIZE
        x = tl.load(states + row + at, mask=inside, other=0.0).to(tl.float32)
        x += tl.load(change + row + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(total + row + at, x, mask=inside)
        # What is normalized is the state that the next layer will see, rounded
        x = x.to(total.dtype.element_ty).to(tl.float32)
        scale = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
        x = x * tl.rsqrt(tl.sum(x * x, 0) / SIZE + epsilon) * scale
        tl.store(normed + row + at, x, mask=inside)

    @triton.jit
    def _rotate_and_store_kernel(
        qkv, cos, sin, query_weight, key_weight, epsilon, slots, keys, values, query,
        qkv_row, cos_row, k_head, k_slot,
        HEADS: tl.constexpr, KV_HEADS: tl.constexpr, GROUPS: tl.constexpr, ROOM: tl.constexpr, SIZE: tl.constexpr,
        WIDE: tl.constexpr, NORM: tl.constexpr,
    ):  # fmt: skip
        """`rotate_and_store`; a program for one key-value head of one row.

        It takes the G query heads and, as one more of them, the key head through the same steps, and copies the value
        head.

        qkv: (R, (H + 2 K) D)
        cos, sin: (R, D), both with the same strides
        query_weight, key_weight, epsilon: of `HeadNorm`, (D,), (D,) and a number; not read without NORM
        slots: (R,) int64
        keys, values: (K, M, D) to write, both with the same strides
        query: (R, H, D) to write
        qkv_row, cos_row: numbers from one row of `qkv`, of `cos` and `sin`, to the next
        k_head, k_slot: numbers from one head, from one slot, to the next
        HEADS, KV_HEADS, GROUPS: H, K, G
        ROOM: the power of 2 that is at least G + 1
        SIZE: D
        WIDE: the power of 2 that is at least D / 2
        NORM: whether heads are normalized

        The grid is (R, K).
        """
        row = tl.program_id(0).to(tl.int64)
        kv = tl.program_id(1)
        head = tl.arange(0, ROOM)
        dim = tl.arange(0, WIDE)
        inside = dim < SIZE // 2
        is_query = head < GROUPS
        place = tl.where(is_query, kv * GROUPS + head, HEADS + kv)
        # The halves of a head apart, so that what is rotated against each other lies in the same place of two blocks.
        known = (head <= GROUPS)[:, None] & inside[None, :]
        of = qkv + row * qkv_row + place[:, None] * SIZE + dim[None, :]
        low = tl.load(of, mask=known, other=0.0).to(tl.float32)
        high = tl.load(of + SIZE // 2, mask=known, other=0.0).to(tl.float32)
        if NORM:
            # The root mean square of the whole head, from the squares of its two halves.
            scale = tl.rsqrt((tl.sum(low * low, 1) + tl.sum(high * high, 1)) / SIZE + epsilon)[:, None]
            for_query = is_query[:, None]
            first = tl.load(query_weight + dim, mask=inside, other=0.0).to(tl.float32)[None, :]
            second = tl.load(key_weight + dim, mask=inside, other=0.0).to(tl.float32)[None, :]
            low = low * scale * tl.where(for_query, first, second)
            first = tl.load(query_weight + SIZE // 2 + dim, mask=inside, other=0.0).to(tl.float32)[None, :]
            second = tl.load(key_weight + SIZE // 2 + dim, mask=inside, other=0.0).to(tl.float32)[None, :]
            high = high * scale * tl.where(for_query, first, second)
        cos += row * cos_row + dim
        sin += row * cos_row + dim
        cos_low = tl.load(cos, mask=inside, other=0.0).to(tl.float32)[None, :]
        cos_high = tl.load(cos + SIZE // 2, mask=inside, other=0.0).to(tl.float32)[None, :]
        sin_low = tl.load(sin, mask=inside, other=0.0).to(tl.float32)[None, :]
        sin_high = tl.load(sin + SIZE // 2, mask=inside, other=0.0).to(tl.float32)[None, :]
        new_low = low * cos_low - high * sin_low
        new_high = high * cos_high + low * sin_high
        to = query + (row * HEADS + place)[:, None] * SIZE + dim[None, :]
        tl.store(to, new_low, mask=known & is_query[:, None])
        tl.store(to + SIZE // 2, new_high, mask=known & is_query[:, None])
        slot = tl.load(slots + row).to(tl.int64)
        stored = kv.to(tl.int64) * k_head + slot * k_slot
        # Every head of the block points to the key's slot, and the mask lets only the key head write.
        to = keys + stored + head[:, None] * 0 + dim[None, :]
        is_key = (head == GROUPS)[:, None] & inside[None, :]
        tl.store(to, new_low, mask=is_key)
        tl.store(to + SIZE // 2, new_high, mask=is_key)
        of = qkv + row * qkv_row + (HEADS + KV_HEADS + kv) * SIZE + dim
        tl.store(values + stored + dim, tl.load(of, mask=inside), mask=inside)
        tl.store(values + stored + SIZE // 2 + dim, tl.load(of + SIZE // 2, mask=inside), mask=inside)

    @triton.jit
    def _gate_kernel(gate_up, out, gate_up_row, size, BLOCK: tl.constexpr):
        """`gate`; a program for BLOCK numbers of a row.

        gate_up: (R, 2 F)
        out: (R, F) to write, contiguous
        gate_up_row: numbers from one row of `gate_up` to the next
        size: F
        BLOCK: a power of 2
        """
        row = tl.program_id(0).to(tl.int64)
        at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = at < size
        x = tl.load(gate_up + row * gate_up_row + at, mask=inside, other=0.0).to(tl.float32)
        y = tl.load(gate_up + row * gate_up_row + size + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(out + row * size + at, x * tl.sigmoid(x) * y, mask=inside)

"""Causal attention inside the pieces of a packed row, there and back, in Triton kernels for Hopper GPUs.

FlashAttention-2 (Dao, 2023, arXiv 2307.08691) with its backward in two kernels: one sums over the
queries for each block of keys, one over the keys for each block of queries. So nothing is added up
in the order of arrival, and the same inputs give the same bytes. Every program finds its piece from
`bounds` on the device: a captured graph serves all rows of a shape.

Shapes: T tokens of a row, H query heads, K key heads, E head size, S pieces.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from arcfold.training_kernels import use_triton

try:
    import triton
    import triton.language as tl
except ImportError:  # as in `kernels`
    triton = None

SIZES = (32, 64, 128)
"""Sizes of a head that the kernels compute."""
_LOG2_E = 1.4426950408889634


class _Blocks(NamedTuple):
    """Queries and keys of a step of a kernel's loop, and how it is run."""

    queries: int
    keys: int
    warps: int
    stages: int


# The fastest of eight or nine that were tried on an H100 for heads of 64 and of 128; heads of 32 take those of 64.
_FORWARD = {32: _Blocks(64, 64, 4, 3), 64: _Blocks(64, 64, 4, 3), 128: _Blocks(128, 128, 8, 3)}
_OF_KEYS = {32: _Blocks(32, 64, 4, 3), 64: _Blocks(32, 64, 4, 3), 128: _Blocks(64, 64, 4, 2)}
_OF_QUERIES = {32: _Blocks(64, 64, 4, 3), 64: _Blocks(64, 64, 4, 3), 128: _Blocks(128, 64, 8, 3)}
"""By head size; the larger block is a multiple of the smaller."""


def usable(q: Tensor) -> bool:
    """Whether the kernels compute these queries (T, H, E) where they are: in 16 bits on Hopper or later."""
    if not q.is_cuda or q.dtype not in (torch.bfloat16, torch.float16) or q.shape[2] not in SIZES:
        return False
    return torch.cuda.get_device_capability(q.device) >= (9, 0) and use_triton(q.device)


def forward(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """(T, H, E) attention of q (T, H, E) to k and v (T, K, E), and log2 of each query's sum (H, T) in float32.

    bounds: (S + 1,) int32, where each piece begins, and T. A token's numbers are next to each other, and its heads too.
    """
    tokens, heads, size = q.shape
    out = q.new_empty(tokens, heads, size)
    sums = q.new_empty(heads, tokens, dtype=torch.float32)
    blocks = _FORWARD[size]
    tiles = _tiles(tokens, bounds, blocks.queries)
    _forward_kernel[(tiles, heads)](
        q, k, v, out, sums, bounds, scale * _LOG2_E, tokens, tiles, len(bounds) - 1,
        _row(q), _row(k), _row(v), HEADS=heads, GROUPS=heads // k.shape[1], SIZE=size, **_options(q, blocks),
    )  # fmt: skip
    return out, sums


def backward(
    d: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, sums: Tensor, bounds: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients in q, k and v from d (T, H, E), that in `out`; out and sums are what `forward` gave."""
    tokens, heads, size = q.shape
    dq = q.new_empty(tokens, heads, size)
    dk, dv = (q.new_empty(tokens, k.shape[1], size) for _ in range(2))
    means = torch.empty_like(sums)
    _means_kernel[(triton.cdiv(tokens, 64), heads)](
        d, out, means, tokens, _row(d), HEADS=heads, SIZE=size, BLOCK=64, num_warps=4
    )
    given = (d, sums, means, bounds, scale * _LOG2_E, scale, tokens)
    rows = (len(bounds) - 1, _row(q), _row(k), _row(v), _row(d))
    groups = heads // k.shape[1]
    blocks = _OF_KEYS[size]
    _keys_kernel[(_tiles(tokens, bounds, blocks.keys), k.shape[1])](
        q, k, v, dk, dv, *given, *rows, KEY_HEADS=k.shape[1], GROUPS=groups, SIZE=size, **_options(q, blocks)
    )
    blocks = _OF_QUERIES[size]
    tiles = _tiles(tokens, bounds, blocks.queries)
    _queries_kernel[(tiles, heads)](
        q, k, v, dq, *given, tiles, *rows, HEADS=heads, GROUPS=groups, SIZE=size, **_options(q, blocks)
    )
    return dq, dk, dv


def _tiles(tokens: int, bounds: Tensor, block: int) -> int:
    """Blocks at most of all pieces together, each of which may end with a part of one."""
    return -(-tokens // block) + len(bounds) - 1


def _row(x: Tensor) -> int:
    """Numbers from one token to the next."""
    if x.stride(2) != 1 or x.stride(1) != x.shape[2]:
        raise ValueError(f"strides {x.stride()}, expected a token's heads next to each other")
    return x.stride(0)


def _options(q: Tensor, blocks: _Blocks) -> dict[str, int | str]:
    precision = "ieee" if q.dtype == torch.float32 else "tf32"
    sizes = {"QUERIES": blocks.queries, "KEYS": blocks.keys, "num_warps": blocks.warps, "num_stages": blocks.stages}
    return {**sizes, "PRECISION": precision}


if triton is not None:

    @triton.jit
    def _piece(bounds, tile, pieces, BLOCK: tl.constexpr):
        """The piece that a tile is part of: its first token, its tokens, 0 if there is none, and the tile's first.

        Then the tile's tokens: their places in the piece, which of them are inside it, and their places in the row.
        """
        begin = tile * 0
        length = tile * 0
        first = tile * 0
        for piece in range(pieces):
            at = tl.load(bounds + piece)
            size = tl.load(bounds + piece + 1) - at
            tiles = (size + BLOCK - 1) // BLOCK
            here = (tile >= 0) & (tile < tiles)
            begin = tl.where(here, at, begin)
            length = tl.where(here, size, length)
            first = tl.where(here, tile * BLOCK, first)
            tile = tl.where(tile < 0, tile, tile - tiles)
        places = first + tl.arange(0, BLOCK)
        return begin, length, first, places, places < length, (begin + places).to(tl.int64)

    @triton.jit
    def _load(x, at, inside, row, head, SIZE: tl.constexpr, MASKED: tl.constexpr = True):
        """One head of the tokens `at`, zeros for those that are not inside; not MASKED: all are."""
        where = at[:, None] * row + head * SIZE + tl.arange(0, SIZE)[None, :]
        if MASKED:
            return tl.load(x + where, mask=inside[:, None], other=0.0)
        return tl.load(x + where)

    @triton.jit
    def _store(x, at, inside, heads, head, made, SIZE: tl.constexpr):
        """Writes one head of the tokens `at` that are inside."""
        where = (at[:, None] * heads + head) * SIZE + tl.arange(0, SIZE)[None, :]
        tl.store(x + where, made.to(x.dtype.element_ty), mask=inside[:, None])

    @triton.jit
    def _look(
        total, most, out, query, k, v, begin, length, rows, low, high, scale, k_row, v_row,
        SIZE: tl.constexpr, KEYS: tl.constexpr, DIAGONAL: tl.constexpr, PRECISION: tl.constexpr,
    ):  # fmt: skip
        """Online softmax over the keys from `low` on; only the diagonal has any that a query does not see."""
        for start in range(low, high, KEYS):
            keys = start + tl.arange(0, KEYS)
            at = (begin + keys).to(tl.int64)
            key = _load(k, at, keys < length, k_row, 0, SIZE, DIAGONAL)
            scores = tl.dot(query, tl.trans(key), input_precision=PRECISION) * scale
            if DIAGONAL:
                scores = tl.where(keys[None, :] <= rows[:, None], scores, -1.0e30)
            higher = tl.maximum(most, tl.max(scores, 1))
            weights = tl.exp2(scores - higher[:, None])
            shrink = tl.exp2(most - higher)
            total = total * shrink + tl.sum(weights, 1)
            value = _load(v, at, keys < length, v_row, 0, SIZE, DIAGONAL)
            out = tl.dot(weights.to(value.dtype), value, out * shrink[:, None], input_precision=PRECISION)
            most = higher
        return total, most, out

    @triton.jit(do_not_specialize=["tokens", "tiles", "pieces"])  # a kernel for all rows
    def _forward_kernel(
        q, k, v, out, sums, bounds, scale, tokens, tiles, pieces, q_row, k_row, v_row,
        HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
        PRECISION: tl.constexpr,
    ):  # fmt: skip
        # a piece's last tiles have the most to do and come first
        begin, length, first, rows, inside, at = _piece(bounds, tiles - 1 - tl.program_id(0), pieces, QUERIES)
        if length == 0:
            return
        head = tl.program_id(1)
        query = _load(q, at, inside, q_row, head, SIZE)
        k += head // GROUPS * SIZE
        v += head // GROUPS * SIZE
        most = tl.full([QUERIES], -1.0e30, tl.float32)
        total = tl.zeros([QUERIES], tl.float32)
        made = tl.zeros([QUERIES, SIZE], tl.float32)
        total, most, made = _look(
            total, most, made, query, k, v, begin, length, rows, 0, first, scale, k_row, v_row,
            SIZE, KEYS, False, PRECISION,
        )  # fmt: skip
        total, most, made = _look(
            total, most, made, query, k, v, begin, length, rows, first, tl.minimum(first + QUERIES, length), scale,
            k_row, v_row, SIZE, KEYS, True, PRECISION,
        )  # fmt: skip
        tl.store(sums + head * tokens + at, most + tl.log2(total), mask=inside)
        _store(out, at, inside, HEADS, head, made / total[:, None], SIZE)

    @triton.jit(do_not_specialize=["tokens"])  # a kernel for all rows
    def _means_kernel(d, out, means, tokens, d_row, HEADS: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr):
        """For each query the product of its output and that one's gradient."""
        rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        head = tl.program_id(1)
        inside = rows < tokens
        one = _load(d, rows.to(tl.int64), inside, d_row, head, SIZE).to(tl.float32)
        two = _load(out, rows.to(tl.int64), inside, HEADS * SIZE, head, SIZE).to(tl.float32)
        tl.store(means + head * tokens + rows, tl.sum(one * two, 1), mask=inside)

    @triton.jit
    def _gather_keys(
        dk, dv, key, value, q, d, sums, means, begin, length, keys, low, high, scale, q_row, d_row,
        SIZE: tl.constexpr, QUERIES: tl.constexpr, DIAGONAL: tl.constexpr, PRECISION: tl.constexpr,
    ):  # fmt: skip
        """Adds what the queries from `low` on give to the gradients of a block of keys and values."""
        for start in range(low, high, QUERIES):
            rows = start + tl.arange(0, QUERIES)
            inside = rows < length
            at = (begin + rows).to(tl.int64)
            query = _load(q, at, inside, q_row, 0, SIZE)
            gradient = _load(d, at, inside, d_row, 0, SIZE)
            # of a row behind the piece all is zero, its gradient too
            log_sum = tl.load(sums + at, mask=inside, other=0.0)
            mean = tl.load(means + at, mask=inside, other=0.0)
            scores = tl.dot(key, tl.trans(query), input_precision=PRECISION) * scale
            weights = tl.exp2(scores - log_sum[None, :])
            if DIAGONAL:
                weights = tl.where(keys[:, None] <= rows[None, :], weights, 0.0)
            dv = tl.dot(weights.to(gradient.dtype), gradient, dv, input_precision=PRECISION)
            slope = tl.dot(value, tl.trans(gradient), input_precision=PRECISION)
            slope = weights * (slope - mean[None, :])
            dk = tl.dot(slope.to(query.dtype), query, dk, input_precision=PRECISION)
        return dk, dv

    @triton.jit(do_not_specialize=["tokens", "pieces"])  # a kernel for all rows
    def _keys_kernel(
        q, k, v, dk, dv, d, sums, means, bounds, scale, plain_scale, tokens, pieces, q_row, k_row, v_row, d_row,
        KEY_HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
        PRECISION: tl.constexpr,
    ):  # fmt: skip
        """The gradients of one block of keys and values, summed over the query heads that they serve."""
        begin, length, first, keys, inside, at = _piece(bounds, tl.program_id(0), pieces, KEYS)
        if length == 0:
            return
        key_head = tl.program_id(1)
        key = _load(k, at, inside, k_row, key_head, SIZE)
        value = _load(v, at, inside, v_row, key_head, SIZE)
        made_dk = tl.zeros([KEYS, SIZE], tl.float32)
        made_dv = tl.zeros([KEYS, SIZE], tl.float32)
        middle = tl.minimum(first + KEYS, length)
        for group in range(GROUPS):
            head = key_head * GROUPS + group
            made_dk, made_dv = _gather_keys(
                made_dk, made_dv, key, value, q + head * SIZE, d + head * SIZE, sums + head * tokens,
                means + head * tokens, begin, length, keys, first, middle, scale, q_row, d_row,
                SIZE, QUERIES, True, PRECISION,
            )  # fmt: skip
            made_dk, made_dv = _gather_keys(
                made_dk, made_dv, key, value, q + head * SIZE, d + head * SIZE, sums + head * tokens,
                means + head * tokens, begin, length, keys, first + KEYS, length, scale, q_row, d_row,
                SIZE, QUERIES, False, PRECISION,
            )  # fmt: skip
        _store(dk, at, inside, KEY_HEADS, key_head, made_dk * plain_scale, SIZE)
        _store(dv, at, inside, KEY_HEADS, key_head, made_dv, SIZE)

    @triton.jit
    def _gather_queries(
        dq, query, gradient, log_sum, mean, k, v, begin, length, rows, low, high, scale, k_row, v_row,
        SIZE: tl.constexpr, KEYS: tl.constexpr, DIAGONAL: tl.constexpr, PRECISION: tl.constexpr,
    ):  # fmt: skip
        """Adds what the keys from `low` on give to the gradients of a block of queries."""
        for start in range(low, high, KEYS):
            keys = start + tl.arange(0, KEYS)
            at = (begin + keys).to(tl.int64)
            key = _load(k, at, keys < length, k_row, 0, SIZE, DIAGONAL)
            value = _load(v, at, keys < length, v_row, 0, SIZE, DIAGONAL)
            scores = tl.dot(query, tl.trans(key), input_precision=PRECISION) * scale
            weights = tl.exp2(scores - log_sum[:, None])
            if DIAGONAL:
                weights = tl.where(keys[None, :] <= rows[:, None], weights, 0.0)
            slope = tl.dot(gradient, tl.trans(value), input_precision=PRECISION)
            slope = weights * (slope - mean[:, None])
            dq = tl.dot(slope.to(key.dtype), key, dq, input_precision=PRECISION)
        return dq

    @triton.jit(do_not_specialize=["tokens", "tiles", "pieces"])  # a kernel for all rows
    def _queries_kernel(
        q, k, v, dq, d, sums, means, bounds, scale, plain_scale, tokens, tiles, pieces, q_row, k_row, v_row, d_row,
        HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
        PRECISION: tl.constexpr,
    ):  # fmt: skip
        """The gradients of one block of queries."""
        begin, length, first, rows, inside, at = _piece(bounds, tiles - 1 - tl.program_id(0), pieces, QUERIES)
        if length == 0:
            return
        head = tl.program_id(1)
        query = _load(q, at, inside, q_row, head, SIZE)
        gradient = _load(d, at, inside, d_row, head, SIZE)
        log_sum = tl.load(sums + head * tokens + at, mask=inside, other=0.0)
        mean = tl.load(means + head * tokens + at, mask=inside, other=0.0)
        k += head // GROUPS * SIZE
        v += head // GROUPS * SIZE
        made = tl.zeros([QUERIES, SIZE], tl.float32)
        made = _gather_queries(
            made, query, gradient, log_sum, mean, k, v, begin, length, rows, 0, first, scale, k_row, v_row,
            SIZE, KEYS, False, PRECISION,
        )  # fmt: skip
        made = _gather_queries(
            made, query, gradient, log_sum, mean, k, v, begin, length, rows, first,
            tl.minimum(first + QUERIES, length), scale, k_row, v_row, SIZE, KEYS, True, PRECISION,
        )  # fmt: skip
        _store(dq, at, inside, HEADS, head, made * plain_scale, SIZE)

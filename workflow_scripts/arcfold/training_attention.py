"""Causal attention inside the pieces of a packed row, there and back, in Triton kernels for Hopper GPUs.

FlashAttention-2 (Dao, 2023, arXiv 2307.08691) with its backward in two kernels: one sums over the
queries for each block of keys, one over the keys for each block of queries. So nothing is added up
in the order of arrival, and the same inputs give the same bytes. Every program finds its piece from
`bounds` on the device: a captured graph serves all rows of a shape.

Shapes: T tokens of a row, H query heads, K key heads, E head size, S pieces.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from arcfold.training_kernels import use_triton

try:
    import triton
    import triton.language as tl
    from triton.tools.tensor_descriptor import TensorDescriptor
except ImportError:  # as in `kernels`; or a Triton that is too old
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


# The fastest on an H100 of six to eight each, for heads of 64 and of 128; heads of 32 take those of 64.
_FORWARD = {32: _Blocks(64, 64, 4, 3), 64: _Blocks(64, 64, 4, 3), 128: _Blocks(64, 64, 4, 3)}
_OF_QUERIES = {32: _Blocks(64, 64, 4, 3), 64: _Blocks(64, 64, 4, 3), 128: _Blocks(128, 64, 8, 3)}
_OF_KEYS = {32: _Blocks(64, 64, 4, 3), 64: _Blocks(64, 64, 4, 3), 128: _Blocks(64, 64, 4, 2)}
"""By head size; the block of the program itself is a multiple of the one that its loop takes."""


def usable(q: Tensor) -> bool:
    """Whether the kernels compute these queries (T, H, E) where they are: in 16 bits on Hopper or later."""
    if triton is None or not q.is_cuda or q.dtype not in (torch.bfloat16, torch.float16) or q.shape[2] not in SIZES:
        return False
    return torch.cuda.get_device_capability(q.device) >= (9, 0) and use_triton(q.device)


def forward(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, scale: float, out: Tensor) -> Tensor:
    """Writes attention of q (T, H, E) to k and v (T, K, E) into `out` (T, H, E).

    bounds: (S + 1,) int32, where each piece begins, and T. A token's numbers are next to each other, and its
    heads too; rows of q, k and v begin at multiples of 16 bytes. Returns log2 of each query's sum, (H, T) float32.
    """
    tokens, heads, size = q.shape
    sums = q.new_empty(heads, tokens, dtype=torch.float32)
    blocks = _FORWARD[size]
    tiles = _tiles(tokens, bounds, blocks.queries)
    _forward_kernel[(tiles, heads)](
        _rows(q, blocks.queries), _rows(k, blocks.keys), _rows(v, blocks.keys), out, sums, bounds, scale * _LOG2_E,
        tokens, tiles, len(bounds) - 1, out.stride(0),
        HEADS=heads, GROUPS=heads // k.shape[1], SIZE=size, **_options(q, blocks),
    )  # fmt: skip
    return sums


def backward(
    d: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, sums: Tensor, bounds: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients in q, k and v from d (T, H, E), that in `out`; out and sums are what `forward` gave."""
    tokens, heads, size = q.shape
    dq = q.new_empty(tokens, heads, size)
    dk, dv = (q.new_empty(tokens, k.shape[1], size) for _ in range(2))
    means = torch.empty_like(sums)

    def given(blocks: _Blocks) -> tuple[Any, ...]:
        of_queries = (_rows(x, blocks.queries) for x in (q, d))
        of_keys = (_rows(x, blocks.keys) for x in (k, v))
        return (*of_queries, *of_keys, sums, means, bounds, scale * _LOG2_E, scale, tokens, len(bounds) - 1)

    shape = {"HEADS": heads, "GROUPS": heads // k.shape[1], "SIZE": size}
    blocks = _OF_QUERIES[size]
    tiles = _tiles(tokens, bounds, blocks.queries)
    _queries_kernel[(tiles, heads)](*given(blocks), tiles, out, out.stride(0), dq, **shape, **_options(q, blocks))
    blocks = _OF_KEYS[size]  # after the queries, whose `means` it reads
    _keys_kernel[(_tiles(tokens, bounds, blocks.keys), k.shape[1])](
        *given(blocks), dk, dv, **shape, **_options(q, blocks)
    )
    return dq, dk, dv


def _tiles(tokens: int, bounds: Tensor, block: int) -> int:
    """Blocks at most of all pieces together, each of which may end with a part of one."""
    return -(-tokens // block) + len(bounds) - 1


def _rows(x: Tensor, block: int) -> Any:
    """How the tensor memory accelerator reads one head of `block` tokens of x (T, N, E); zeros behind the last."""
    if x.stride(2) != 1 or x.stride(1) != x.shape[2]:
        raise ValueError(f"strides {x.stride()}, expected a token's heads next to each other")
    return TensorDescriptor(x, [x.shape[0], x.shape[1] * x.shape[2]], [x.stride(0), 1], [block, x.shape[2]])


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
        return begin, length, first, places, places < length, begin + places

    @triton.jit
    def _places(at, row, head, SIZE: tl.constexpr):
        """Where one head of the tokens `at` lies; row: numbers from one token to the next."""
        return at.to(tl.int64)[:, None] * row + head * SIZE + tl.arange(0, SIZE)[None, :]

    @triton.jit
    def _store(x, at, inside, row, head, made, SIZE: tl.constexpr):
        """Writes one head of the tokens `at` that are inside."""
        tl.store(x + _places(at, row, head, SIZE), made.to(x.dtype.element_ty), mask=inside[:, None])

    @triton.jit
    def _look(
        total, most, made, query, k, v, begin, column, rows, low, high, scale,
        KEYS: tl.constexpr, DIAGONAL: tl.constexpr, PRECISION: tl.constexpr,
    ):  # fmt: skip
        """Online softmax over the keys from `low` on; only the diagonal has any that a query does not see."""
        for start in range(low, high, KEYS):
            key = k.load([begin + start, column])
            scores = tl.dot(query, tl.trans(key), input_precision=PRECISION) * scale
            if DIAGONAL:
                keys = start + tl.arange(0, KEYS)
                scores = tl.where(keys[None, :] <= rows[:, None], scores, -1.0e30)
            higher = tl.maximum(most, tl.max(scores, 1))
            weights = tl.exp2(scores - higher[:, None])
            shrink = tl.exp2(most - higher)
            total = total * shrink + tl.sum(weights, 1)
            value = v.load([begin + start, column])
            made = tl.dot(weights.to(value.dtype), value, made * shrink[:, None], input_precision=PRECISION)
            most = higher
        return total, most, made

    @triton.jit(do_not_specialize=["tokens", "tiles", "pieces"])  # a kernel for all rows
    def _forward_kernel(
        q, k, v, out, sums, bounds, scale, tokens, tiles, pieces, row,
        HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
        PRECISION: tl.constexpr,
    ):  # fmt: skip
        # a piece's last tiles have the most to do and come first
        begin, length, first, rows, inside, at = _piece(bounds, tiles - 1 - tl.program_id(0), pieces, QUERIES)
        if length == 0:
            return
        head = tl.program_id(1)
        query = q.load([begin + first, head * SIZE])
        column = head // GROUPS * SIZE
        most = tl.full([QUERIES], -1.0e30, tl.float32)
        total = tl.zeros([QUERIES], tl.float32)
        made = tl.zeros([QUERIES, SIZE], tl.float32)
        total, most, made = _look(
            total, most, made, query, k, v, begin, column, rows, 0, first, scale, KEYS, False, PRECISION
        )
        end = tl.minimum(first + QUERIES, length)
        total, most, made = _look(
            total, most, made, query, k, v, begin, column, rows, first, end, scale, KEYS, True, PRECISION
        )
        tl.store(sums + head * tokens + at, most + tl.log2(total), mask=inside)
        _store(out, at, inside, row, head, made / total[:, None], SIZE)

    @triton.jit
    def _gather_queries(
        dq, query, gradient, log_sum, mean, k, v, begin, column, rows, low, high, scale,
        KEYS: tl.constexpr, DIAGONAL: tl.constexpr, PRECISION: tl.constexpr,
    ):  # fmt: skip
        """Adds what the keys from `low` on give to the gradients of a block of queries."""
        for start in range(low, high, KEYS):
            key = k.load([begin + start, column])
            value = v.load([begin + start, column])
            scores = tl.dot(query, tl.trans(key), input_precision=PRECISION) * scale
            weights = tl.exp2(scores - log_sum[:, None])
            if DIAGONAL:
                keys = start + tl.arange(0, KEYS)
                weights = tl.where(keys[None, :] <= rows[:, None], weights, 0.0)
            slope = tl.dot(gradient, tl.trans(value), input_precision=PRECISION)
            slope = weights * (slope - mean[:, None])
            dq = tl.dot(slope.to(key.dtype), key, dq, input_precision=PRECISION)
        return dq

    @triton.jit(do_not_specialize=["tokens", "tiles", "pieces"])  # a kernel for all rows
    def _queries_kernel(
        q, d, k, v, sums, means, bounds, scale, plain_scale, tokens, pieces, tiles, out, row, dq,
        HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
        PRECISION: tl.constexpr,
    ):  # fmt: skip
        """The gradients of one block of queries, and for each the product of its output and that one's gradient."""
        begin, length, first, rows, inside, at = _piece(bounds, tiles - 1 - tl.program_id(0), pieces, QUERIES)
        if length == 0:
            return
        head = tl.program_id(1)
        query = q.load([begin + first, head * SIZE])
        gradient = d.load([begin + first, head * SIZE])
        output = tl.load(out + _places(at, row, head, SIZE), mask=inside[:, None], other=0.0)
        mean = tl.sum(output.to(tl.float32) * gradient.to(tl.float32), 1)
        tl.store(means + head * tokens + at, mean, mask=inside)
        log_sum = tl.load(sums + head * tokens + at, mask=inside, other=0.0)
        column = head // GROUPS * SIZE
        made = tl.zeros([QUERIES, SIZE], tl.float32)
        made = _gather_queries(
            made, query, gradient, log_sum, mean, k, v, begin, column, rows, 0, first, scale, KEYS, False, PRECISION
        )
        end = tl.minimum(first + QUERIES, length)
        made = _gather_queries(
            made, query, gradient, log_sum, mean, k, v, begin, column, rows, first, end, scale, KEYS, True, PRECISION
        )
        _store(dq, at, inside, HEADS * SIZE, head, made * plain_scale, SIZE)

    @triton.jit
    def _gather_keys(
        dk, dv, key, value, q, d, sums, means, begin, length, column, keys, low, high, scale,
        QUERIES: tl.constexpr, DIAGONAL: tl.constexpr, WHOLE: tl.constexpr, PRECISION: tl.constexpr,
    ):  # fmt: skip
        """Adds what the queries from `low` on give to the gradients of a block of keys; WHOLE: all are in the piece."""
        for start in range(low, high, QUERIES):
            rows = start + tl.arange(0, QUERIES)
            query = q.load([begin + start, column])
            gradient = d.load([begin + start, column])
            if WHOLE:
                log_sum = tl.load(sums + begin + rows)
                mean = tl.load(means + begin + rows)
            else:
                log_sum = tl.load(sums + begin + rows, mask=rows < length, other=0.0)
                mean = tl.load(means + begin + rows, mask=rows < length, other=0.0)
            scores = tl.dot(key, tl.trans(query), input_precision=PRECISION) * scale
            weights = tl.exp2(scores - log_sum[None, :])
            if not WHOLE:
                weights = tl.where((rows < length)[None, :], weights, 0.0)
            if DIAGONAL:
                weights = tl.where(keys[:, None] <= rows[None, :], weights, 0.0)
            dv = tl.dot(weights.to(gradient.dtype), gradient, dv, input_precision=PRECISION)
            slope = tl.dot(value, tl.trans(gradient), input_precision=PRECISION)
            slope = weights * (slope - mean[None, :])
            dk = tl.dot(slope.to(query.dtype), query, dk, input_precision=PRECISION)
        return dk, dv

    @triton.jit(do_not_specialize=["tokens", "pieces"])  # a kernel for all rows
    def _keys_kernel(
        q, d, k, v, sums, means, bounds, scale, plain_scale, tokens, pieces, dk, dv,
        HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
        PRECISION: tl.constexpr,
    ):  # fmt: skip
        """The gradients of one block of keys and values, summed over the query heads that they serve."""
        begin, length, first, keys, inside, at = _piece(bounds, tl.program_id(0), pieces, KEYS)
        if length == 0:
            return
        key_head = tl.program_id(1)
        key = k.load([begin + first, key_head * SIZE])
        value = v.load([begin + first, key_head * SIZE])
        made_dk = tl.zeros([KEYS, SIZE], tl.float32)
        made_dv = tl.zeros([KEYS, SIZE], tl.float32)
        middle = tl.minimum(first + KEYS, length)
        whole = tl.maximum(first + KEYS, length // QUERIES * QUERIES)
        for group in range(GROUPS):
            head = key_head * GROUPS + group
            column = head * SIZE
            sum_at = sums + head * tokens
            mean_at = means + head * tokens
            made_dk, made_dv = _gather_keys(
                made_dk, made_dv, key, value, q, d, sum_at, mean_at, begin, length, column, keys, first, middle, scale,
                QUERIES, True, False, PRECISION,
            )  # fmt: skip
            made_dk, made_dv = _gather_keys(
                made_dk, made_dv, key, value, q, d, sum_at, mean_at, begin, length, column, keys, first + KEYS, whole,
                scale, QUERIES, False, True, PRECISION,
            )  # fmt: skip
            made_dk, made_dv = _gather_keys(
                made_dk, made_dv, key, value, q, d, sum_at, mean_at, begin, length, column, keys, whole, length, scale,
                QUERIES, False, False, PRECISION,
            )  # fmt: skip
        _store(dk, at, inside, HEADS // GROUPS * SIZE, key_head, made_dk * plain_scale, SIZE)
        _store(dv, at, inside, HEADS // GROUPS * SIZE, key_head, made_dv, SIZE)

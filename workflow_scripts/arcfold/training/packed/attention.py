"""Causal attention inside the pieces of a packed row, there and back, in Triton kernels for Hopper GPUs.

FlashAttention-2 (Dao, 2023, arXiv 2307.08691) with its backward in two kernels: one sums over the
queries for each block of keys, one over the keys for each block of queries. So nothing is added up
in the order of arrival, and the same inputs give the same bytes. Every program finds its piece from
`bounds` on the device: a captured graph serves all rows of a shape.

Two samples of 200 and 30 tokens without padding: T = 230, bounds = [0, 200, 230, 230], three pieces,
the last one empty. In blocks of 64 a head has 4 + 3 = 7 programs (`_tiles`), two of them without work:

    tile   piece   tokens     as queries they read keys     as keys they read queries
                              unmasked    masked            unmasked    masked
    0      0       0-63       -           0-63              64-191      0-63, 192-199
    1      0       64-127     0-63        64-127            128-191     64-127, 192-199
    2      0       128-191    0-127       128-191           -           128-191, 192-199
    3      0       192-199    0-191       192-199           -           192-199
    4      1       0-29       -           0-29              -           0-29
    5, 6   -

Shapes: T tokens of a row, H query heads, K key heads, E head size, S pieces.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from arcfold.training.packed.kernels import use_triton

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
    """Groups of 32 threads that share a program's work."""
    stages: int
    """Blocks that a loop holds: it computes with one while the next are on their way from memory."""


# The fastest on an H100 of six to eight each, for heads of 64 and of 128; heads of 32 take those of 64.
_FORWARD = {32: _Blocks(64, 64, 4, 3), 64: _Blocks(64, 64, 4, 3), 128: _Blocks(64, 64, 4, 3)}
_OF_QUERIES = {32: _Blocks(64, 64, 4, 3), 64: _Blocks(64, 64, 4, 3), 128: _Blocks(128, 64, 8, 3)}
_OF_KEYS = {32: _Blocks(64, 64, 4, 3), 64: _Blocks(64, 64, 4, 3), 128: _Blocks(64, 64, 4, 2)}
"""By head size; the block of the program itself is a multiple of the one that its loop takes."""


def whole_rows(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether there is attention for all pieces of a row at once: on a GPU in 16 bits.

    By these kernels where they are usable, else by torch's flash attention, before Ampere by its memory-efficient one.
    """
    return device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)


def has_flash(device: torch.device) -> bool:
    """Whether torch's flash attention runs on a GPU: on Ampere (8.0) or later."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def usable(q: Tensor) -> bool:
    """Whether the kernels compute these queries (T, H, E) where they are: in 16 bits on Hopper or later."""
    # older cards lack the tensor memory accelerator, by which all blocks are read
    if triton is None or not q.is_cuda or q.dtype not in (torch.bfloat16, torch.float16) or q.shape[2] not in SIZES:
        return False
    return torch.cuda.get_device_capability(q.device) >= (9, 0) and use_triton(q.device)


def forward(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, scale: float, out: Tensor) -> Tensor:
    """Writes attention of q (T, H, E) to k and v (T, K, E) into `out` (T, H, E); H / K query heads share a key head.

    A query at place i of its piece sees the keys at places 0 to i:
    out_i = sum over j of softmax_j(scale q_i · k_j) v_j.

    bounds: (S + 1,) int32, where each piece begins, and T. A token's numbers are next to each other, and its
    heads too; rows of q, k and v begin at multiples of 16 bytes. Returns (H, T) float32, for each query log2 of
    the sum over j of exp(scale q_i · k_j). Raises ValueError where heads are not next to each other.
    """
    tokens, heads, size = q.shape
    log_sums = q.new_empty(heads, tokens, dtype=torch.float32)
    blocks = _FORWARD[size]
    tiles = _tiles(tokens, bounds, blocks.queries)
    # the kernels take powers of 2, which a GPU computes in one instruction: 2^(x log2 e) = e^x
    _forward_kernel[(tiles, heads)](
        _descriptor(q, blocks.queries), _descriptor(k, blocks.keys), _descriptor(v, blocks.keys),
        out, log_sums, bounds, scale * _LOG2_E, tokens, tiles, len(bounds) - 1, out.stride(0),
        HEADS=heads, GROUPS=heads // k.shape[1], SIZE=size, **_options(q, blocks),
    )  # fmt: skip
    return log_sums


def backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, log_sums: Tensor, bounds: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients in q (T, H, E), k and v (T, K, E) from dout (T, H, E), that in `out`, all contiguous.

    out and log_sums are what `forward` gave. With the weights p_ij = exp(scale q_i · k_j) / (their sum over j) and
    delta_i = out_i · dout_i (Dao, 2023, algorithm 2):
    dv_j = sum_i p_ij dout_i;  s_ij = p_ij (dout_i · v_j - delta_i);  dq_i = scale sum_j s_ij k_j;
    dk_j = scale sum_i s_ij q_i.
    """
    tokens, heads, size = q.shape
    dq = q.new_empty(tokens, heads, size)
    dk, dv = (q.new_empty(tokens, k.shape[1], size) for _ in range(2))
    deltas = torch.empty_like(log_sums)

    def given(blocks: _Blocks) -> tuple[Any, ...]:
        of_queries = (_descriptor(x, blocks.queries) for x in (q, dout))
        of_keys = (_descriptor(x, blocks.keys) for x in (k, v))
        return (*of_queries, *of_keys, log_sums, deltas, bounds, scale * _LOG2_E, scale, tokens, len(bounds) - 1)

    shape = {"HEADS": heads, "GROUPS": heads // k.shape[1], "SIZE": size}
    blocks = _OF_QUERIES[size]
    tiles = _tiles(tokens, bounds, blocks.queries)
    _queries_kernel[(tiles, heads)](*given(blocks), tiles, out, out.stride(0), dq, **shape, **_options(q, blocks))
    blocks = _OF_KEYS[size]  # after the queries, whose `deltas` it reads
    _keys_kernel[(_tiles(tokens, bounds, blocks.keys), k.shape[1])](
        *given(blocks), dk, dv, **shape, **_options(q, blocks)
    )
    return dq, dk, dv


def _tiles(tokens: int, bounds: Tensor, block: int) -> int:
    """Blocks at most of all pieces together, each of which may end with a part of one."""
    # an upper bound that T and S alone give: how many there are stands on the device, and is not asked for
    return -(-tokens // block) + len(bounds) - 1


def _descriptor(x: Tensor, block: int) -> Any:
    """How the tensor memory accelerator reads one head of `block` tokens of x (T, N, E); zeros behind the last."""
    # One thread asks for a block and Hopper copies it while the others compute: no thread works out addresses
    # or tests a bound, and no registers hold them.
    if x.stride(2) != 1 or x.stride(1) != x.shape[2]:
        raise ValueError(f"strides {x.stride()}, expected a token's heads next to each other")
    return TensorDescriptor(x, [x.shape[0], x.shape[1] * x.shape[2]], [x.stride(0), 1], [block, x.shape[2]])


def _options(q: Tensor, blocks: _Blocks) -> dict[str, int | str]:
    precision = "ieee" if q.dtype == torch.float32 else "tf32"  # float32 is the interpreter's, in tests
    sizes = {"QUERIES": blocks.queries, "KEYS": blocks.keys, "num_warps": blocks.warps, "num_stages": blocks.stages}
    return {**sizes, "PRECISION": precision}


# Parameters that the kernels below share:
#   q, dout       descriptors of the queries and of the gradient in `out`: blocks (QUERIES, SIZE) of (T, H E)
#   k, v          descriptors of keys and values: blocks (KEYS, SIZE) of (T, K E)
#   log_sums      (H, T) float32, log2 of the sum of a query's unnormed weights
#   deltas        (H, T) float32, a query's output times its gradient
#   bounds        (S + 1,) int32, where each piece begins, and T
#   log2_scale    what scores are multiplied with before 2^: scale log2 e; `scale` without it is for gradients
#   tokens        T;  pieces: S;  tiles: programs of a head
#   out_stride    numbers from a token's output to the next one's
#   HEADS         H;  GROUPS: H / K, query heads that one key head serves;  SIZE: E
#   QUERIES, KEYS rows of a block;  PRECISION: of float32 products
#
# T, S and the number of tiles differ from shape to shape: a kernel that knew which of them are multiples of 16,
# as Triton does unless told, would be compiled again for a new shape, in the middle of a capture.

if triton is not None:

    @triton.jit
    def _find_piece(bounds, tile, pieces, BLOCK: tl.constexpr):
        """The piece that a tile is part of: its first token, its tokens, 0 if there is none, and the tile's first.

        Then the tile's tokens: their places in the piece, which of them are inside it, and their places in the row.
        """
        # `tile` counts down piece by piece, and is negative once its piece is found
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
    def _places(at, stride, head, SIZE: tl.constexpr):
        """Where one head of the tokens `at` (n,) lies, (n, SIZE); stride: numbers from one token to the next."""
        return at.to(tl.int64)[:, None] * stride + head * SIZE + tl.arange(0, SIZE)[None, :]

    @triton.jit
    def _store(x, at, inside, stride, head, made, SIZE: tl.constexpr):
        """Writes `made` (n, SIZE) as one head of the tokens `at` (n,), of those that are inside."""
        # not through a descriptor: what is behind the piece's end belongs to the next piece
        tl.store(x + _places(at, stride, head, SIZE), made.to(x.dtype.element_ty), mask=inside[:, None])

    @triton.jit
    def _sum_over_keys(
        total, highest, mixed, query, k, v, begin, column, queries, low, high, log2_scale,
        KEYS: tl.constexpr, DIAGONAL: tl.constexpr, PRECISION: tl.constexpr,
    ):  # fmt: skip
        """Online softmax over the keys from `low` on; only the diagonal has any that a query does not see.

        total, highest (QUERIES,), mixed (QUERIES, SIZE): sum of the weights, highest score, and weighted sum of
        the values so far, weights relative to the highest score; queries (QUERIES,): places in the piece.
        """
        for start in range(low, high, KEYS):
            key = k.load([begin + start, column])
            scores = tl.dot(query, tl.trans(key), input_precision=PRECISION) * log2_scale
            if DIAGONAL:
                keys = start + tl.arange(0, KEYS)
                # a finite number for minus infinity, so that no difference of two is NaN
                scores = tl.where(keys[None, :] <= queries[:, None], scores, -1.0e30)
            # a higher score than before makes what was summed smaller (Milakov and Gimelshein, 2018, arXiv 1805.02867)
            higher = tl.maximum(highest, tl.max(scores, 1))
            weights = tl.exp2(scores - higher[:, None])
            shrink = tl.exp2(highest - higher)
            total = total * shrink + tl.sum(weights, 1)
            value = v.load([begin + start, column])
            mixed = tl.dot(weights.to(value.dtype), value, mixed * shrink[:, None], input_precision=PRECISION)
            highest = higher
        return total, highest, mixed

    @triton.jit(do_not_specialize=["tokens", "tiles", "pieces"])  # a kernel for all rows
    def _forward_kernel(
        q, k, v, out, log_sums, bounds, log2_scale, tokens, tiles, pieces, out_stride,
        HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
        PRECISION: tl.constexpr,
    ):  # fmt: skip
        """One block of queries of one head: writes `out` and `log_sums`. Programs (tiles, H)."""
        # a piece's last tiles have the most to do and come first
        begin, length, first, queries, inside, at = _find_piece(bounds, tiles - 1 - tl.program_id(0), pieces, QUERIES)
        if length == 0:
            return
        head = tl.program_id(1)
        query = q.load([begin + first, head * SIZE])
        column = head // GROUPS * SIZE
        highest = tl.full([QUERIES], -1.0e30, tl.float32)
        total = tl.zeros([QUERIES], tl.float32)
        mixed = tl.zeros([QUERIES, SIZE], tl.float32)
        # keys before the block, all of them seen, then those beside it: only these pay for a mask
        total, highest, mixed = _sum_over_keys(
            total, highest, mixed, query, k, v, begin, column, queries, 0, first, log2_scale, KEYS, False, PRECISION
        )
        end = tl.minimum(first + QUERIES, length)
        total, highest, mixed = _sum_over_keys(
            total, highest, mixed, query, k, v, begin, column, queries, first, end, log2_scale, KEYS, True, PRECISION
        )
        tl.store(log_sums + head * tokens + at, highest + tl.log2(total), mask=inside)
        _store(out, at, inside, out_stride, head, mixed / total[:, None], SIZE)

    @triton.jit
    def _gather_queries(
        sum_dq, query, gradient, log_sum, delta, k, v, begin, column, queries, low, high, log2_scale,
        KEYS: tl.constexpr, DIAGONAL: tl.constexpr, PRECISION: tl.constexpr,
    ):  # fmt: skip
        """Adds what the keys from `low` on give to the gradients of a block of queries.

        sum_dq, query, gradient (QUERIES, SIZE): sum so far, queries, gradient in their output;
        log_sum, delta, queries (QUERIES,): as in `log_sums` and `deltas`, and places in the piece.
        """
        for start in range(low, high, KEYS):
            key = k.load([begin + start, column])
            value = v.load([begin + start, column])
            # the weights are made again: kept from the forward they would be T x T numbers of a piece
            scores = tl.dot(query, tl.trans(key), input_precision=PRECISION) * log2_scale
            weights = tl.exp2(scores - log_sum[:, None])
            if DIAGONAL:
                keys = start + tl.arange(0, KEYS)
                # behind exp2, which may be infinite for a key that is not seen
                weights = tl.where(keys[None, :] <= queries[:, None], weights, 0.0)
            slope = tl.dot(gradient, tl.trans(value), input_precision=PRECISION)
            slope = weights * (slope - delta[:, None])
            sum_dq = tl.dot(slope.to(key.dtype), key, sum_dq, input_precision=PRECISION)
        return sum_dq

    @triton.jit(do_not_specialize=["tokens", "tiles", "pieces"])  # a kernel for all rows
    def _queries_kernel(
        q, dout, k, v, log_sums, deltas, bounds, log2_scale, scale, tokens, pieces, tiles, out, out_stride, dq,
        HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
        PRECISION: tl.constexpr,
    ):  # fmt: skip
        """The gradients of one block of queries, and for each the product of its output and that one's gradient.

        Reads `log_sums`, writes `deltas` and dq (T, H, E). Programs (tiles, H).
        """
        begin, length, first, queries, inside, at = _find_piece(bounds, tiles - 1 - tl.program_id(0), pieces, QUERIES)
        if length == 0:
            return
        head = tl.program_id(1)
        query = q.load([begin + first, head * SIZE])
        gradient = dout.load([begin + first, head * SIZE])
        output = tl.load(out + _places(at, out_stride, head, SIZE), mask=inside[:, None], other=0.0)
        delta = tl.sum(output.to(tl.float32) * gradient.to(tl.float32), 1)
        tl.store(deltas + head * tokens + at, delta, mask=inside)
        log_sum = tl.load(log_sums + head * tokens + at, mask=inside, other=0.0)
        column = head // GROUPS * SIZE
        sum_dq = tl.zeros([QUERIES, SIZE], tl.float32)
        sum_dq = _gather_queries(
            sum_dq, query, gradient, log_sum, delta, k, v, begin, column, queries, 0, first, log2_scale,
            KEYS, False, PRECISION,
        )  # fmt: skip
        end = tl.minimum(first + QUERIES, length)
        sum_dq = _gather_queries(
            sum_dq, query, gradient, log_sum, delta, k, v, begin, column, queries, first, end, log2_scale,
            KEYS, True, PRECISION,
        )  # fmt: skip
        _store(dq, at, inside, HEADS * SIZE, head, sum_dq * scale, SIZE)

    @triton.jit
    def _gather_keys(
        sum_dk, sum_dv, key, value, q, dout, log_sums, deltas, begin, length, column, keys, low, high, log2_scale,
        QUERIES: tl.constexpr, DIAGONAL: tl.constexpr, WHOLE: tl.constexpr, PRECISION: tl.constexpr,
    ):  # fmt: skip
        """Adds what the queries from `low` on give to the gradients of a block of keys; WHOLE: all are in the piece.

        sum_dk, sum_dv, key, value (KEYS, SIZE): sums so far, keys, values; keys (KEYS,): places in the piece;
        log_sums, deltas: where the query head's (T,) begin; column: of the query head in q and dout.
        """
        for start in range(low, high, QUERIES):
            queries = start + tl.arange(0, QUERIES)
            query = q.load([begin + start, column])
            gradient = dout.load([begin + start, column])
            if WHOLE:
                log_sum = tl.load(log_sums + begin + queries)
                delta = tl.load(deltas + begin + queries)
            else:
                log_sum = tl.load(log_sums + begin + queries, mask=queries < length, other=0.0)
                delta = tl.load(deltas + begin + queries, mask=queries < length, other=0.0)
            # (KEYS, QUERIES): turned, so that both gradients are products without another transposition
            scores = tl.dot(key, tl.trans(query), input_precision=PRECISION) * log2_scale
            weights = tl.exp2(scores - log_sum[None, :])
            if not WHOLE:
                weights = tl.where((queries < length)[None, :], weights, 0.0)
            if DIAGONAL:
                weights = tl.where(keys[:, None] <= queries[None, :], weights, 0.0)
            sum_dv = tl.dot(weights.to(gradient.dtype), gradient, sum_dv, input_precision=PRECISION)
            slope = tl.dot(value, tl.trans(gradient), input_precision=PRECISION)
            slope = weights * (slope - delta[None, :])
            sum_dk = tl.dot(slope.to(query.dtype), query, sum_dk, input_precision=PRECISION)
        return sum_dk, sum_dv

    @triton.jit(do_not_specialize=["tokens", "pieces"])  # a kernel for all rows
    def _keys_kernel(
        q, dout, k, v, log_sums, deltas, bounds, log2_scale, scale, tokens, pieces, dk, dv,
        HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
        PRECISION: tl.constexpr,
    ):  # fmt: skip
        """The gradients of one block of keys and values, summed over the query heads that they serve.

        Reads `log_sums` and `deltas`, writes dk and dv (T, K, E). Programs (tiles, K).
        """
        # a piece's first keys are seen by the most queries: here the first tiles have the most to do
        begin, length, first, keys, inside, at = _find_piece(bounds, tl.program_id(0), pieces, KEYS)
        if length == 0:
            return
        key_head = tl.program_id(1)
        key = k.load([begin + first, key_head * SIZE])
        value = v.load([begin + first, key_head * SIZE])
        sum_dk = tl.zeros([KEYS, SIZE], tl.float32)
        sum_dv = tl.zeros([KEYS, SIZE], tl.float32)
        # queries beside the block (masked), behind it up to `whole` (no mask), and the piece's last, part of a block
        middle = tl.minimum(first + KEYS, length)
        whole = tl.maximum(first + KEYS, length // QUERIES * QUERIES)
        # one program for all heads of a key, one after the other: atomic sums would come in any order
        for group in range(GROUPS):
            head = key_head * GROUPS + group
            column = head * SIZE
            log_sums_of = log_sums + head * tokens
            deltas_of = deltas + head * tokens
            sum_dk, sum_dv = _gather_keys(
                sum_dk, sum_dv, key, value, q, dout, log_sums_of, deltas_of, begin, length, column, keys,
                first, middle, log2_scale, QUERIES, True, False, PRECISION,
            )  # fmt: skip
            sum_dk, sum_dv = _gather_keys(
                sum_dk, sum_dv, key, value, q, dout, log_sums_of, deltas_of, begin, length, column, keys,
                first + KEYS, whole, log2_scale, QUERIES, False, True, PRECISION,
            )  # fmt: skip
            sum_dk, sum_dv = _gather_keys(
                sum_dk, sum_dv, key, value, q, dout, log_sums_of, deltas_of, begin, length, column, keys,
                whole, length, log2_scale, QUERIES, False, False, PRECISION,
            )  # fmt: skip
        _store(dk, at, inside, HEADS // GROUPS * SIZE, key_head, sum_dk * scale, SIZE)
        _store(dv, at, inside, HEADS // GROUPS * SIZE, key_head, sum_dv, SIZE)

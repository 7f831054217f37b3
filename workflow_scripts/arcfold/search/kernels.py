"""Attention against the slots of the cache, and the small steps of a layer: Triton kernels and plain torch.

The Triton kernels serve NVIDIA GPUs; without Triton, or on a CPU, the plain versions below give
the same numbers up to rounding. Online softmax in fp32 as in FlashAttention (Dao et al., 2022,
arXiv 2205.14135); a row's keys are cut into parts that are merged by their log-sum-exp, as in
Flash-Decoding.

Example: H = 4, K = 2 (G = 2), D = 64; the prompt A of 5 tokens at slots 1-5, (1) behind it at slot 9; B at 6-8.

    extend   a pass of A's prompt, of the token 1 behind it, and of two tokens behind B at slots 10 and 11: T = 8
             slots (16,)   1-5, then 1-5 9, then 6-8 10 11; own (8,) 1-5 9 10 11
             segments      (first token, S, start in slots, N - S): 0 5 0 0, 5 1 5 5, 6 2 11 3
             tiles (3, 6)  a tile has up to TILE / G = 64 tokens, so one a segment; longest first: 5 1 5 5 0 0, ...
             launches (3 tiles, 2 heads); out (8, 4, 64)
    decode   two rows, A with 9 in its table and B with 10 and 11: start 1 6, length 5 3, depth 1 2
             keys of row 0: slots 1-5 and 9; of row 1: 6-8, 10, 11. With `longest` 512, `part_size` gives 128 keys,
             so P = 4; launches (2 rows, 2 heads, 4 parts), sums (2, 4, 4, 64), logs (2, 4, 4); parts 1 to 3 have no
             key and a log of -1e30; merged to out (2, 4, 64)

Shapes: T tokens of a pass, S tokens of a segment, N places that it sees, R rows of a frontier,
H query heads, K key-value heads, G = H / K, D size of a head, M slots of the cache, W width of a
row's table of slots, P parts into which a row's keys are cut. Of an argument that is a tensor, the last dimension is
contiguous.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch

from arcfold.search.decoding import to_device

try:
    import triton
    import triton.language as tl
except ImportError:  # a CPU build of torch comes without it
    triton = None

TILE = 128
"""Queries, heads times tokens, of one program of `extend`: each key that is read serves so many, and the sums of so
many still fit into a program's registers."""
PART = 1024
"""Keys that one program of `decode` reads at most: no row, however long, keeps a single program busy for long."""


def has_triton(device: torch.device) -> bool:
    """Whether the Triton kernels run there: on CUDA, or anywhere in Triton's interpreter."""
    return triton is not None and (device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1")


@dataclass(frozen=True)
class ExtendPlan:
    """Which slots the tokens of a pass see: token i of a segment the first N - S + i + 1 of its list."""

    slots: torch.Tensor
    """(sum of N,) int32 slots in text order, one segment after the other, each segment's own slots last."""
    own: torch.Tensor
    """(T,) int64 slot of each token of the pass."""
    segments: np.ndarray
    """(segments, 4): first token, S, where its list starts in `slots`, N - S."""
    tiles: torch.Tensor
    """(tiles, 6) int32: a segment's four numbers, the tile's first token in the segment, 0; longest first."""


def extend_plan(lists: list[np.ndarray], lengths: list[int], groups: int, device: torch.device) -> ExtendPlan:
    """The plan of a pass.

    lists: of each segment the slots (N,) that it sees, its own last
    lengths: of each segment S
    groups: G
    """
    size = np.asarray(lengths, dtype=np.int64)
    seen = np.asarray([len(slots) for slots in lists], dtype=np.int64)
    begins = np.concatenate([[0], size.cumsum()[:-1]])
    starts = np.concatenate([[0], seen.cumsum()[:-1]])
    segments = np.stack([begins, size, starts, seen - size], axis=1)
    # The G query heads of a key head are queries of the same keys, so a tile takes them together: TILE / G tokens.
    step = TILE // groups
    counts = -(-size // step)
    of = np.repeat(np.arange(len(size)), counts)
    first = (np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)) * step
    tiles = np.concatenate([segments[of], first[:, None], np.zeros_like(first)[:, None]], axis=1)
    # By the number of keys: a long tile that starts last would run alone.
    tiles = tiles[np.argsort(-(tiles[:, 3] + tiles[:, 4]), kind="stable")]
    own = np.concatenate([slots[len(slots) - count :] for slots, count in zip(lists, lengths, strict=True)])

    def on_device(array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
        return to_device(np.ascontiguousarray(array), device).to(dtype)

    return ExtendPlan(
        on_device(np.concatenate(lists), torch.int32),
        on_device(own, torch.int64),
        segments,
        on_device(tiles, torch.int32),
    )


def extend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan: ExtendPlan, scale: float
) -> torch.Tensor:
    """Attention (T, H, D) of queries (H, T, D) to keys and values (K, M, D) as the plan says."""
    if has_triton(query.device):
        return _extend_triton(query, keys, values, plan, scale)
    return extend_plain(query, keys, values, plan, scale)


def extend_plain(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan: ExtendPlan, scale: float
) -> torch.Tensor:
    """`extend` in plain torch, a segment at a time."""
    out = query.new_empty(query.shape[1], query.shape[0], query.shape[2])
    for begin, size, start, before in plan.segments.tolist():
        slots = plan.slots[start : start + before + size].long()
        visible = torch.ones(size, before + size, dtype=torch.bool, device=query.device).tril_(before)
        part = _softmax_attention(query[:, begin : begin + size], keys[:, slots], values[:, slots], visible, scale)
        out[begin : begin + size] = part.transpose(0, 1)
    return out


def decode(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    start: torch.Tensor,
    length: torch.Tensor,
    table: torch.Tensor,
    depth: torch.Tensor,
    longest: int,
    scale: float,
) -> torch.Tensor:
    """Attention (R, H, D) of one query a row (H, R, D) to keys and values (K, M, D).

    Row r sees the slots start[r] .. start[r] + length[r] - 1 and table[r, : depth[r]]; `longest`
    bounds length + depth. A row of length and depth 0 gives zeros.
    start, length and depth are (R,) int64, table is (R, W) int32.
    """
    if has_triton(query.device):
        return _decode_triton(query, keys, values, start, length, table, depth, longest, scale)
    return decode_plain(query, keys, values, start, length, table, depth, scale)


def decode_plain(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    start: torch.Tensor,
    length: torch.Tensor,
    table: torch.Tensor,
    depth: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """`decode` in plain torch, a row at a time."""
    out = query.new_zeros(query.shape[1], query.shape[0], query.shape[2])
    for row in (length + depth).nonzero().flatten().tolist():
        end = start[row] + length[row]
        slots = torch.cat(
            [torch.arange(int(start[row]), int(end), device=table.device), table[row, : depth[row]].long()]
        )
        visible = torch.ones(1, len(slots), dtype=torch.bool, device=table.device)
        of_row = _softmax_attention(query[:, row : row + 1], keys[:, slots], values[:, slots], visible, scale)
        out[row] = of_row[:, 0]
    return out


def _softmax_attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, visible: torch.Tensor, scale: float
) -> torch.Tensor:
    """(H, S, D) from queries (H, S, D), keys and values (K, N, D), visible (S, N)."""
    groups = query.shape[0] // keys.shape[0]
    keys, values = keys.repeat_interleave(groups, 0), values.repeat_interleave(groups, 0)
    scores = torch.einsum("hsd,hnd->hsn", query.float(), keys.float()) * scale
    weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)
    return torch.einsum("hsn,hnd->hsd", weights, values.float()).to(query.dtype)


def _extend_triton(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan: ExtendPlan, scale: float
) -> torch.Tensor:
    heads, tokens, size = query.shape
    out = query.new_empty(tokens, heads, size)
    # fp32 is computed in fp32, not in TF32, for the sake of the noise; its tiles take twice the room, hence the blocks.
    exact = query.dtype == torch.float32
    block = 32 if exact else 64
    _extend_kernel[(len(plan.tiles), keys.shape[0])](
        query, keys, values, out, plan.slots, plan.tiles,
        scale * 1.4426950408889634,  # the kernel works with powers of 2
        query.stride(0), query.stride(1), keys.stride(0), keys.stride(1), out.stride(0), out.stride(1),
        GROUPS=heads // keys.shape[0], SIZE=size, WIDE=_width(size), TILE=TILE, BLOCK=block,
        PRECISION="ieee" if exact else "tf32", num_warps=8 if TILE * size > 8192 else 4, num_stages=1 if exact else 2,
    )  # fmt: skip
    return out


def _decode_triton(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    start: torch.Tensor,
    length: torch.Tensor,
    table: torch.Tensor,
    depth: torch.Tensor,
    longest: int,
    scale: float,
) -> torch.Tensor:
    heads, rows, size = query.shape
    groups = heads // keys.shape[0]
    part = part_size(rows * keys.shape[0], longest)
    # `longest` rather than what the rows have: a CUDA graph has one grid, whatever it is replayed on.
    parts = -(-longest // part)
    exact = query.dtype == torch.float32
    out = query.new_empty(rows, heads, size)
    # What is merged is kept in fp32 until then; a single part needs no merging and is the result.
    sums = query.new_empty(rows, heads, parts, size, dtype=torch.float32) if parts > 1 else out
    logs = query.new_empty(rows, heads, parts, dtype=torch.float32)
    _decode_kernel[(rows, keys.shape[0], parts)](
        query, keys, values, sums, logs, start, length, table, depth,
        scale * 1.4426950408889634,  # log2(e), as above
        query.stride(0), query.stride(1), keys.stride(0), keys.stride(1), table.stride(0), parts, part,
        GROUPS=groups, TILE=_width(groups), SIZE=size, WIDE=_width(size),
        HEADS=heads, BLOCK=32 if exact else 64,
        PRECISION="ieee" if exact else "tf32", num_warps=4, num_stages=1 if exact else 3,
    )  # fmt: skip
    if parts > 1:
        _merge_kernel[(rows, heads)](
            sums, logs, out, parts, HEADS=heads, ROOM=triton.next_power_of_2(parts),
            SIZE=size, WIDE=triton.next_power_of_2(size), num_warps=1,
        )  # fmt: skip
    return out


def _width(size: int) -> int:
    """The next power of 2, at least 16, the smallest side of a matrix product in Triton."""
    wide: int = max(16, triton.next_power_of_2(size))
    return wide


def part_size(programs: int, longest: int) -> int:
    """Keys of a part, a power of 2: small while that is needed to fill a GPU, else `PART`.

    programs: rows times key-value heads; longest: keys of a row at most
    """
    part = PART
    # 1,024 programs are some eight for each of the 132 multiprocessors of an H100.
    while part > 128 and programs * -(-longest // part) < 1024:
        part //= 2
    return part


def store(
    keys: torch.Tensor, values: torch.Tensor, slots: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> None:
    """Writes new keys and values `key`, `value` (K, T, D) into the cache's (K, M, D) at `slots` (T,) int64."""
    if not has_triton(keys.device):
        keys[:, slots] = key
        values[:, slots] = value
        return
    heads, tokens, size = key.shape
    _store_kernel[(tokens,)](
        keys, values, slots, key, value,
        keys.stride(0), keys.stride(1), key.stride(0), key.stride(1), value.stride(0), value.stride(1),
        HEADS=heads, ROOM=triton.next_power_of_2(heads), SIZE=size, WIDE=triton.next_power_of_2(size), num_warps=4,
    )  # fmt: skip


def rms_norm(states: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """states / sqrt(mean(states ** 2) + epsilon) * weight over the last dimension, in fp32, in one kernel.

    states (..., E), weight (E,). Needs Triton.
    Root mean square layer normalization (Zhang and Sennrich, 2019, arXiv 1910.07467).
    """
    size = states.shape[-1]
    out = torch.empty_like(states, memory_format=torch.contiguous_format)
    flat = states.reshape(-1, size)
    # Norms of heads are short: several of them for a program, or it would have nothing to do.
    block = max(1, 1024 // triton.next_power_of_2(size))
    _rms_norm_kernel[(triton.cdiv(len(flat), block),)](
        flat, weight, out, len(flat), flat.stride(0), epsilon,
        SIZE=size, WIDE=triton.next_power_of_2(size), BLOCK=block, num_warps=4,
    )  # fmt: skip
    return out


def rotate(
    query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, unsqueeze_dim: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotary embedding of queries (1, H, T, D) and keys (1, K, T, D) by cos and sin (1, T, D), in one kernel.

    Needs Triton. The halves of a head are rotated against each other, as in transformers' Llama;
    rotary position embedding after Su et al., 2021 (arXiv 2104.09864).
    """
    _, heads, tokens, size = query.shape
    kv_heads = key.shape[1]
    # Token by token in memory, as the projections wrote them.
    new_query = query.new_empty(1, tokens, heads, size).transpose(1, 2)
    new_key = key.new_empty(1, tokens, kv_heads, size).transpose(1, 2)
    _rotate_kernel[(tokens,)](
        query, key, cos, sin, new_query, new_key,
        query.stride(1), query.stride(2), key.stride(1), key.stride(2), cos.stride(1),
        HEADS=heads, KV_HEADS=kv_heads, ROOM=triton.next_power_of_2(heads), KV_ROOM=triton.next_power_of_2(kv_heads),
        SIZE=size, WIDE=triton.next_power_of_2(size // 2), num_warps=4,
    )  # fmt: skip
    return new_query, new_key


if triton is not None:

    @triton.jit
    def _rms_norm_kernel(
        states, weight, out, rows, stride, epsilon,
        SIZE: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """`rms_norm`; a program for BLOCK rows.

        states, out: (rows, E); out contiguous
        weight: (E,)
        rows: their number
        stride: numbers from one row of `states` to the next
        epsilon: added to the mean square
        SIZE, WIDE: E, and the power of 2 that is at least E
        BLOCK: rows of a program, a power of 2
        """
        row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        dim = tl.arange(0, WIDE)
        inside = (row < rows)[:, None] & (dim < SIZE)[None, :]
        x = tl.load(states + row[:, None] * stride + dim[None, :], mask=inside, other=0.0).to(tl.float32)
        scale = tl.load(weight + dim, mask=dim < SIZE, other=0.0).to(tl.float32)
        x = x * tl.rsqrt(tl.sum(x * x, 1) / SIZE + epsilon)[:, None] * scale[None, :]
        tl.store(out + row[:, None] * SIZE + dim[None, :], x, mask=inside)

    @triton.jit
    def _rotate_heads(
        states, out, cos_low, cos_high, sin_low, sin_high, token, head_stride, token_stride, dim,
        HEADS: tl.constexpr, ROOM: tl.constexpr, SIZE: tl.constexpr,
    ):  # fmt: skip
        """All heads of one token, for `_rotate_kernel`.

        states: (heads, tokens, D), by the strides; out: (tokens, heads, D), contiguous
        cos_low, cos_high, sin_low, sin_high: (WIDE,) for the halves of a head, in registers
        token: which one
        head_stride, token_stride: numbers of `states` from one head, from one token, to the next
        dim: (WIDE,) 0, 1, 2, ...
        HEADS, ROOM: heads, and the power of 2 that is at least that
        SIZE: D
        """
        head = tl.arange(0, ROOM).to(tl.int64)
        inside = (head < HEADS)[:, None] & (dim < SIZE // 2)[None, :]
        of = states + head[:, None] * head_stride + token * token_stride + dim[None, :]
        low = tl.load(of, mask=inside, other=0.0).to(tl.float32)
        high = tl.load(of + SIZE // 2, mask=inside, other=0.0).to(tl.float32)
        to = out + (token * HEADS + head[:, None]) * SIZE + dim[None, :]
        tl.store(to, low * cos_low[None, :] - high * sin_low[None, :], mask=inside)
        tl.store(to + SIZE // 2, high * cos_high[None, :] + low * sin_high[None, :], mask=inside)

    @triton.jit
    def _rotate_kernel(
        query, key, cos, sin, new_query, new_key, q_head, q_token, k_head, k_token, cos_token,
        HEADS: tl.constexpr, KV_HEADS: tl.constexpr, ROOM: tl.constexpr, KV_ROOM: tl.constexpr,
        SIZE: tl.constexpr, WIDE: tl.constexpr,
    ):  # fmt: skip
        """`rotate`; a program for one token's query and key heads.

        query, key: (H, T, D) and (K, T, D), by the strides
        cos, sin: (T, D)
        new_query, new_key: (T, H, D) and (T, K, D) to write, contiguous
        q_head, q_token, k_head, k_token: numbers from one head, from one token, to the next
        cos_token: numbers of `cos` and of `sin` from one token to the next
        HEADS, KV_HEADS: H, K
        ROOM, KV_ROOM: the powers of 2 that are at least H, K
        SIZE: D
        WIDE: the power of 2 that is at least D / 2
        """
        token = tl.program_id(0).to(tl.int64)
        dim = tl.arange(0, WIDE)
        inside = dim < SIZE // 2
        cos += token * cos_token + dim
        sin += token * cos_token + dim
        cos_low = tl.load(cos, mask=inside, other=0.0).to(tl.float32)
        cos_high = tl.load(cos + SIZE // 2, mask=inside, other=0.0).to(tl.float32)
        sin_low = tl.load(sin, mask=inside, other=0.0).to(tl.float32)
        sin_high = tl.load(sin + SIZE // 2, mask=inside, other=0.0).to(tl.float32)
        _rotate_heads(
            query, new_query, cos_low, cos_high, sin_low, sin_high, token, q_head, q_token, dim, HEADS, ROOM, SIZE
        )
        _rotate_heads(
            key, new_key, cos_low, cos_high, sin_low, sin_high, token, k_head, k_token, dim, KV_HEADS, KV_ROOM, SIZE
        )

    @triton.jit
    def _extend_kernel(
        query, keys, values, out, slots, tiles, scale,
        q_head, q_token, k_head, k_slot, o_token, o_head,
        GROUPS: tl.constexpr, SIZE: tl.constexpr, WIDE: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr,
        PRECISION: tl.constexpr,
    ):  # fmt: skip
        """`extend`; a program for one tile of a segment's tokens with the G query heads of one key-value head.

        query: (H, T, D), by the strides
        keys, values: (K, M, D), both with the same strides
        out: (T, H, D) to write
        slots: (sum of N,) int32, `ExtendPlan.slots`
        tiles: (tiles, 6) int32, `ExtendPlan.tiles`
        scale: of the products, times log2(e)
        q_head, q_token, k_head, k_slot, o_token, o_head: numbers from one head, token or slot to the next
        GROUPS: G
        SIZE, WIDE: D, and the power of 2 that is at least D and 16
        TILE: queries of a tile, of which TILE // G * G are used
        BLOCK: keys at a time
        PRECISION: of the products: "ieee" for fp32, else "tf32"

        The grid is (tiles, K).
        """
        tile = tiles + tl.program_id(0) * 6
        head = tl.program_id(1).to(tl.int64)
        begin, size = tl.load(tile), tl.load(tile + 1)
        start, before, first = tl.load(tile + 2), tl.load(tile + 3), tl.load(tile + 4)
        row = tl.arange(0, TILE)
        token = first + row // GROUPS
        group = row % GROUPS
        here = (row < (TILE // GROUPS) * GROUPS) & (token < size)
        dim = tl.arange(0, WIDE)
        inside = dim < SIZE
        # 64 bits: slots times heads times numbers of a large cache pass 2 ** 31.
        place = (head * GROUPS + group) * q_head + (begin + token).to(tl.int64) * q_token
        q = tl.load(query + place[:, None] + dim[None, :], mask=here[:, None] & inside[None, :], other=0.0)
        top = tl.full([TILE], -1.0e30, tl.float32)
        total = tl.zeros([TILE], tl.float32)
        gathered = tl.zeros([TILE, WIDE], tl.float32)
        # Keys behind the tile's last token are seen by none of it.
        end = before + tl.minimum(first + TILE // GROUPS, size)
        keys += head * k_head
        values += head * k_head
        for low in range(0, end, BLOCK):
            seen = low + tl.arange(0, BLOCK)
            known = seen < end
            slot = tl.load(slots + start + seen, mask=known, other=0).to(tl.int64) * k_slot
            part = known[:, None] & inside[None, :]
            k = tl.load(keys + slot[:, None] + dim[None, :], mask=part, other=0.0)
            score = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
            visible = seen[None, :] <= before + token[:, None]
            # -1e30 rather than minus infinity: the difference of two infinities is no number.
            score = tl.where(visible & known[None, :], score, -1.0e30)
            higher = tl.maximum(top, tl.max(score, 1))
            weight = tl.exp2(score - higher[:, None])
            # What was gathered under the old maximum is put on the scale of the new one.
            shrink = tl.exp2(top - higher)
            total = total * shrink + tl.sum(weight, 1)
            v = tl.load(values + slot[:, None] + dim[None, :], mask=part, other=0.0)
            # Weights are rounded to the values' type, as FlashAttention does; their sum above is not.
            gathered = gathered * shrink[:, None]
            gathered = tl.dot(weight.to(v.dtype), v, gathered, input_precision=PRECISION)
            top = higher
        result = gathered / total[:, None]
        place = (begin + token).to(tl.int64) * o_token + (head * GROUPS + group) * o_head
        tl.store(out + place[:, None] + dim[None, :], result, mask=here[:, None] & inside[None, :])

    @triton.jit
    def _attend_block(
        q, keys, values, slot, known, dim, inside, top, total, gathered, scale, k_slot, PRECISION: tl.constexpr
    ):
        """Online softmax over one more block of keys and values, for `_decode_kernel`: new top, total and gathered.

        q: (TILE, WIDE) queries
        keys, values: pointers to one head's (M, D)
        slot, known: (BLOCK,) slots of the keys, and which of them there are
        dim, inside: (WIDE,) 0, 1, 2, ..., and which of them are below D
        top, total, gathered: (TILE,), (TILE,), (TILE, WIDE) fp32: largest score, sum of weights, weighted sum so far
        scale: of the products, times log2(e)
        k_slot: numbers from one slot to the next
        PRECISION: as in `_extend_kernel`
        """
        place = slot.to(tl.int64) * k_slot
        part = known[:, None] & inside[None, :]
        k = tl.load(keys + place[:, None] + dim[None, :], mask=part, other=0.0)
        v = tl.load(values + place[:, None] + dim[None, :], mask=part, other=0.0)
        score = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        score = tl.where(known[None, :], score, -1.0e30)
        higher = tl.maximum(top, tl.max(score, 1))
        weight = tl.exp2(score - higher[:, None])
        shrink = tl.exp2(top - higher)
        total = total * shrink + tl.sum(weight, 1)
        gathered = tl.dot(weight.to(v.dtype), v, gathered * shrink[:, None], input_precision=PRECISION)
        return higher, total, gathered

    @triton.jit
    def _decode_kernel(
        query, keys, values, sums, logs, start, length, table, depth, scale,
        q_head, q_row, k_head, k_slot, t_row, parts, part_keys,
        GROUPS: tl.constexpr, TILE: tl.constexpr, SIZE: tl.constexpr, WIDE: tl.constexpr, HEADS: tl.constexpr,
        BLOCK: tl.constexpr, PRECISION: tl.constexpr,
    ):  # fmt: skip
        """`decode`; a program for one row's G query heads of one key-value head against one part of the row's keys.

        query: (H, R, D), by the strides
        keys, values: (K, M, D), both with the same strides
        sums: (R, H, P, D) to write: attention over each part; with one part the result itself
        logs: (R, H, P) fp32 to write: log2 of each part's sum of exponentials, -1e30 for a part without keys
        start, length, depth: (R,) int64, table: (R, W) int32, as in `decode`
        scale: of the products, times log2(e)
        q_head, q_row, k_head, k_slot, t_row: numbers from one head, row or slot to the next
        parts, part_keys: P, and keys of a part
        GROUPS, HEADS: G, H
        TILE: the power of 2 that is at least G and 16
        SIZE, WIDE: D, and the power of 2 that is at least D and 16
        BLOCK: keys at a time
        PRECISION: as in `_extend_kernel`

        The grid is (R, K, P).
        """
        row = tl.program_id(0).to(tl.int64)
        head = tl.program_id(1).to(tl.int64)
        part = tl.program_id(2)
        group = tl.arange(0, TILE)
        here = group < GROUPS
        dim = tl.arange(0, WIDE)
        inside = dim < SIZE
        prompt = tl.load(length + row)
        end = prompt + tl.load(depth + row)
        low = part * part_keys
        place = (row * HEADS + head * GROUPS + group) * parts + part
        # Part 0 is done in any case: it is the one that writes zeros for a lane without a row.
        if (part > 0) & (low >= end):
            tl.store(logs + place, tl.full([TILE], -1.0e30, tl.float32), mask=here)
            return
        high = tl.minimum(low + part_keys, end)
        first = tl.load(start + row)
        q_place = (head * GROUPS + group) * q_head + row * q_row
        q = tl.load(query + q_place[:, None] + dim[None, :], mask=here[:, None] & inside[None, :], other=0.0)
        top = tl.full([TILE], -1.0e30, tl.float32)
        total = tl.zeros([TILE], tl.float32)
        gathered = tl.zeros([TILE, WIDE], tl.float32)
        keys += head * k_head
        values += head * k_head
        table += row * t_row
        # First what lies in the prompt, one range of slots of which none is looked up, then what stands in the table.
        # The order of the sums is that of the text, whatever the slots are.
        for at in range(low, tl.minimum(high, prompt), BLOCK):
            seen = at + tl.arange(0, BLOCK)
            known = seen < tl.minimum(high, prompt)
            top, total, gathered = _attend_block(
                q, keys, values, first + seen, known, dim, inside, top, total, gathered, scale, k_slot, PRECISION
            )
        for at in range(tl.maximum(low, prompt), high, BLOCK):
            seen = at + tl.arange(0, BLOCK)
            known = seen < high
            slot = tl.load(table + (seen - prompt), mask=known, other=0)
            top, total, gathered = _attend_block(
                q, keys, values, slot, known, dim, inside, top, total, gathered, scale, k_slot, PRECISION
            )
        result = gathered / tl.maximum(total, 1.0e-30)[:, None]
        tl.store(sums + place[:, None] * SIZE + dim[None, :], result, mask=here[:, None] & inside[None, :])
        tl.store(logs + place, tl.where(total > 0, top + tl.log2(tl.maximum(total, 1.0e-30)), -1.0e30), mask=here)

    @triton.jit
    def _merge_kernel(
        sums, logs, out, parts,
        HEADS: tl.constexpr, ROOM: tl.constexpr, SIZE: tl.constexpr, WIDE: tl.constexpr,
    ):  # fmt: skip
        """Merges the parts of one row and head by their log-sum-exp, in one fixed order.

        sums, logs: as `_decode_kernel` leaves them
        out: (R, H, D) to write, contiguous
        parts, ROOM: P, and the power of 2 that is at least P
        HEADS: H
        SIZE, WIDE: D, and the power of 2 that is at least D

        The grid is (R, H).
        """
        place = tl.program_id(0).to(tl.int64) * HEADS + tl.program_id(1)
        part = tl.arange(0, ROOM)
        dim = tl.arange(0, WIDE)
        log = tl.load(logs + place * parts + part, mask=part < parts, other=-1.0e30)
        weight = tl.exp2(log - tl.max(log, 0))
        # Parts without keys have written no sums: theirs are not even read.
        weight = tl.where(log > -1.0e29, weight, 0.0)
        at = (place * parts + part)[:, None] * SIZE + dim[None, :]
        values = tl.load(sums + at, mask=(weight > 0)[:, None] & (dim < SIZE)[None, :], other=0.0)
        total = tl.sum(values * weight[:, None], 0) / tl.maximum(tl.sum(weight, 0), 1.0e-30)
        tl.store(out + place * SIZE + dim, total, mask=dim < SIZE)

    @triton.jit
    def _store_kernel(
        keys, values, slots, key, value,
        cache_head, cache_slot, key_head, key_token, value_head, value_token,
        HEADS: tl.constexpr, ROOM: tl.constexpr, SIZE: tl.constexpr, WIDE: tl.constexpr,
    ):  # fmt: skip
        """`store`; a program copies one token's keys and values of all heads into its slot.

        keys, values: (K, M, D) to write, both with the same strides
        slots: (T,) int64
        key, value: (K, T, D), by the strides
        cache_head, cache_slot: numbers of `keys` and `values` from one head, from one slot, to the next
        key_head, key_token, value_head, value_token: the same for `key` and `value`
        HEADS, ROOM: K, and the power of 2 that is at least K
        SIZE, WIDE: D, and the power of 2 that is at least D
        """
        token = tl.program_id(0).to(tl.int64)
        head = tl.arange(0, ROOM).to(tl.int64)
        dim = tl.arange(0, WIDE)
        inside = (head < HEADS)[:, None] & (dim < SIZE)[None, :]
        slot = tl.load(slots + token).to(tl.int64)
        to = head[:, None] * cache_head + slot * cache_slot + dim[None, :]
        k = tl.load(key + head[:, None] * key_head + token * key_token + dim[None, :], mask=inside)
        tl.store(keys + to, k, mask=inside)
        v = tl.load(value + head[:, None] * value_head + token * value_token + dim[None, :], mask=inside)
        tl.store(values + to, v, mask=inside)

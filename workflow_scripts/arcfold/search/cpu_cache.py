"""Keys and values of each question in a piece of memory of its own: the form of decoding for a CPU.

Tokens that look at one question share what all of them see, its prompt above all: one attention for
all of them there, without a mask and without a copy, and a small one for each segment over the rest (a cascade). The
two are joined by the logarithms of their sums, as flash decoding does (https://arxiv.org/abs/2205.14135, section 3.1).

Example: a model of H = 4, K = 2, D = 8 (G = 2), a prompt of 100 tokens, and the living prefixes (1), (2) and (3).

    cache   before the pass: store (L, 2, 2, capacity, 8), 100 places in use; after it 103
    pass    one segment, S = 3, places 100 to 102, mask (3, 103); all three see places 0 to 99, so P = 100, R = 3
    common  queries (1, 2, 6, 8) against keys and values (1, 2, 100, 8): out (1, 4, 3, 8), logarithms (1, 4, 3)
    rest    the same queries against (1, 2, 3, 8) with a mask (6, 3), in which each token sees its own place alone
    joined  out + share * (rest - out), share (1, 4, 3) = sigmoid(logarithm of the rest - that of the common part)

The prompt's keys are read once for three prefixes. With a prompt of 50 tokens (P below 64) the segment is attended
to in one piece, with a mask (6, 53).

Shapes: as in `decoding`; L layers, G = H / K, P places that all see, R places of a segment that are left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from arcfold.search.decoding import Decoder, Layout, Pass, Segment

MIN_COMMON_PREFIX = 64
"""Places that all tokens must see before a second attention pays: below, its launch costs more than the mask saves."""


class CpuKVCache:
    """A `KVCache` in one piece of memory of its own, which grows as it must."""

    def __init__(self, layout: Layout, capacity: int) -> None:
        """capacity: places that it holds before it has to grow"""
        self.layout = layout
        self.length = 0
        self._store = self._new_store(capacity)  # (L, 2, K, capacity, D)

    @property
    def capacity(self) -> int:
        """Places that there is memory for."""
        return self._store.shape[3]

    @property
    def bytes(self) -> int:
        return self.capacity * self.layout.token_bytes

    def append(self, count: int) -> int:
        start = self.length
        if start + count > self.capacity:
            # By half at least, so that a token is moved a few times at most, however many steps are appended.
            grown = self._new_store(max(start + count, self.capacity * 3 // 2))
            grown[:, :, :, :start] = self._store[:, :, :, :start]
            self._store = grown
        self.length += count
        return start

    def keep(self, places: np.ndarray) -> None:
        """Forgets all tokens but those at `places` (ascending), which move together."""
        kept = torch.from_numpy(places).to(self.layout.device)
        for layer in self._store:  # one layer at a time: the copy stays small
            layer[:, :, : len(places)] = layer[:, :, kept]
        self.length = len(places)

    def write(self, layer: int, start: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Stores keys and values (K, S, D) of one layer from the place `start` on."""
        stop = start + keys.shape[1]
        self._store[layer, 0, :, start:stop] = keys
        self._store[layer, 1, :, start:stop] = values

    def read(self, layer: int, places: torch.Tensor | slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (K, N, D) at `places`; without a copy if these are a slice."""
        keys, values = self._store[layer]
        return keys[:, places], values[:, places]

    def _new_store(self, capacity: int) -> torch.Tensor:
        layout = self.layout
        shape = (layout.layers, 2, layout.heads, capacity, layout.size)
        return torch.empty(shape, dtype=layout.dtype, device=layout.device)


class CpuDecoder(Decoder):
    """Keys and values of each question in a cache of its own: no copy on the way to PyTorch's attention."""

    def allocate(self, capacity: int) -> CpuKVCache:
        """An empty cache of its own, with memory for `capacity` places."""
        return CpuKVCache(self.layout, capacity)

    def _pass(self, segments: Sequence[Segment]) -> Pass:
        return _CpuPass(segments, self)


@dataclass(frozen=True)
class _Part:
    """A segment of a pass, and what it sees beside the places that its whole group sees."""

    segment: Segment
    begin: int
    """Its first token in the pass."""
    end: int
    places: torch.Tensor | slice
    mask: torch.Tensor | None
    """(S, R), 0 where a token sees a place and -inf elsewhere; None: all, or all before it in a square."""
    square: bool
    """Whether only its own tokens are left, each of which sees those before it."""


@dataclass(frozen=True)
class _Group:
    """Segments that stand side by side in a pass and look at one cache."""

    parts: list[_Part]
    common_prefix: int
    """P, or 0 if it is not worth an attention of its own."""


class _CpuPass:
    """One pass over segments with caches of their own."""

    def __init__(self, segments: Sequence[Segment], decoder: Decoder) -> None:
        self._groups = list(_groups(segments, decoder))

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        # Everything is stored before anything attends: a segment may see another one of the same pass.
        for group in self._groups:
            for part in group.parts:
                here = slice(part.begin, part.end)
                part.segment.cache.write(layer, part.segment.start, key[0, :, here], value[0, :, here])
        made = []
        for group in self._groups:
            if group.common_prefix:
                made.append(_cascade_attention(query, group, layer, scale))
            else:
                made += [_attention(query[:, :, part.begin : part.end], part, layer, scale) for part in group.parts]
        return torch.cat(made, dim=2).transpose(1, 2)


def _groups(segments: Sequence[Segment], decoder: Decoder) -> Iterator[_Group]:
    begin = 0
    # a segment that opens its cache sees nothing but itself
    for _, alike in groupby(segments, key=lambda segment: (id(segment.cache), segment.start == 0)):
        members = list(alike)
        tokens = sum(len(segment.tokens) for segment in members)
        common_prefix = min(map(_common_prefix_of, members))
        # A single token shares with nobody; and the attention that tells its logarithms is there for a CPU only.
        if common_prefix < MIN_COMMON_PREFIX or tokens == 1 or decoder.layout.device.type != "cpu":
            common_prefix = 0
        parts = []
        for segment in members:
            end = begin + len(segment.tokens)
            parts.append(_part(segment, begin, end, common_prefix, decoder))
            begin = end
        yield _Group(parts, common_prefix)


def _common_prefix_of(segment: Segment) -> int:
    """How many places from the first on all tokens of a segment see, its own not counted."""
    if segment.mask is not None:
        seen = np.logical_and.reduce(segment.mask[:, : segment.start])
    elif segment.places is not None:
        before = segment.places[: len(segment.places) - len(segment.tokens)]
        seen = np.asarray(before == np.arange(len(before)))
    else:
        return segment.start
    return len(seen) if seen.all() else int(seen.argmin())


def _part(segment: Segment, begin: int, end: int, common_prefix: int, decoder: Decoder) -> _Part:
    size, left = len(segment.tokens), segment.seen - common_prefix
    places: torch.Tensor | slice = slice(common_prefix, segment.stop)
    if segment.places is not None:
        places = decoder.to_device(segment.places[common_prefix:])
    seen = None
    # What is left may be no more than the segment itself, each token seeing those before it. That needs no mask, but
    # only while every query head has keys of its own: G heads of one key head are folded into G times the queries.
    square = common_prefix > 0 and segment.mask is None and left == size and decoder.layout.groups == 1
    if segment.mask is not None:
        seen = segment.mask[:, common_prefix:]
    elif segment.start > 0 and size > 1 and not square:
        seen = np.tri(size, left, left - size, dtype=bool)
    if seen is None:
        return _Part(segment, begin, end, places, None, square)
    # the G query heads of a key-value head are G times as many queries
    mask = decoder.to_device(np.tile(seen, (decoder.layout.groups, 1)))
    made = torch.zeros(mask.shape, dtype=decoder.layout.dtype, device=mask.device).masked_fill_(~mask, -torch.inf)
    return _Part(segment, begin, end, places, made, square)


def _attention(query: torch.Tensor, part: _Part, layer: int, scale: float | None) -> torch.Tensor:
    """(1, H, S, D) from one segment's queries (1, H, S, D) and all that it sees."""
    keys, values = part.segment.cache.read(layer, part.places)
    heads, groups = keys.shape[0], query.shape[1] // keys.shape[0]
    if part.segment.start == 0 and part.mask is None:
        # A prompt by itself: causal attention skips half of the products. It takes one key head for each query head;
        # these copies are small beside a prompt's products.
        if groups > 1:
            keys, values = keys.repeat_interleave(groups, 0), values.repeat_interleave(groups, 0)
        return scaled_dot_product_attention(query, keys[None], values[None], is_causal=True, scale=scale)
    # The G query heads of a key-value head are G times as many queries of that head: no key is copied.
    grouped = query.reshape(1, heads, groups * query.shape[2], query.shape[3])  # (1, K, G * S, D)
    out = scaled_dot_product_attention(grouped, keys[None], values[None], attn_mask=part.mask, scale=scale)
    return out.reshape(query.shape)


def _cascade_attention(query: torch.Tensor, group: _Group, layer: int, scale: float | None) -> torch.Tensor:
    """(1, H, tokens of the group, D) from the queries of the pass: over the common places, over the rest, joined."""
    parts = group.parts
    keys, values = parts[0].segment.cache.read(layer, slice(group.common_prefix))
    out, lse = _flash(query[:, :, parts[0].begin : parts[-1].end], keys, values, None, False, scale)
    rest = []
    for part in parts:
        keys, values = part.segment.cache.read(layer, part.places)
        rest.append(_flash(query[:, :, part.begin : part.end], keys, values, part.mask, part.square, scale))
    others, lses = (list(of_parts) for of_parts in zip(*rest, strict=True))
    other = others[0] if len(parts) == 1 else torch.cat(others, dim=2)
    # The softmax over both is theirs weighted by the sums of their exponentials, a and b; b / (a + b) is the sigmoid of
    # log b - log a, which can't overflow.
    share = torch.sigmoid((lses[0] if len(parts) == 1 else torch.cat(lses, dim=2)) - lse)  # of the rest
    return out.lerp_(other, share[..., None].to(out.dtype))


def _flash(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    causal: bool,
    scale: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention (1, H, S, D) and the logarithm of its sums (1, H, S), from keys and values (K, N, D)."""
    heads = keys.shape[0]
    grouped = query.reshape(1, heads, -1, query.shape[3])  # (1, K, G * S, D)
    # what scaled_dot_product_attention calls on a CPU; it keeps the logarithms to itself
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        grouped, keys[None], values[None], 0.0, causal, attn_mask=mask, scale=scale
    )
    return out.reshape(query.shape), lse.reshape(query.shape[:3])

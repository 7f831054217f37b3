"""Keys and values of each question in a piece of memory of its own: the form of decoding for a CPU.

Tokens that look at one question share what all of them see, its prompt above all: one attention for
all of them there, without a mask and without a copy, and a small one for each segment over the rest. The
two are joined by the logarithms of their sums, as flash decoding does (https://arxiv.org/abs/2205.14135, section 3.1).

Shapes: as in `decoding`; L layers, G = H / K, P places that all see, R places of a segment that are left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from arcfold.decoding import Decoder, Layout, Pass, Segment

COMMON = 64
"""Places that all tokens must see before a second attention pays."""


class OwnArena:
    """An arena in one piece of memory of its own, which grows as it must."""

    def __init__(self, layout: Layout, capacity: int) -> None:
        self.layout = layout
        self.length = 0
        self._store = self._new_store(capacity)  # (L, 2, K, capacity, D)

    @property
    def capacity(self) -> int:
        return self._store.shape[3]

    @property
    def bytes(self) -> int:
        return self.capacity * self.layout.token_bytes

    def append(self, count: int) -> int:
        start = self.length
        if start + count > self.capacity:
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


class ArenaDecoder(Decoder):
    """Keys and values of each question in an arena of its own: no copy on the way to PyTorch's attention."""

    def arena(self, capacity: int) -> OwnArena:
        return OwnArena(self.layout, capacity)

    def _pass(self, segments: Sequence[Segment]) -> Pass:
        return _ArenaPass(segments, self)


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
    """Segments that stand side by side in a pass and look at one arena."""

    parts: list[_Part]
    common: int
    """P, or 0 if it is not worth an attention of its own."""


class _ArenaPass:
    """One pass over segments with arenas of their own."""

    def __init__(self, segments: Sequence[Segment], decoder: Decoder) -> None:
        self._groups = list(_groups(segments, decoder))

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        for group in self._groups:
            for part in group.parts:
                here = slice(part.begin, part.end)
                part.segment.arena.write(layer, part.segment.start, key[0, :, here], value[0, :, here])
        made = []
        for group in self._groups:
            if group.common:
                made.append(_attend_twice(query, group, layer, scale))
            else:
                made += [_attend(query[:, :, part.begin : part.end], part, layer, scale) for part in group.parts]
        return torch.cat(made, dim=2).transpose(1, 2)


def _groups(segments: Sequence[Segment], decoder: Decoder) -> Iterator[_Group]:
    begin = 0
    # a segment that opens its arena sees nothing but itself
    for _, alike in groupby(segments, key=lambda segment: (id(segment.arena), segment.start == 0)):
        members = list(alike)
        tokens = sum(len(segment.tokens) for segment in members)
        common = min(map(_seen_by_all, members))
        if common < COMMON or tokens == 1 or decoder.layout.device.type != "cpu":
            common = 0
        parts = []
        for segment in members:
            end = begin + len(segment.tokens)
            parts.append(_part(segment, begin, end, common, decoder))
            begin = end
        yield _Group(parts, common)


def _seen_by_all(segment: Segment) -> int:
    """How many places from the first on all tokens of a segment see, its own not counted."""
    if segment.mask is not None:
        seen = np.logical_and.reduce(segment.mask[:, : segment.start])
    elif segment.places is not None:
        before = segment.places[: len(segment.places) - len(segment.tokens)]
        seen = np.asarray(before == np.arange(len(before)))
    else:
        return segment.start
    return len(seen) if seen.all() else int(seen.argmin())


def _part(segment: Segment, begin: int, end: int, common: int, decoder: Decoder) -> _Part:
    size, left = len(segment.tokens), segment.seen - common
    places: torch.Tensor | slice = slice(common, segment.stop)
    if segment.places is not None:
        places = decoder.there(segment.places[common:])
    seen = None
    square = common > 0 and segment.mask is None and left == size and decoder.layout.groups == 1
    if segment.mask is not None:
        seen = segment.mask[:, common:]
    elif segment.start > 0 and size > 1 and not square:
        seen = np.tri(size, left, left - size, dtype=bool)
    if seen is None:
        return _Part(segment, begin, end, places, None, square)
    # the G query heads of a key-value head are G times as many queries
    mask = decoder.there(np.tile(seen, (decoder.layout.groups, 1)))
    made = torch.zeros(mask.shape, dtype=decoder.layout.dtype, device=mask.device).masked_fill_(~mask, -torch.inf)
    return _Part(segment, begin, end, places, made, square)


def _attend(query: torch.Tensor, part: _Part, layer: int, scale: float | None) -> torch.Tensor:
    """(1, H, S, D) from one segment's queries (1, H, S, D) and all that it sees."""
    keys, values = part.segment.arena.read(layer, part.places)
    heads, groups = keys.shape[0], query.shape[1] // keys.shape[0]
    if part.segment.start == 0 and part.mask is None:
        if groups > 1:
            keys, values = keys.repeat_interleave(groups, 0), values.repeat_interleave(groups, 0)
        return scaled_dot_product_attention(query, keys[None], values[None], is_causal=True, scale=scale)
    # The G query heads of a key-value head are G times as many queries of that head: no key is copied.
    grouped = query.reshape(1, heads, groups * query.shape[2], query.shape[3])  # (1, K, G * S, D)
    out = scaled_dot_product_attention(grouped, keys[None], values[None], attn_mask=part.mask, scale=scale)
    return out.reshape(query.shape)


def _attend_twice(query: torch.Tensor, group: _Group, layer: int, scale: float | None) -> torch.Tensor:
    """(1, H, tokens of the group, D) from the queries of the pass: over the common places, over the rest, joined."""
    parts = group.parts
    keys, values = parts[0].segment.arena.read(layer, slice(group.common))
    out, lse = _flash(query[:, :, parts[0].begin : parts[-1].end], keys, values, None, False, scale)
    rest = []
    for part in parts:
        keys, values = part.segment.arena.read(layer, part.places)
        rest.append(_flash(query[:, :, part.begin : part.end], keys, values, part.mask, part.square, scale))
    others, lses = (list(of_parts) for of_parts in zip(*rest, strict=True))
    other = others[0] if len(parts) == 1 else torch.cat(others, dim=2)
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

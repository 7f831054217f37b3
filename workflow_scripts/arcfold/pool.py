"""Keys and values of all questions in one pool of slots: the form of decoding for a GPU.

Slots are handed out in ascending order, a question's prompt in one stretch. Nothing is freed one
by one: when the pool is full, what is still in use moves together (`compact`), in the same order,
so that a stretch stays a stretch. Slot 0 takes what nobody wants.

Shapes: as in `decoding`; M slots of the pool.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from arcfold import kernels
from arcfold.arenas import ArenaDecoder
from arcfold.decoding import Decoder, Pass, Segment, weight_bytes
from arcfold.fused_layers import PooledPass, fused_layers
from arcfold.fusing import fused

GPU_PASS = 32768
"""Tokens that a pass takes at most, unless one segment alone has more: they bound the activations."""


class Region:
    """An arena that is a stretch of the pool. It holds what it was made for and does not grow."""

    def __init__(self, base: int, capacity: int) -> None:
        self.base = base
        self.capacity = capacity
        self.length = 0

    def append(self, count: int) -> int:
        start = self.length
        self.length += count
        if self.length > self.capacity:
            raise ValueError(f"{self.length} tokens in a stretch of {self.capacity} slots")
        return start

    def slots(self, segment: Segment) -> np.ndarray:
        """(N,) the slots that a segment of this arena sees."""
        return self.base + (np.arange(segment.stop) if segment.places is None else segment.places)


class PoolDecoder(Decoder):
    """Keys and values in one pool; attention to all segments of a pass in one kernel."""

    pass_tokens = GPU_PASS

    def __init__(self, model: Any, budget: int | None, halvings: int = 0) -> None:
        super().__init__(model, budget, halvings)
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        """For each layer (K, M, D)."""
        self.slots = 0
        """M."""
        self.used = 1
        """Slots handed out, slot 0 among them."""
        self.garbage = 0
        """Slots at least that nobody uses any more, of those that were handed out since the last `compact`."""
        self.generation = 0
        """Rises whenever the pool moves to other memory."""

    @classmethod
    @contextlib.contextmanager
    def prepared(cls, model: Any) -> Iterator[bool]:
        with fused_layers(model) as layers, contextlib.nullcontext() if layers else fused(model):
            yield layers > 0

    def default_budget(self) -> int:
        """Four fifths of what the weights leave of the card, less if others hold some of it.

        The rest is for activations. The card's size rather than its free memory decides where it
        can, so that the same job is cut into the same batches again.
        """
        if self.layout.device.type != "cuda":
            return super().default_budget()
        free, total = torch.cuda.mem_get_info(self.layout.device)
        return int(min(0.8 * (total - weight_bytes(self.model)), 0.9 * free))

    @property
    def free(self) -> int:
        return self.slots - self.used

    def expect(self, tokens: int) -> None:
        self.grow(1 + min(tokens, self.budget // self.layout.token_bytes))

    def arena(self, capacity: int) -> Region:
        """A stretch of `capacity` slots; the pool grows, over its budget if it must, where it has no room."""
        if capacity > self.free:
            self.grow(self.used + capacity)
        region = Region(self.used, capacity)
        self.used += capacity
        return region

    def clear(self) -> None:
        self.used, self.garbage = 1, 0

    def grow(self, slots: int) -> None:
        """Gives the pool at least `slots` slots, one layer after the other."""
        if slots <= self.slots:
            return
        layout = self.layout
        for store in (self.keys, self.values):
            for layer in range(layout.layers):
                new = torch.zeros(layout.heads, slots, layout.size, dtype=layout.dtype, device=layout.device)
                if layer < len(store):
                    new[:, : self.used] = store[layer][:, : self.used]
                    store[layer] = new
                else:
                    store.append(new)
        self.slots = slots
        self.generation += 1

    def compact(self, live: torch.Tensor) -> torch.Tensor:
        """Keeps the slots that are True in `live` (M,) and returns the new number of each slot (M,)."""
        kept = live.nonzero().flatten()
        for store in (*self.keys, *self.values):
            store[:, : len(kept)] = store[:, kept]
        self.used, self.garbage = len(kept), 0
        return live.cumsum(0) - 1

    def _pass(self, segments: Sequence[Segment]) -> Pass:
        return _PoolPass(segments, self)


class _PoolPass(PooledPass):
    """One pass over segments in regions of the pool."""

    def __init__(self, segments: Sequence[Segment], decoder: PoolDecoder) -> None:
        self._decoder = decoder
        self._plan = kernels.extend_plan(
            [segment.arena.slots(segment) for segment in segments],
            [len(segment.tokens) for segment in segments],
            decoder.layout.groups,
            decoder.layout.device,
        )

        self.slots = self._plan.own

    @property
    def needed(self) -> torch.Tensor | None:
        return self._decoder.needed

    def pool(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._decoder.keys[layer], self._decoder.values[layer]

    def look(self, layer: int, query: torch.Tensor, scale: float) -> torch.Tensor:
        return kernels.extend(query, *self.pool(layer), self._plan, scale)


def decoder_kind(model: torch.nn.Module, engine: str | None) -> type[Decoder]:
    """The way of keeping keys and values: "arenas" or "pool", None for what suits the model's device."""
    if engine is None:
        engine = "pool" if next(model.parameters()).device.type == "cuda" else "arenas"
    kinds: dict[str, type[Decoder]] = {"arenas": ArenaDecoder, "pool": PoolDecoder}
    if engine not in kinds:
        raise ValueError(f"engine is {engine!r}, expected one of {', '.join(kinds)}")
    return kinds[engine]

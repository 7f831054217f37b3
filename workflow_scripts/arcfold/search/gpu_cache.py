"""Keys and values of all questions in one cache of slots: the form of decoding for a GPU.

A slot holds the keys and values of one token. Slots are handed out in ascending order, a question's prompt in one
range. Nothing is freed one by one: when the cache is full, what is still in use moves together (`compact`), in the same
order, so that a range stays a range. Slot 0 takes what nobody wants.

Example: prompts A of 5 tokens and B of 3; a step runs (1), (2) of A and (2) of B; then only (1, 0) of A is alive.

    slot              0  1  2  3  4  5  6  7  8  9  10 11
    after the prompts -  A  A  A  A  A  B  B  B              used = 9
    after the step    -  A  A  A  A  A  B  B  B  A1 A2 B2    used = 12; (1, 0) builds on the range 1-5 and on slot 9
    live = 0-5 and 9
    compacted         -  A  A  A  A  A  A1                   used = 7; `compact` gives slot 9 the new number 6

Rows keep lists of slots, so a prefix costs one slot a token, wherever it lies, and nothing is ever copied for it.

Shapes: as in `decoding`; M slots of the cache.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from arcfold.search import kernels
from arcfold.search.cpu_cache import CpuDecoder
from arcfold.search.decoding import Decoder, Pass, Segment, weight_bytes
from arcfold.search.fused_layers import SlotPass, fused_layers
from arcfold.search.fusing import fused

GPU_PASS = 32768
"""Tokens that a pass takes at most, unless one segment alone has more. They bound the memory of its activations, for
which the budget leaves a fifth of what the weights leave; more would make no GPU busier."""


class SlotRange:
    """A `KVCache` that is a range of the decoder's slots. It holds what it was made for and does not grow."""

    def __init__(self, base: int, capacity: int) -> None:
        """base: its first slot; place p of the cache is slot base + p"""
        self.base = base
        self.capacity = capacity
        self.length = 0

    def append(self, count: int) -> int:
        """The place of the first of `count` more tokens. Raises ValueError where they have no room."""
        start = self.length
        self.length += count
        if self.length > self.capacity:
            raise ValueError(f"{self.length} tokens in a range of {self.capacity} slots")
        return start

    def slots(self, segment: Segment) -> np.ndarray:
        """(N,) the slots that a segment of this cache sees."""
        return self.base + (np.arange(segment.stop) if segment.places is None else segment.places)


class GpuDecoder(Decoder):
    """Keys and values in one cache of slots; attention to all segments of a pass in one kernel."""

    pass_tokens = GPU_PASS

    def __init__(self, model: Any, budget: int | None, halvings: int = 0) -> None:
        super().__init__(model, budget, halvings)
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        """For each layer (K, M, D)."""
        self.slots = 0
        """M."""
        self.used = 1
        """Slots handed out, slot 0 among them: those below this number."""
        self.garbage = 0
        """Slots at least that nobody uses any more, of those that were handed out since the last `compact`."""
        self.generation = 0
        """Rises whenever the cache moves to other memory, which recorded steps do not know."""

    @classmethod
    @contextlib.contextmanager
    def patched(cls, model: Any) -> Iterator[bool]:
        # Whole layers where they are of a known kind, else the small steps in them.
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
    def free_slots(self) -> int:
        """Slots that can be handed out before the cache has to be compacted or to grow."""
        return self.slots - self.used

    def reserve(self, tokens: int) -> None:
        self.grow(1 + min(tokens, self.budget // self.layout.token_bytes))

    def allocate(self, capacity: int) -> SlotRange:
        """A range of `capacity` slots; the cache grows, over its budget if it must, where it has no room."""
        if capacity > self.free_slots:
            self.grow(self.used + capacity)
        slot_range = SlotRange(self.used, capacity)
        self.used += capacity
        return slot_range

    def clear(self) -> None:
        # The memory stays. What comes next is launched behind what still runs, so it writes over nothing that is read.
        self.used, self.garbage = 1, 0

    def grow(self, slots: int) -> None:
        """Gives the cache at least `slots` slots."""
        if slots <= self.slots:
            return
        layout = self.layout
        # One layer after the other: only one of them is there twice at a time.
        for store in (self.keys, self.values):
            for layer in range(layout.layers):
                # Zeros, not what lay there: a weight of 0 times a leftover NaN would be NaN.
                new = torch.zeros(layout.heads, slots, layout.size, dtype=layout.dtype, device=layout.device)
                if layer < len(store):
                    new[:, : self.used] = store[layer][:, : self.used]
                    store[layer] = new
                else:
                    store.append(new)
        self.slots = slots
        self.generation += 1

    def compact(self, live: torch.Tensor) -> torch.Tensor:
        """Keeps the slots that are True in `live` (M,) and returns the new number of each slot (M,).

        Numbers of slots that are not kept mean nothing. No pass or step may be running.
        """
        # In ascending order, so that what was handed out as one range stays one.
        kept = live.nonzero().flatten()
        # What is kept is gathered before it is written back, so that it does not matter that both places overlap.
        for store in (*self.keys, *self.values):
            store[:, : len(kept)] = store[:, kept]
        self.used, self.garbage = len(kept), 0
        return live.cumsum(0) - 1

    def _pass(self, segments: Sequence[Segment]) -> Pass:
        return _GpuPass(segments, self)


class _GpuPass(SlotPass):
    """One pass over segments in ranges of slots."""

    def __init__(self, segments: Sequence[Segment], decoder: GpuDecoder) -> None:
        self._decoder = decoder
        self._plan = kernels.extend_plan(
            [segment.cache.slots(segment) for segment in segments],
            [len(segment.tokens) for segment in segments],
            decoder.layout.groups,
            decoder.layout.device,
        )

        self.slots = self._plan.own

    @property
    def logits_indices(self) -> torch.Tensor | None:
        return self._decoder.logits_indices

    def kv_cache(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._decoder.keys[layer], self._decoder.values[layer]

    def attend_cached(self, layer: int, query: torch.Tensor, scale: float) -> torch.Tensor:
        return kernels.extend(query, *self.kv_cache(layer), self._plan, scale)


def decoder_class(model: torch.nn.Module, engine: str | None) -> type[Decoder]:
    """The decoder of an engine, "cpu" or "gpu", or, for None, the one made for the model's device.

    Raises ValueError for another name.
    """
    if engine is None:
        engine = "gpu" if next(model.parameters()).device.type == "cuda" else "cpu"
    kinds: dict[str, type[Decoder]] = {"cpu": CpuDecoder, "gpu": GpuDecoder}
    if engine not in kinds:
        raise ValueError(f"engine is {engine!r}, expected one of {', '.join(kinds)}")
    return kinds[engine]

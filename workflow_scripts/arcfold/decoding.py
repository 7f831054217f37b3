"""Forward passes over packed tokens; keys and values are kept for as long as somebody builds on them.

One pass takes tokens of many questions in one row: the linear layers see nothing but tokens, and
attention is done segment by segment against the keys and values of the question that the segment
belongs to. So there is no padding, no mask over a whole batch, and a prompt is stored once,
however many replies are being tried behind it. The model is transformers' own, whatever its
architecture; only its attention function is replaced while a `Decoder` is open.

Shapes: T tokens of a pass, N tokens that a segment sees, S tokens of a segment, O outputs asked
for, L layers, H query heads, K key-value heads, G = H / K, D size of a head, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from arcfold.files import InputError

ATTENTION = "arcfold_segments"
CPU_BUDGET = 3 * 2**29
"""Bytes for keys and values on a CPU if nothing else is said: a job then stays well under 3 GB."""
CPU_PASS = 2048
GPU_PASS = 32768
"""Tokens that a pass takes at most, unless one segment alone has more: they bound the activations."""


@dataclass(frozen=True)
class Layout:
    """What the keys and values of one token look like."""

    layers: int
    heads: int
    """Key-value heads."""
    size: int
    """Numbers in a head."""
    dtype: torch.dtype
    device: torch.device

    @property
    def token_bytes(self) -> int:
        """Bytes of the keys and values of one token."""
        return 2 * self.layers * self.heads * self.size * self.dtype.itemsize


class Arena:
    """Keys and values of one question in one piece of memory: its prompt, then what was run behind it.

    Tokens are appended in the order in which they were run. What was run behind the prompt is a
    tree; who sees whom is told by the segments of a pass, not here.
    """

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
        """Makes room for `count` tokens and returns the place of the first."""
        start = self.length
        if start + count > self.capacity:
            grown = self._new_store(max(start + count, self.capacity * 3 // 2))
            grown[:, :, :, :start] = self._store[:, :, :, :start]
            self._store = grown
        self.length += count
        return start

    def keep(self, places: torch.Tensor) -> None:
        """Forgets all tokens but those at `places` (ascending), which move together."""
        for layer in self._store:  # one layer at a time: the copy stays small
            layer[:, :, : len(places)] = layer[:, :, places]
        self.length = len(places)

    def write(self, layer: int, start: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Stores keys and values (K, S, D) of one layer from the place `start` on."""
        stop = start + keys.shape[1]
        self._store[layer, 0, :, start:stop] = keys
        self._store[layer, 1, :, start:stop] = values

    def read(self, layer: int, places: torch.Tensor | None, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (K, N, D) at `places`, or (without a copy) of everything before `stop`."""
        keys, values = self._store[layer]
        if places is None:
            return keys[:, :stop], values[:, :stop]
        return keys[:, places], values[:, places]

    def _new_store(self, capacity: int) -> torch.Tensor:
        layout = self.layout
        shape = (layout.layers, 2, layout.heads, capacity, layout.size)
        return torch.empty(shape, dtype=layout.dtype, device=layout.device)


@dataclass(eq=False)
class Segment:
    """Tokens of one question that are run in one pass, and what they see of the question's arena."""

    arena: Arena
    tokens: list[int]
    positions: list[int]
    """Place of each token in its own text, for the rotary embedding."""
    outputs: list[int]
    """Which of the tokens (by their number in the segment) somebody wants to know the successors of."""
    start: int
    """Place of the first token in the arena; the others follow."""
    places: torch.Tensor | None = None
    """(N,) places of the arena that are seen, this segment's own last; None: all up to its own end."""
    mask: torch.Tensor | None = None
    """(S, N) True where a token sees a place; None: as `causal` says."""
    causal: bool = False
    """Without a mask: the segment opens the arena and each token sees itself and those before it."""

    @property
    def stop(self) -> int:
        return self.start + len(self.tokens)


def chain(arena: Arena, tokens: list[int], first: int, outputs: list[int], seen: torch.Tensor | None) -> Segment:
    """A segment of consecutive tokens: each sees the places `seen` and the tokens of its own before it.

    `first` is the position of the first token; `seen` (ascending places) None means all that the
    arena holds. Appends to the arena.
    """
    held = arena.length
    start = arena.append(len(tokens))
    own = len(tokens)
    segment = Segment(arena, tokens, list(range(first, first + own)), outputs, start)
    before = held if seen is None else len(seen)
    if seen is not None and before < held:
        segment.places = torch.cat([seen, torch.arange(start, start + own, device=seen.device)])
    if before == 0:
        segment.causal = True
    elif own > 1:
        device = arena.layout.device
        segment.mask = torch.ones(own, before + own, dtype=torch.bool, device=device).tril_(before)
    return segment


class Decoder:
    """A model with its own attention function in place, open between `open_decoder` and its end."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model: Any = model
        self.layout = _layout_of(model)
        on_cpu = self.layout.device.type == "cpu"
        self.pass_tokens = CPU_PASS if on_cpu else GPU_PASS

    def arena(self, capacity: int) -> Arena:
        return Arena(self.layout, capacity)

    def log_probs(self, segments: Sequence[Segment]) -> torch.Tensor:
        """Runs the segments in one pass; (O, V) log-probabilities in fp32, in the order of their outputs.

        Every segment's keys and values are stored before any segment attends, layer by layer, so
        a segment may build on one that runs in the same pass.
        """
        device = self.layout.device
        tokens = torch.tensor([token for segment in segments for token in segment.tokens], device=device)
        positions = torch.tensor([place for segment in segments for place in segment.positions], device=device)
        outputs: list[int] = []
        begin = 0
        for segment in segments:
            outputs += [begin + output for output in segment.outputs]
            begin += len(segment.tokens)
        logits = self._model(
            input_ids=tokens[None],
            position_ids=positions[None],
            use_cache=False,
            logits_to_keep=torch.tensor(outputs, dtype=torch.long, device=device),
            segments=segments,
        ).logits
        return logits[0].float().log_softmax(-1)


@contextlib.contextmanager
def open_decoder(model: torch.nn.Module, longest: int) -> Iterator[Decoder]:
    """A Decoder of a causal language model for texts of up to `longest` tokens.

    `model` is a transformers model, or a PeftModel around one, in eval mode on its device. Its
    attention function is put back at the end. Raises InputError for a model that can't be run this
    way: a sliding window shorter than `longest`, or rotary embeddings that depend on the batch.
    """
    core: Any = model
    if hasattr(core, "get_base_model"):
        core = core.get_base_model()
    if core.training:
        raise ValueError("the model is in training mode: call eval() first")
    _refuse_what_is_not_supported(core.config, longest)
    before = core.config._attn_implementation
    core.set_attn_implementation(ATTENTION)
    try:
        with torch.inference_mode():
            yield Decoder(core)
    finally:
        core.set_attn_implementation(before)


def default_budget(layout: Layout, weights: int) -> int:
    """Bytes for keys and values when nobody set them.

    On a GPU four fifths of what the weights leave of the card, less if others hold some of it; the
    rest is for activations. The card's size rather than its free memory decides where it can, so
    that the same job is cut into the same batches again.
    """
    if layout.device.type != "cuda":
        return CPU_BUDGET
    free, total = torch.cuda.mem_get_info(layout.device)
    return int(min(0.8 * (total - weights), 0.9 * free))


def weight_bytes(model: torch.nn.Module) -> int:
    """Bytes of all parameters, tied ones counted once."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def _layout_of(model: Any) -> Layout:
    config = model.config.get_text_config()
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    weight = model.get_input_embeddings().weight
    return Layout(config.num_hidden_layers, heads, size, weight.dtype, weight.device)


def _refuse_what_is_not_supported(config: Any, longest: int) -> None:
    config = config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if window is not None and longest > window:
        raise InputError(
            f"model {config.model_type}: sliding_window is {window} and texts have up to {longest} tokens,"
            " expected a model with full attention or a window at least that long"
        )
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in ("dynamic", "longrope"):
        raise InputError(
            f"model {config.model_type}: rope_type {rope['rope_type']!r} makes a token's embedding depend on"
            " the rest of the batch, expected another one (default, linear, yarn, llama3)"
        )


def _attend_by_segments(
    module: torch.nn.Module,
    query: torch.Tensor,  # (1, H, T, D)
    key: torch.Tensor,  # (1, K, T, D)
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    *,
    segments: Sequence[Segment],
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: (1, T, H, D) from the segments of the running pass."""
    if options.get("softcap") is not None or options.get("s_aux") is not None:
        raise InputError("attention with soft caps or sinks is not supported, expected a Llama-like model")
    layer: int = module.layer_idx  # type: ignore[assignment]
    begins = [0]
    for segment in segments:
        begin, end = begins[-1], begins[-1] + len(segment.tokens)
        segment.arena.write(layer, segment.start, key[0, :, begin:end], value[0, :, begin:end])
        begins.append(end)
    seen = [
        _attend(query[:, :, begin : begin + len(segment.tokens)], segment, layer, scaling)
        for segment, begin in zip(segments, begins, strict=False)
    ]
    return torch.cat(seen, dim=2).transpose(1, 2), None


def _attend(query: torch.Tensor, segment: Segment, layer: int, scaling: float | None) -> torch.Tensor:
    """(1, H, S, D) of one segment's queries (1, H, S, D)."""
    keys, values = segment.arena.read(layer, segment.places, segment.stop)  # (K, N, D)
    heads, groups = keys.shape[0], query.shape[1] // keys.shape[0]
    if segment.causal:
        keys, values = (part.repeat_interleave(groups, 0) if groups > 1 else part for part in (keys, values))
        return scaled_dot_product_attention(query, keys[None], values[None], is_causal=True, scale=scaling)
    # The G query heads of a key-value head are G times as many queries of that head: no key is copied.
    grouped = query.reshape(1, heads, groups * query.shape[2], query.shape[3])  # (1, K, G * S, D)
    mask = segment.mask
    if mask is not None and groups > 1:
        mask = mask.repeat(groups, 1)
    out = scaled_dot_product_attention(grouped, keys[None], values[None], attn_mask=mask, scale=scaling)
    return out.reshape(query.shape)


AttentionInterface.register(ATTENTION, _attend_by_segments)

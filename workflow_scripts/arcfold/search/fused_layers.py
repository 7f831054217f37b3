"""A pass's layers in ten kernels each instead of twenty, for transformers models like Llama.

The query, key and value projections become one product, as do the two of the feed-forward block, and
`layer_kernels` has what lies between. Layers are replaced only for passes over the GPU's cache, only if they
are of a known class made of plain parts, and only after one has given the same as the original on random numbers.
Everything else (the CPU's cache, other models) runs as transformers wrote it.

Example: one layer of a step of three rows, with E = 256, H = 4, K = 2, D = 64, F = 768.

    normed                       (3, 256)        made by the layer before, with its last sum
    qkv          one product     (3, 512)        weights (512, 256): q 256, k 128 and v 128 outputs
    rotate_and_store             (3, 4, 64)      queries; keys and values go to the three rows' slots
    attend_cached                (3, 256)        each row to what it sees; two kernels where keys are cut in parts
    o_proj, add_norm             (3, 256) twice  the new state, and normalized
    gate_up      one product     (3, 1536)
    gate, down_proj              (3, 768), (3, 256)
    add_norm                     (3, 256) twice  the layer's result, and normalized as the next layer wants it

Shapes: as in `layer_kernels`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear

from arcfold.search import kernels
from arcfold.search.decoding import ATTENTION, layout_of
from arcfold.search.layer_kernels import HeadNorm, add_norm, gate, rotate_and_store

log = logging.getLogger(__name__)

KNOWN_LAYERS = ("PlainLayer", "LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer")
"""Classes whose forward is: add attention of the normalized state, add the gated block of the normalized state."""
PROBE_ROWS = 8
"""Rows of the comparison with the original: enough that a row sees others, and little to compute."""


class SlotPass:
    """A pass whose keys and values go to slots of the GPU's cache; a row is a token."""

    slots: torch.Tensor
    """(R,) int64, where each row's keys and values go."""

    @property
    def logits_indices(self) -> torch.Tensor | None:
        """(O,) int64, the rows whose logits somebody wants; None: all."""
        return None

    def kv_cache(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values (K, M, D) of a layer."""
        raise NotImplementedError

    def attend_cached(self, layer: int, query: torch.Tensor, scale: float) -> torch.Tensor:
        """Attention (R, H, D) of queries (H, R, D) to what each row sees, the pass's own tokens stored before."""
        raise NotImplementedError

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        """As `models.passes.Pass` has it."""
        keys, values = self.kv_cache(layer)
        kernels.store(keys, values, self.slots, key[0], value[0])
        return self.attend_cached(layer, query[0], scale or query.shape[-1] ** -0.5)[None]


@contextlib.contextmanager
def fused_layers(model: Any) -> Iterator[int]:
    """Replaces a transformers model's layers until its end; yields their number, all or 0.

    They take no passes but `SlotPass`, and the last of them hands on the rows of `logits_indices` alone. The model's
    attention function must be ours (`decoding.open_decoder`).
    """
    decoder = model.get_decoder()
    layers = list(getattr(decoder, "layers", ()))
    device = model.get_input_embeddings().weight.device
    if not layers or not kernels.has_triton(device) or model.config._attn_implementation != ATTENTION:
        yield 0
        return
    if not all(_is_plain(layer) for layer in layers) or not _is_norm(decoder.norm):
        yield 0
        return
    with contextlib.ExitStack() as stack:
        carry = _Carry()
        norms = [*(layer.input_layernorm for layer in layers[1:]), decoder.norm]
        # A layer ends with the sum that the norm of the next one begins with, so it needs that norm.
        made = [
            _Layer(layer, after, layer is layers[-1], carry, stack) for layer, after in zip(layers, norms, strict=True)
        ]
        if not _agrees(model, made[0]):
            yield 0
            return
        for layer in made:
            layer.install(stack)
        _install_last_norm(decoder.norm, carry, stack)
        yield len(layers)


class _Carry:
    """What a layer hands to the next beside its state: the state, normalized as the next one wants it."""

    def __init__(self) -> None:
        self.state: torch.Tensor | None = None
        self.normed: torch.Tensor | None = None

    def take(self, state: torch.Tensor) -> torch.Tensor | None:
        """The normalized form of `state`, if it is the one that was handed on; it is forgotten."""
        # The very tensor: had anybody changed the state between two layers, it would be another one.
        normed = self.normed if self.state is state else None
        self.state = self.normed = None
        return normed


class _Layer:
    """One layer with its projections joined."""

    def __init__(self, layer: Any, after: Any, last: bool, carry: _Carry, stack: contextlib.ExitStack) -> None:
        """after: the norm that follows the layer; last: whether no other layer sees its states"""
        attention, block = layer.self_attn, layer.mlp
        self.layer = layer
        self.original = layer.forward
        self._after = after
        self._last = last
        self._carry = carry
        self._index = int(attention.layer_idx)
        self._scale = float(attention.scaling)
        self._qkv = _FusedLinear([attention.q_proj, attention.k_proj, attention.v_proj])
        self._gate_up = _FusedLinear([block.gate_proj, block.up_proj])
        for fused in (self._qkv, self._gate_up):
            stack.callback(fused.split)
        self._heads = attention.q_proj.out_features // attention.head_dim
        self._norm = None
        if hasattr(attention, "q_norm"):
            of_query, of_key = attention.q_norm, attention.k_norm
            self._norm = HeadNorm(of_query.weight, of_key.weight, of_query.variance_epsilon)

    def install(self, stack: contextlib.ExitStack) -> None:
        self.layer.forward = self.forward
        stack.callback(vars(self.layer).pop, "forward")

    def forward(
        self,
        hidden_states: torch.Tensor,
        *,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        arcfold: SlotPass,
        **_: Any,
    ) -> torch.Tensor:
        """The layer's forward in transformers: states (1, R, E) to (1, R, E); for the last layer (1, O, E)."""
        what = arcfold
        layer, states = self.layer, hidden_states[0]  # (R, E)
        normed = self._carry.take(hidden_states)
        if normed is None:
            before = layer.input_layernorm
            normed = kernels.rms_norm(states, before.weight, before.variance_epsilon)
        cos, sin = position_embeddings
        keys, values = what.kv_cache(self._index)
        qkv = self._qkv(normed)
        query = rotate_and_store(qkv, self._heads, cos[0], sin[0], self._norm, what.slots, keys, values)
        attended = what.attend_cached(self._index, query.transpose(0, 1), self._scale).flatten(1)  # (R, H * D)
        if self._last and what.logits_indices is not None:  # others see a row through its keys and values alone
            states, attended = states[what.logits_indices], attended[what.logits_indices]
        change = layer.self_attn.o_proj(attended)
        between = layer.post_attention_layernorm
        states, normed = add_norm(states, change, between.weight, between.variance_epsilon)
        change = layer.mlp.down_proj(gate(self._gate_up(normed)))
        states, normed = add_norm(states, change, self._after.weight, self._after.variance_epsilon)
        self._carry.state, self._carry.normed = states[None], normed
        return self._carry.state


class _FusedLinear:
    """Several linear layers as one product; until `split` their weights lie in its own, so that none is held twice."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        self._parts = parts
        self._bias = None
        # Not as inference tensors: the layers keep these weights, and may be trained on afterwards.
        with torch.inference_mode(False), torch.no_grad():
            self._weight: torch.Tensor | None = torch.cat([part.weight for part in parts])
            if parts[0].bias is not None:
                self._bias = torch.cat([part.bias for part in parts])
            for part, weight in zip(parts, self._weight.split([part.out_features for part in parts]), strict=True):
                part.weight.data = weight

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """(R, outputs of all layers, one after the other) from states (R, E)."""
        assert self._weight is not None
        return linear(states, self._weight, self._bias)

    def split(self) -> None:
        """Gives each of the layers a weight of its own again."""
        self._weight = None
        with torch.inference_mode(False), torch.no_grad():
            for part in self._parts:
                part.weight.data = part.weight.data.clone()


def _is_plain(layer: Any) -> bool:
    """Whether a layer is of a known class and made of parts that nobody has changed."""
    if type(layer).__name__ not in KNOWN_LAYERS or "forward" in vars(layer):
        return False
    attention, block = layer.self_attn, layer.mlp
    parts = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    parts += [block.gate_proj, block.up_proj, block.down_proj]
    joined = [parts[:3], parts[4:6]]
    return (
        all(type(part) is nn.Linear and not vars(part)["_forward_hooks"] for part in parts)
        # one product has one bias, or none
        and all(len({part.bias is None for part in group}) == 1 for group in joined)
        and "silu" in type(block.act_fn).__name__.lower()
        and _is_norm(layer.input_layernorm)
        and _is_norm(layer.post_attention_layernorm)
        and attention.head_dim % 2 == 0
    )


def _is_norm(norm: Any) -> bool:
    """Whether a module is a root mean square normalization that nobody has changed."""
    plain = isinstance(getattr(norm, "weight", None), torch.Tensor) and hasattr(norm, "variance_epsilon")
    return plain and "forward" not in vars(norm)


def _install_last_norm(norm: Any, carry: _Carry, stack: contextlib.ExitStack) -> None:
    """The model's last norm takes what the last layer handed on."""
    before = norm.forward

    def forward(states: torch.Tensor) -> torch.Tensor:
        normed = carry.take(states)
        return before(states) if normed is None else normed[None]

    norm.forward = forward
    stack.callback(vars(norm).pop, "forward")


class _Probe(SlotPass):
    """A pass whose rows see each other in order, for the comparison."""

    def __init__(self, model: Any) -> None:
        layout = layout_of(model)
        shape = (layout.heads, PROBE_ROWS + 1, layout.size)
        self.keys, self.values = (torch.zeros(shape, dtype=layout.dtype, device=layout.device) for _ in range(2))
        row = torch.arange(PROBE_ROWS, device=layout.device)
        self.slots = row + 1
        # No prompt, and of its table row r sees the first r + 1 slots, itself the last of them.
        nothing = torch.zeros_like(row)
        self._rows = (
            nothing,
            nothing,
            self.slots.expand(PROBE_ROWS, PROBE_ROWS).to(torch.int32).contiguous(),
            self.slots,
        )

    def kv_cache(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.keys, self.values

    def attend_cached(self, layer: int, query: torch.Tensor, scale: float) -> torch.Tensor:
        return kernels.decode(query, self.keys, self.values, *self._rows, 128, scale)


def _agrees(model: Any, made: _Layer) -> bool:
    """Whether a layer does the same as the original; not, if a kernel cannot be built here."""
    try:
        return _same(model, made)
    except Exception as error:  # whatever a compiler may raise
        log.warning("layers stay as they are, no joined form runs here: %s", " ".join(str(error).split())[:200])
        return False


def _same(model: Any, made: _Layer) -> bool:
    """Whether a layer does the same as the original to random states."""
    layout = layout_of(model)
    size = model.get_input_embeddings().weight.shape[1]
    generator = torch.Generator().manual_seed(0)
    states = torch.randn((1, PROBE_ROWS, size), generator=generator).to(layout.device, layout.dtype)
    positions = torch.arange(PROBE_ROWS, device=layout.device)[None]
    angles = model.get_decoder().rotary_emb(states, positions)
    what = _Probe(model)
    expected = made.original(
        states, attention_mask=None, position_ids=positions, position_embeddings=angles, arcfold=what
    )
    if not isinstance(expected, torch.Tensor):
        return False
    # Both write to the same slots: what the original wrote is put aside.
    stored = what.keys.clone(), what.values.clone()
    found = made.forward(states, position_embeddings=angles, arcfold=what)
    made._carry.take(found)
    pairs = [(found, expected), (what.keys, stored[0]), (what.values, stored[1])]
    # Two orders of computing, so the same but for rounding; of the whole, since single numbers may be near zero.
    allowed = max(1e-4, 8 * torch.finfo(layout.dtype).eps)
    return all(float((one - two).float().norm()) <= allowed * float(two.float().norm()) for one, two in pairs)

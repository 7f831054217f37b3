"""The fast backend: samples packed into rows without padding, gradients for the adapter alone.

What it saves against the reference:

- The samples of a micro-batch stand one after the other in one row, attention stays inside each
  sample, so no padding is computed, nor compiled for: any length will do.
- Forward and backward are written out for the four architectures of `ARCHITECTURES`. No gradient
  of a frozen weight is computed; q, k, v and gate, up are one product each; the LoRA's products
  accumulate in place; every gradient is written once, into one flat tensor, over which clipping
  and AdamW run in a handful of kernels.
- Behind the last layer's attention only positions whose next token has a loss are computed.

The LoRA is trained in float32 and multiplied in the base model's number type. What does not fit
into memory is halved: first the samples of a micro-batch, then activations are recomputed.

Shapes: T tokens of a row, D width, H query heads, K key heads, E head size, R rank, L positions
with a loss, V vocabulary.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arcfold.adapters import LoraSpec, embedding
from arcfold.files import InputError, new_folder
from arcfold.memory import out_of_memory
from arcfold.training import IGNORED, Job, Outcome, Sample, check_loss, make_optimizer
from arcfold.training_kernels import rms_norm, rms_norm_backward, rotate, rotate_backward, swiglu, swiglu_backward

log = logging.getLogger(__name__)

ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
ROPE_TYPES = ("default", "linear", "llama3", "yarn")

_ONE_HOT = 2048  # largest vocabulary whose embedding gradient is a product with one-hot rows
_LOSSES_ON_DEVICE = 8  # reading a loss waits for the device


def train(base_model: nn.Module, job: Job) -> Outcome:
    """Runs the job's steps; `base_model` is left as it was.

    Raises InputError when the model or the settings are none that this backend computes.
    """
    began = time.monotonic()
    _check(base_model, job)
    network = Network(base_model, job.spec, job.weights, max(len(sample.input_ids) for sample in job.samples))
    try:
        return _Loop(network, job, began).run()
    finally:
        network.release()


def _check(model: Any, job: Job) -> None:
    config = model.config
    remedy = "use the trl backend"
    if config.model_type not in ARCHITECTURES:
        raise InputError(
            f"backend: packed computes {', '.join(ARCHITECTURES)}, the model is {config.model_type}; {remedy}"
        )
    if config.hidden_act != "silu":
        raise InputError(f"backend: packed computes silu, the model has {config.hidden_act}; {remedy}")
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope not in ROPE_TYPES:
        raise InputError(f"backend: packed computes {', '.join(ROPE_TYPES)} positions, the model has {rope}; {remedy}")
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    longest = max(len(sample.input_ids) for sample in job.samples)
    if window is not None and longest > window:
        raise InputError(
            f"backend: packed computes full attention, the longest sample has {longest} tokens and the model's"
            f" sliding window {window}; {remedy}"
        )
    if any(type(m) is not nn.Linear for layer in model.model.layers for m in _linears(layer)):
        raise InputError(f"backend: packed computes plain linear layers, the model has quantized ones; {remedy}")
    dtype = model.model.embed_tokens.weight.dtype
    if dtype not in (torch.float32, torch.bfloat16):
        raise InputError(f"backend: packed computes float32 and bfloat16, the model is {dtype}; {remedy}")
    if job.spec.dropout:
        raise InputError(f"backend: packed computes no dropout, the adapter has {job.spec.dropout}; {remedy}")
    if job.report_to != "none":
        raise InputError(f"backend: packed reports to no logger, report_to is {job.report_to}; {remedy}")


def _linears(layer: Any) -> list[nn.Module]:
    attention, mlp = layer.self_attn, layer.mlp
    return [
        attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj,
        mlp.gate_proj, mlp.up_proj, mlp.down_proj,
    ]  # fmt: skip


# --- samples as rows ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A micro-batch: its samples one after the other."""

    ids: Tensor
    """(T,) tokens."""
    positions: Tensor
    """(T,) position of each token in its sample."""
    bounds: Tensor
    """(samples + 1,) int32 where each sample begins, and the end."""
    lengths: tuple[int, ...]
    """Tokens of each sample."""
    scored: Tensor
    """(L,) where in the row the next token has a loss."""
    targets: Tensor
    """(L,) those next tokens."""
    place: Tensor
    """(T,) for each token its index in `scored`, or L."""


class Rows:
    """All samples of a job on the device, one after the other: a micro-batch is a slice of them."""

    def __init__(self, samples: Sequence[Sample], device: torch.device) -> None:
        self.lengths = [len(sample.input_ids) for sample in samples]
        self.starts = [0]
        for length in self.lengths:
            self.starts.append(self.starts[-1] + length)
        ids = torch.tensor([i for sample in samples for i in sample.input_ids])
        labels = torch.tensor([i for sample in samples for i in (IGNORED, *sample.labels[1:])])
        label_at = (labels != IGNORED).nonzero()[:, 0]
        self.scored_before = torch.searchsorted(label_at, torch.tensor(self.starts)).tolist()
        place = torch.full((len(ids),), -1)
        place[label_at - 1] = torch.arange(len(label_at))
        self.ids = ids.to(device)
        self.positions = torch.cat([torch.arange(length) for length in self.lengths]).to(device)
        self.bounds = torch.tensor(self.starts, dtype=torch.int32).to(device)
        self.scored = (label_at - 1).to(device)
        self.targets = labels[label_at].to(device)
        self.place = place.to(device)

    def row(self, first: int, last: int) -> Row:
        """Samples `first` to `last` - 1 of the job."""
        start, stop = self.starts[first], self.starts[last]
        scored_start, scored_stop = self.scored_before[first], self.scored_before[last]
        count = scored_stop - scored_start
        place = self.place[start:stop]
        return Row(
            ids=self.ids[start:stop],
            positions=self.positions[start:stop],
            bounds=self.bounds[first : last + 1] - start,
            lengths=tuple(self.lengths[first:last]),
            scored=self.scored[scored_start:scored_stop] - start,
            targets=self.targets[scored_start:scored_stop],
            place=torch.where(place < 0, count, place - scored_start),
        )


# --- the trained numbers ------------------------------------------------------------------------


class Flat:
    """Trained matrices side by side in one float32 tensor, with a copy to multiply with and the gradients.

    `master` is what the optimizer steps, `copy` the same in the number type of the computation
    (the same tensor if that is float32), `grad` what a micro-batch's backward writes and `total`
    the float32 sum over a step's micro-batches.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device, names: Iterable[str] = ()
    ) -> None:
        """names: paths of the adapted layers whose matrices are in the stacks of `tensors`."""
        self.names = frozenset(names)
        self.shapes = {key: tensor.shape for key, tensor in tensors.items()}
        self.starts: dict[str, int] = {}
        size = 0
        for key, tensor in tensors.items():
            self.starts[key] = size
            size += -(-tensor.numel() // 64) * 64  # every matrix begins at a multiple of 128 bytes
        self.master = torch.zeros(size, device=device)
        self.total = torch.zeros(size, device=device)
        self.grad = torch.zeros(size, dtype=dtype, device=device)
        self.copy = self.master if dtype == torch.float32 else torch.zeros(size, dtype=dtype, device=device)
        for key, tensor in tensors.items():
            self.view(self.master, key).copy_(tensor)
        self.refresh()
        self.master.grad = self.total

    def view(self, flat: Tensor, key: str) -> Tensor:
        """The part of a flat tensor that belongs to a matrix, in its shape."""
        shape, start = self.shapes[key], self.starts[key]
        return flat[start : start + shape.numel()].view(shape)

    def refresh(self) -> None:
        """Brings the copy up to date after a step."""
        if self.copy is not self.master:
            self.copy.copy_(self.master)

    def collect(self, first: bool) -> None:
        """Adds a micro-batch's gradients to the step's."""
        if first:
            self.total.copy_(self.grad)
        else:
            self.total.add_(self.grad)

    def export(self) -> dict[str, Tensor]:
        """The float32 matrices on the CPU."""
        return {key: self.view(self.master, key).detach().cpu().clone() for key in self.shapes}


class Projections:
    """Linear layers that read the same input, as one product, with their LoRAs: y = x Wᵀ + scale (x Aᵀ) Bᵀ."""

    def __init__(self, modules: Mapping[str, nn.Linear], flat: Flat, scale: float) -> None:
        """modules: by the path under which the adapter knows them, in the order of the output."""
        self.modules = list(modules.values())
        self.scale = scale
        self.weight = self.modules[0].weight.data
        if len(self.modules) > 1:
            self.weight = torch.cat([module.weight.data for module in self.modules])
            sizes = [module.out_features for module in self.modules]
            for module, part in zip(self.modules, self.weight.split(sizes), strict=True):
                module.weight.data = part  # one copy of the weights is enough
        biases = [module.bias for module in self.modules]
        self.bias = None if biases[0] is None else torch.cat([bias.data for bias in biases])
        self.parts: list[_Part] = []
        stack = _stack_name(modules)
        if f"{stack}.A" not in flat.shapes:
            return
        self.a, self.a_grad = (flat.view(tensor, f"{stack}.A") for tensor in (flat.copy, flat.grad))
        self.b, self.b_grad = (flat.view(tensor, f"{stack}.B") for tensor in (flat.copy, flat.grad))
        self.parts = _parts(modules, flat, self.b, self.b_grad)
        widths = {part.out.stop - part.out.start for part in self.parts}
        # one batched product for parts of equal size saves launches on a GPU; a CPU has none to save
        self.batched = self.weight.is_cuda and len(self.parts) == len(self.modules) > 1 and len(widths) == 1

    def release(self) -> None:
        """Gives each module a weight of its own back."""
        if len(self.modules) > 1:
            for module in self.modules:
                module.weight.data = module.weight.data.clone()
            self.weight = self.weight.new_empty(0)

    def forward(self, x: Tensor, onto: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """(T, inputs) to (T, outputs), added to a copy of `onto` if given, and scale x Aᵀ (T, parts · R)."""
        if onto is None:
            y = F.linear(x, self.weight, self.bias)
        else:
            y = torch.addmm(onto if self.bias is None else onto + self.bias, x, self.weight.t())
        if not self.parts:
            return y, None
        h = x.new_empty(len(x), len(self.a))
        torch.addmm(h, x, self.a.t(), beta=0, alpha=self.scale, out=h)
        if self.batched:
            self._each(y).baddbmm_(self._each(h), self._each_b(self.b).transpose(1, 2))
        else:
            for part in self.parts:
                y[:, part.out].addmm_(h[:, part.hidden], part.b.t())
        return y, h

    def backward(self, dy: Tensor, x: Tensor, h: Tensor | None) -> Tensor:
        """Writes the gradients of A and B and returns the input's, (T, inputs)."""
        dh = self.backward_weights(dy, x, h)
        dx = dy @ self.weight
        return dx if dh is None else dx.addmm_(dh, self.a, alpha=self.scale)

    def backward_weights(self, dy: Tensor, x: Tensor, h: Tensor | None) -> Tensor | None:
        """Writes the gradients of A and B; returns that of x Aᵀ, (T, parts · R), None without a LoRA."""
        if h is None:
            return None
        dh = torch.empty_like(h)
        if self.batched:
            torch.bmm(self._each(dy), self._each_b(self.b), out=self._each(dh))
            torch.bmm(self._each(dy).transpose(1, 2), self._each(h), out=self._each_b(self.b_grad))
        else:
            for part in self.parts:
                torch.mm(dy[:, part.out], part.b, out=dh[:, part.hidden])
                torch.mm(dy[:, part.out].t(), h[:, part.hidden], out=part.b_grad)
        torch.addmm(self.a_grad, dh.t(), x, beta=0, alpha=self.scale, out=self.a_grad)
        return dh

    def _each(self, x: Tensor) -> Tensor:
        """(T, parts · width) as (parts, T, width)."""
        return x.view(len(x), len(self.parts), -1).transpose(0, 1)

    def _each_b(self, b: Tensor) -> Tensor:
        """(parts · outputs, R) as (parts, outputs, R)."""
        return b.view(len(self.parts), -1, b.shape[1])


@dataclass(frozen=True)
class _Part:
    """Where one adapted layer stands in the outputs and in the hidden numbers of its group."""

    out: slice
    hidden: slice
    b: Tensor
    b_grad: Tensor


def _parts(modules: Mapping[str, nn.Linear], flat: Flat, b: Tensor, b_grad: Tensor) -> list[_Part]:
    parts = []
    out = hidden = row = 0
    rank = b.shape[1]
    for path, module in modules.items():
        size = module.out_features
        if path in flat.names:
            at = slice(row, row + size)
            parts.append(_Part(slice(out, out + size), slice(hidden, hidden + rank), b[at], b_grad[at]))
            hidden, row = hidden + rank, row + size
        out += size
    return parts


def _stack_name(group: Iterable[str]) -> str:
    return next(iter(group)).rpartition(".")[0] + "." + "+".join(path.rpartition(".")[2] for path in group)


def _stacked(groups: Iterable[Iterable[str]], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The LoRAs as they are kept: for each group of layers its A matrices on top of each other, and its B matrices."""
    made = {}
    for group in groups:
        names = [path for path in group if f"{path}.lora_A.weight" in weights]
        for matrix in "AB" if names else "":
            made[f"{_stack_name(group)}.{matrix}"] = torch.cat([weights[f"{n}.lora_{matrix}.weight"] for n in names])
    return made


def _unstacked(
    groups: Iterable[Iterable[str]], stacks: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The opposite of `_stacked`; `weights` has the shapes."""
    made = {}
    for group in groups:
        names = [path for path in group if f"{path}.lora_A.weight" in weights]
        for matrix in "AB" if names else "":
            keys = [f"{name}.lora_{matrix}.weight" for name in names]
            pieces = stacks[f"{_stack_name(group)}.{matrix}"].split([len(weights[key]) for key in keys])
            made.update({key: piece.clone() for key, piece in zip(keys, pieces, strict=True)})
    return made


# --- the network ---------------------------------------------------------------------------------


class Network:
    """A causal language model with an adapter: the loss of a row and the gradients of what is trained."""

    def __init__(self, model: Any, spec: LoraSpec, weights: Mapping[str, Tensor], longest: int) -> None:
        """Takes the weights over from a loaded model. longest: tokens of the longest sample to come."""
        config = model.config
        self.dtype = model.model.layers[0].self_attn.q_proj.weight.dtype
        self.device = next(model.parameters()).device
        self.weights = weights
        layers = _groups(model)
        self.groups = [group for groups in layers for group in groups]
        names = [key.removesuffix(".lora_A.weight") for key in weights if key.endswith(".lora_A.weight")]
        full = {key: tensor for key, tensor in weights.items() if ".lora_" not in key}
        self.lora = Flat(_stacked(self.groups, weights), self.dtype, self.device, names)
        self.full = Flat(full, self.dtype, self.device) if full else None
        self.layers = [
            _Layer(model, layer, [Projections(group, self.lora, spec.scale) for group in groups])
            for layer, groups in zip(model.model.layers, layers, strict=True)
        ]
        self.embed = self._matrix(model, "embed_tokens", spec)
        self.head = self.embed if spec.tied else self._matrix(model, "lm_head", spec)
        self.norm, self.eps = model.model.norm.weight.data, config.rms_norm_eps
        self.cos, self.sin = _rotation(model, longest, self.layers[0].size)
        self.logits_at_once = 2**27
        """Numbers of a piece of the (L, V) logits: 0.5 GiB in float32."""
        self.recompute = False
        """Keep only each layer's input for the backward, and compute the rest again."""

    def _matrix(self, model: Any, name: str, spec: LoraSpec) -> _Matrix:
        path, module = embedding(model, name)
        if name not in spec.full or self.full is None:
            return _Matrix(module.weight.data, None)
        key = f"base_model.model.{path}.weight"
        return _Matrix(self.full.view(self.full.copy, key), self.full.view(self.full.grad, key))

    def flats(self) -> list[Flat]:
        """The LoRA and, if any is trained, the full matrices."""
        return [self.lora] if self.full is None else [self.lora, self.full]

    def release(self) -> None:
        """Gives the model's layers weights of their own back."""
        for layer in self.layers:
            for projections in layer.projections:
                projections.release()

    def export(self) -> dict[str, Tensor]:
        """The trained matrices by their keys in an adapter file, float32 on the CPU."""
        made = _unstacked(self.groups, self.lora.export(), self.weights)
        if self.full is not None:
            made.update(self.full.export())
        return {key: made[key] for key in self.weights}

    def loss_and_gradients(self, row: Row, label_tokens: int) -> Tensor:
        """Sum of the row's cross-entropies over `label_tokens`, a float32 scalar; fills the flats' `grad`."""
        if self.full is not None:
            self.full.grad.zero_()
        x = self.embed.weight[row.ids]
        states: list[Any] = []
        for index, layer in enumerate(self.layers):
            only = row.scored if index == len(self.layers) - 1 else None
            x, state = layer.forward(x, self, row, only)
            states.append(state.inputs if self.recompute else state)
        loss, gradient = self._head(x, row, label_tokens)
        dx: Tensor | None = gradient
        for index in reversed(range(len(self.layers))):
            layer, state = self.layers[index], states.pop()
            last = index == len(self.layers) - 1
            if self.recompute:
                _, state = layer.forward(state, self, row, row.scored if last else None)
            need_dx = index > 0 or self.embed.grad is not None
            assert dx is not None
            dx = layer.backward(dx, state, self, row, last, need_dx)
        if self.embed.grad is not None and dx is not None:
            _add_embedding_gradient(self.embed.grad, row.ids, dx)
        return loss

    def _head(self, x: Tensor, row: Row, label_tokens: int) -> tuple[Tensor, Tensor]:
        """The loss of (L, D) and its gradient there; the logits exist in pieces of bounded size only."""
        n, rstd = rms_norm(x, self.norm, self.eps)
        dn = torch.empty_like(n)
        loss = torch.zeros((), device=x.device)
        piece = max(1, self.logits_at_once // len(self.head.weight))
        for start in range(0, len(n), piece):
            at = slice(start, start + piece)
            targets = row.targets[at, None]
            logits = (n[at] @ self.head.weight.t()).float()
            total = torch.logsumexp(logits, dim=1, keepdim=True)
            loss += (total - logits.gather(1, targets)).sum()
            d = logits.sub_(total).exp_()  # the gradient is the probabilities, less one at the target
            d -= (targets == torch.arange(len(self.head.weight), device=x.device)).to(d.dtype)
            d = d.div_(label_tokens).to(x.dtype)
            torch.mm(d, self.head.weight, out=dn[at])
            if self.head.grad is not None:
                self.head.grad.addmm_(d.t(), n[at])
        loss /= label_tokens
        return loss, rms_norm_backward(dn, x, rstd, self.norm, None)


@dataclass(frozen=True)
class _Matrix:
    """An embedding or output matrix (V, D) and its gradient, None if it is frozen."""

    weight: Tensor
    grad: Tensor | None


@dataclass
class _State:
    """What a layer's backward needs from its forward."""

    inputs: Tensor
    norm1: tuple[Tensor, Tensor]
    qkv: tuple[Tensor, Tensor | None]
    attended: Tensor
    attend_backward: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    o: Tensor | None
    middle: Tensor
    norm2: tuple[Tensor, Tensor]
    gate_up: tuple[Tensor, Tensor | None]
    act: Tensor
    down: Tensor | None


class _Layer:
    """One decoder layer: x + attention(norm(x)), then that + mlp(norm(that))."""

    def __init__(self, model: Any, layer: Any, projections: Sequence[Projections]) -> None:
        attention = layer.self_attn
        self.projections = list(projections)
        self.qkv, self.o, self.gate_up, self.down = projections
        self.size = attention.head_dim
        self.queries = attention.q_proj.out_features // self.size
        self.keys = attention.k_proj.out_features // self.size
        self.norm1, self.norm2 = layer.input_layernorm.weight.data, layer.post_attention_layernorm.weight.data
        self.eps = model.config.rms_norm_eps
        self.head_norm: Tensor | None = None
        if hasattr(attention, "q_norm"):
            shape = (self.queries, self.size), (self.keys, self.size)
            self.head_norm = torch.cat(
                [attention.q_norm.weight.data.expand(shape[0]), attention.k_norm.weight.data.expand(shape[1])]
            )
        self.scaling = attention.scaling

    def forward(self, x: Tensor, network: Network, row: Row, only: Tensor | None) -> tuple[Tensor, _State]:
        """(T, D) to (T, D), or to (L, D) if `only` the positions (L,) are asked for."""
        norm1 = rms_norm(x, self.norm1, self.eps)
        qkv = self.qkv.forward(norm1[0])
        heads = qkv[0].view(len(x), -1, self.size)
        turned = self.queries + self.keys
        qk = rotate(heads[:, :turned], self.head_norm, self.eps, network.cos, network.sin, row.positions)
        q, k, v = qk[:, : self.queries], qk[:, self.queries :], heads[:, turned:]
        attended, attend_backward = attend(q, k, v, row, self.scaling)
        attended = attended.reshape(len(x), -1)
        onto = x
        if only is not None:
            attended, onto = attended[only], x[only]
        middle, o = self.o.forward(attended, onto)
        norm2 = rms_norm(middle, self.norm2, self.eps)
        gate_up = self.gate_up.forward(norm2[0])
        act = swiglu(gate_up[0])
        y, down = self.down.forward(act, middle)
        return y, _State(x, norm1, qkv, attended, attend_backward, o, middle, norm2, gate_up, act, down)

    def backward(
        self, dy: Tensor, state: _State, network: Network, row: Row, last: bool, need_dx: bool
    ) -> Tensor | None:
        """The gradient in the layer's input (T, D) from that in its output, (T, D) or (L, D) in the last layer."""
        dact = self.down.backward(dy, state.act, state.down)
        dgate_up = swiglu_backward(dact, state.gate_up[0])
        dn = self.gate_up.backward(dgate_up, state.norm2[0], state.gate_up[1])
        dmiddle = rms_norm_backward(dn, state.middle, state.norm2[1], self.norm2, dy)
        dattended = self.o.backward(dmiddle, state.attended, state.o)
        if last:
            dmiddle, dattended = _spread(dmiddle, row.place), _spread(dattended, row.place)
        dq, dk, dv = state.attend_backward(dattended.view(len(row.ids), self.queries, self.size))
        dqkv = torch.empty_like(state.qkv[0])
        self._turn_back(dq, dk, dv, state.qkv[0], dqkv, network, row)
        if not need_dx:
            self.qkv.backward_weights(dqkv, state.norm1[0], state.qkv[1])
            return None
        dn = self.qkv.backward(dqkv, state.norm1[0], state.qkv[1])
        return rms_norm_backward(dn, state.inputs, state.norm1[1], self.norm1, dmiddle)

    def _turn_back(
        self, dq: Tensor, dk: Tensor, dv: Tensor, qkv: Tensor, dqkv: Tensor, network: Network, row: Row
    ) -> None:
        """Fills `dqkv` (T, (H + 2 K) E) from the gradients behind the rotation."""
        heads, out = qkv.view(len(qkv), -1, self.size), dqkv.view(len(qkv), -1, self.size)
        middle, turned = self.queries, self.queries + self.keys
        for d, at in ((dq, slice(0, middle)), (dk, slice(middle, turned))):
            norm = None if self.head_norm is None else self.head_norm[at]
            rotate_backward(d, heads[:, at], norm, self.eps, network.cos, network.sin, row.positions, out[:, at])
        out[:, turned:].copy_(dv)


def attend(
    q: Tensor, k: Tensor, v: Tensor, row: Row, scale: float
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]:
    """Causal attention inside each sample of a row, and the function that turns its gradient into q's, k's and v's.

    q: (T, H, E); k, v: (T, K, E), each serving H / K query heads. Returns (T, H, E). On a GPU in 16
    bits this is one flash attention over all samples, else one attention for each sample.
    """
    if q.is_cuda and q.dtype in (torch.bfloat16, torch.float16):
        return _attend_flash(q, k, v, row, scale)
    return _attend_each(q, k, v, row, scale)


def _attend_flash(
    q: Tensor, k: Tensor, v: Tensor, row: Row, scale: float
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]:
    longest = max(row.lengths)
    where = (row.bounds, row.bounds, longest, longest, 0.0, True)  # samples of q, of k; no dropout; causal
    out, lse, state, unused, _ = torch.ops.aten._flash_attention_forward.default(q, k, v, *where, False, scale=scale)

    def backward(d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        back = torch.ops.aten._flash_attention_backward.default
        return back(d, q, k, v, out, lse, *where, state, unused, scale=scale)

    return out, backward


def _attend_each(
    q: Tensor, k: Tensor, v: Tensor, row: Row, scale: float
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]:
    inputs = [tensor.detach().requires_grad_() for tensor in (q, k, v)]
    group = q.shape[1] // k.shape[1]
    outs = []
    with torch.enable_grad():
        pieces = [tensor.transpose(0, 1).split(row.lengths, dim=1) for tensor in inputs]
        for one_q, one_k, one_v in zip(*pieces, strict=True):
            if group > 1:
                one_k, one_v = one_k.repeat_interleave(group, 0), one_v.repeat_interleave(group, 0)
            # (1, H, t, E): torch has a fast kernel for four axes only
            one = F.scaled_dot_product_attention(one_q[None], one_k[None], one_v[None], is_causal=True, scale=scale)
            outs.append(one[0].transpose(0, 1))
        out = torch.cat(outs)

    def backward(d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dq, dk, dv = torch.autograd.grad(out, inputs, d)
        return dq, dk, dv

    return out.detach(), backward


def _spread(d: Tensor, place: Tensor) -> Tensor:
    """The gradient (T, width) of picking rows, from theirs (L, width); a gather, hence deterministic."""
    return torch.cat([d, d.new_zeros(1, d.shape[1])])[place]


def _add_embedding_gradient(grad: Tensor, ids: Tensor, dx: Tensor) -> None:
    """grad[id] += the rows of dx with that id; a product where the vocabulary is small."""
    if len(grad) <= _ONE_HOT:
        hot = (ids[:, None] == torch.arange(len(grad), device=ids.device)).to(dx.dtype)
        grad.addmm_(hot.t(), dx)
    else:
        grad.index_add_(0, ids, dx)


def _groups(model: Any) -> list[list[dict[str, nn.Linear]]]:
    """For every layer its four groups of linear layers (q k v, o, gate up, down), by path in an adapter."""
    names = (("self_attn", ("q_proj", "k_proj", "v_proj")), ("self_attn", ("o_proj",)),
             ("mlp", ("gate_proj", "up_proj")), ("mlp", ("down_proj",)))  # fmt: skip
    return [
        [
            {
                f"base_model.model.model.layers.{i}.{block}.{name}": getattr(getattr(layer, block), name)
                for name in group
            }
            for block, group in names
        ]
        for i, layer in enumerate(model.model.layers)
    ]


def _rotation(model: Any, longest: int, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary positions, (longest, E / 2) float32, from the model's own module."""
    device = next(model.parameters()).device
    positions = torch.arange(longest, device=device)[None]
    with torch.no_grad():
        cos, sin = model.model.rotary_emb(torch.zeros(1, device=device), positions)
    if cos.shape[-1] != size:
        raise InputError(
            "backend: packed rotates whole heads, the model's rotary positions cover a part; use the trl backend"
        )
    return cos[0, :, : size // 2].float().contiguous(), sin[0, :, : size // 2].float().contiguous()


# --- the loop ------------------------------------------------------------------------------------


class _Loop:
    """The steps of a job: micro-batches, clipping, optimizer, checkpoints."""

    def __init__(self, network: Network, job: Job, began: float) -> None:
        self.network, self.job, self.began = network, job, began
        self.rows = Rows(job.samples, network.device)
        rates = (job.settings.learning_rate, job.settings.embedding_learning_rate)
        self.rates = rates[: len(network.flats())]
        groups = [{"params": [flat.master], "lr": r} for flat, r in zip(network.flats(), self.rates, strict=True)]
        self.optimizer = make_optimizer(groups, job.settings)
        self.micro = job.settings.batch
        self.losses: list[float] = []
        self.waiting: list[Tensor] = []
        self.notes: list[str] = []
        self.computed_tokens = 0
        self.last_checkpoint = time.monotonic()

    @torch.no_grad()
    def run(self) -> Outcome:
        """All steps that are not done yet."""
        steps = self.job.schedule.steps
        resumed_at = self._resume()
        first_step = self.began
        for step in range(resumed_at, steps):
            self._step(step)
            if step == resumed_at:
                self._read_losses()
                first_step = time.monotonic()
            if len(self.waiting) == self._patience():
                self._read_losses()
            if step + 1 < steps and self._checkpoint_due():
                self._read_losses()
                self._save()
        self._read_losses()
        ended = time.monotonic()
        return Outcome(
            weights=self.network.export(),
            losses=self.losses,
            computed_tokens=self.computed_tokens,
            first_step_seconds=first_step - self.began,
            later_seconds=ended - first_step,
            resumed_at=resumed_at,
            notes=self.notes,
        )

    def _step(self, step: int) -> None:
        settings = self.job.settings
        size = settings.batch * settings.accumulation
        first, last = step * size, min((step + 1) * size, len(self.job.samples))
        label_tokens = self.rows.scored_before[last] - self.rows.scored_before[first]
        loss: Tensor | None = None
        while first < last:
            stop = min(first + self.micro, last)
            share = self._micro_batch(first, stop, label_tokens)
            if share is None:
                continue
            for flat in self.network.flats():
                flat.collect(first=loss is None)
            loss = share if loss is None else loss + share
            first = stop
        assert loss is not None
        self._update(step)
        self.waiting.append(loss)

    def _micro_batch(self, first: int, stop: int, label_tokens: int) -> Tensor | None:
        """Its share of the loss; None after it did not fit into memory and the next will be smaller."""
        row = self.rows.row(first, stop)
        try:
            loss = self.network.loss_and_gradients(row, label_tokens)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        else:
            self.computed_tokens += len(row.ids)
            return loss
        self._make_smaller(stop - first, len(row.ids))
        return None

    def _make_smaller(self, samples: int, tokens: int) -> None:
        if samples > 1:
            self.micro = -(-min(self.micro, samples) // 2)
            note = f"out of memory with {samples} samples ({tokens} tokens) at once: micro-batch cut to {self.micro}"
        elif not self.network.recompute:
            self.network.recompute = True
            note = f"out of memory with one sample of {tokens} tokens: activations are computed twice from here on"
        else:
            raise InputError(f"training: out of memory with one sample of {tokens} tokens; shorten the samples?")
        log.warning(note)
        self.notes.append(note)
        if self.network.device.type == "cuda":
            torch.cuda.empty_cache()

    def _update(self, step: int) -> None:
        totals = [flat.total for flat in self.network.flats()]
        limit = self.job.settings.max_grad_norm
        if limit > 0:
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(total) for total in totals]))
            share = (limit / (norm + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_
            for total in totals:
                total.mul_(share)
        factor = self.job.schedule.factor(step)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.step()
        for flat in self.network.flats():
            flat.refresh()

    def _patience(self) -> int:
        return _LOSSES_ON_DEVICE if self.network.device.type == "cuda" else 1

    def _read_losses(self) -> None:
        """Waits for the device; a loss that is not finite ends the job."""
        if not self.waiting:
            return
        for loss in torch.stack(self.waiting).tolist():
            step = len(self.losses)
            self.losses.append(check_loss(loss, step + 1))
            size = self.job.settings.batch * self.job.settings.accumulation
            tokens = sum(self.rows.lengths[step * size : (step + 1) * size])
            self.job.progress.update(step + 1, loss, tokens)
        self.waiting.clear()

    def _checkpoint_due(self) -> bool:
        waited = time.monotonic() - self.last_checkpoint
        return self.job.checkpoints is not None and waited >= self.job.checkpoint_seconds

    def _save(self) -> None:
        from safetensors.torch import save_file

        assert self.job.checkpoints is not None
        tensors = {f"master.{i}": flat.master for i, flat in enumerate(self.network.flats())}
        numbers: dict[str, Any] = {}
        for index, state in self.optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{index}.{name}"] = value
                else:
                    numbers[f"{index}.{name}"] = value
        with new_folder(self.job.checkpoints / f"step-{len(self.losses)}") as folder:
            save_file(
                {key: tensor.detach().contiguous() for key, tensor in tensors.items()}, folder / "state.safetensors"
            )
            text = json.dumps({"losses": self.losses, "numbers": numbers, "micro": self.micro})
            (folder / "state.json").write_text(text, encoding="utf-8")
        for path, step in _saved(self.job.checkpoints):
            if step < len(self.losses):
                shutil.rmtree(path)
        self.last_checkpoint = time.monotonic()

    def _resume(self) -> int:
        """Steps that a former call has done; their state is loaded."""
        from safetensors.torch import load_file

        saved = list(_saved(self.job.checkpoints)) if self.job.checkpoints is not None else []
        if not saved:
            return 0
        path, step = max(saved, key=lambda item: item[1])
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        tensors = load_file(path / "state.safetensors")
        for index, flat in enumerate(self.network.flats()):
            flat.master.copy_(tensors[f"master.{index}"])
            flat.refresh()
        self.losses, self.micro = state["losses"], state["micro"]
        self.optimizer.load_state_dict(
            {
                "state": _optimizer_state(tensors, state["numbers"]),
                "param_groups": self.optimizer.state_dict()["param_groups"],
            }
        )
        return step


def _saved(folder: Path) -> Iterator[tuple[Path, int]]:
    """Complete checkpoints and their steps; they take their name only when complete."""
    for path in folder.glob("step-*"):
        yield path, int(path.name.removeprefix("step-"))


def _optimizer_state(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    named: dict[str, Any] = {k.removeprefix("optimizer."): v for k, v in tensors.items() if k.startswith("optimizer.")}
    for key, value in {**named, **numbers}.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    return state

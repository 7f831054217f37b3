"""A causal language model with an adapter, forward and backward written out: the loss of a row and its gradients.

No gradient of a frozen weight is computed, every trained one is written once, and behind the last
layer's attention only positions whose next token has a loss are computed. The LoRA is kept in
float32 and multiplied in the base model's number type.

Between two layers the residual stream is a pair (x, delta) that stands for x + delta: the sum is
taken in the kernel of the norm that reads it.

Samples of 5 and 3 tokens, with a loss on 3 of them, in the last layer of a model with D = 64, H = 2, K = 1,
E = 32, F = 96 and a LoRA of R = 4 on all seven linear layers; `x | h` is a buffer whose last columns
the LoRA fills (`flat`):

    x, delta         (8, 64)               T = 8, the two samples one after the other
    normed1 | h      (8, 64 + 12)          h of q, k and v
    qkv              (8, 128)              4 heads of 32: two of q, one of k, one of v
    rotate           (8, 3, 32)            q and k
    attended | h     (8, 64 + 4)           each sample by itself; then the L = 3 positions with a loss: (3, 68)
    middle, delta    (3, 64)               from here on, in the layers before (8, 64)
    normed2 | h      (3, 64 + 8)           h of gate and up
    gate_up          (3, 192)
    act | h          (3, 96 + 4)
    logits           (3, 16)               V = 16; back to a gradient (3, 64 + 4), and (8, 64 + 4) below the layer

Shapes: T tokens of a row, D width, F width of the MLP, H query heads, K key heads, E head size,
R rank, L positions with a loss, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arcfold.jobs.files import InputError
from arcfold.models.lora import LoraSpec, embedding
from arcfold.models.positions import rule_of
from arcfold.training.packed import attention
from arcfold.training.packed.flat import Flat, Projections, stacked, unstacked
from arcfold.training.packed.kernels import (
    cross_entropy,
    rms_norm,
    rms_norm_backward,
    rotate,
    rotate_backward,
    swiglu,
    swiglu_backward,
)
from arcfold.training.packed.rows import Row

AttentionBackward = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]

# Adding rows up by index is atomic on a GPU, or slow where the order must be fixed; a product is neither.
_ONE_HOT = 2048  # largest vocabulary whose embedding gradient is a product with one-hot rows


class Network:
    """The loss of a row and the gradients of what is trained."""

    cos: Tensor
    sin: Tensor
    """(P, E / 2) float32, of the positions that rows number."""

    def __init__(self, model: Any, spec: LoraSpec, weights: Mapping[str, Tensor]) -> None:
        """Takes the weights over from a loaded model, until `release`; `turn_by` comes before the first row.

        weights: the adapter's by their keys in its file, LoRAs and full matrices
        """
        self.dtype = model.model.layers[0].self_attn.q_proj.weight.dtype
        self.device = next(model.parameters()).device
        self.weights = weights
        layers = _groups(model)
        self.groups = [group for groups in layers for group in groups]
        adapted = frozenset(key.removesuffix(".lora_A.weight") for key in weights if key.endswith(".lora_A.weight"))
        full = {key: [tensor] for key, tensor in weights.items() if ".lora_" not in key}
        # two flats, since full matrices have a learning rate of their own
        self.lora = Flat(stacked(self.groups, weights), self.dtype, self.device)
        self.full = Flat(full, self.dtype, self.device) if full else None
        self.full_copy = None if self.full is None else self.full.master.to(self.dtype)
        self.layers = [
            _Layer(model, layer, [Projections(group, self.lora, adapted, spec.scale) for group in groups])
            for layer, groups in zip(model.model.layers, layers, strict=True)
        ]
        self.embed = self._matrix(model, "embed_tokens", spec)
        self.head = self.embed if spec.tied else self._matrix(model, "lm_head", spec)
        self.norm, self.eps = model.model.norm.weight.data, model.config.rms_norm_eps
        self.rule = rule_of(model.config)
        self._rotary = model.model.rotary_emb
        trained = [pair for layer in self.layers for p in layer.projections for pair in p.trained()]
        self.copies, self.originals = [copy for copy, _ in trained], [original for _, original in trained]
        self.logits_at_once = 2**27
        """Numbers of a piece of the (L, V) logits: 0.5 GiB in float32."""
        self.recompute = False
        """Keep only each layer's input for the backward, and compute the rest again."""
        self.refresh()

    def _matrix(self, model: Any, name: str, spec: LoraSpec) -> _Matrix:
        path, module = embedding(model, name)
        if name not in spec.full or self.full is None or self.full_copy is None:
            return _Matrix(module.weight.data, None)
        key = f"base_model.model.{path}.weight"
        return _Matrix(self.full.view(self.full_copy, key), self.full.view(self.full.grad, key))

    def turn_by(self, positions: np.ndarray) -> None:
        """Computes the angles of the positions (P,) that rows number (`Rows.distinct`).

        Raises InputError where positions rotate a part of a head.
        """
        size = self.layers[0].size
        like = torch.zeros(1, device=self.device)
        with torch.no_grad():
            cos, sin = self._rotary(like, torch.from_numpy(positions).to(self.device)[None])
        if cos.shape[-1] != size:
            raise InputError(
                "backend: packed rotates whole heads, the model's rotary positions cover a part; use the trl backend"
            )
        self.cos, self.sin = (part[0, :, : size // 2].float().contiguous() for part in (cos, sin))

    def flats(self) -> list[Flat]:
        """The LoRA and, if any is trained, the full matrices."""
        return [self.lora] if self.full is None else [self.lora, self.full]

    def refresh(self) -> None:
        """Brings what is multiplied with up to date after the masters have changed."""
        torch._foreach_copy_(self.copies, self.originals)
        if self.full is not None and self.full_copy is not None and self.full_copy is not self.full.master:
            self.full_copy.copy_(self.full.master)

    def release(self) -> None:
        """Gives the model's layers weights of their own back."""
        for layer in self.layers:
            for projections in layer.projections:
                projections.release()

    def export(self) -> dict[str, Tensor]:
        """The trained matrices by their keys in an adapter file, float32 on the CPU."""
        made = unstacked(self.groups, self.lora.export(), self.weights)
        if self.full is not None:
            made.update(self.full.export())
        return {key: made[key] for key in self.weights}

    def loss_and_gradients(self, row: Row) -> Tensor:
        """The weighted sum of the row's cross-entropies in nats, a float32 scalar; fills the flats' `grad`."""
        # the full matrices' are added to: embeddings and head may be one, and the head's come in pieces
        if self.full is not None:
            self.full.grad.zero_()
        x, delta = self.embed.weight.index_select(0, row.ids), None
        states: list[Any] = []
        for index, layer in enumerate(self.layers):
            only = row.scored if index == len(self.layers) - 1 else None
            x, delta, state = layer.forward(x, delta, self, row, only)
            # keeping all of it is faster, a layer's input alone the least memory (Chen et al., 2016, arXiv 1604.06174)
            states.append(state.inputs if self.recompute else state)
        loss, dx = self._head(x, delta, row)
        for index in reversed(range(len(self.layers))):
            layer, state = self.layers[index], states.pop()
            last = index == len(self.layers) - 1
            # `inputs` is x + delta already, so the second forward gets no delta
            if self.recompute:
                state = layer.forward(state, None, self, row, row.scored if last else None)[2]
            # a layer writes its gradient into the buffer that the layer below goes on with
            below = self.layers[index - 1].down.hidden if index else 0
            dx = layer.backward(dx, state, self, row, last, below, need_dx=index > 0 or self.embed.grad is not None)
        if self.embed.grad is not None:
            _add_embedding_gradient(self.embed.grad, row.ids, dx)
        return loss

    def _head(self, x: Tensor, delta: Tensor | None, row: Row) -> tuple[Tensor, Tensor]:
        """The loss of the stream (L, D) and its gradient there, with room for the last layer's hidden columns.

        The logits exist in pieces of bounded size only.
        """
        n = torch.empty_like(x)
        x, rstd = rms_norm(x, delta, self.norm, self.eps, n)
        dn, losses = torch.empty_like(n), []
        piece = max(1, self.logits_at_once // len(self.head.weight))
        for start in range(0, len(n), piece):
            at = slice(start, start + piece)
            loss, d = cross_entropy(n[at] @ self.head.weight.t(), row.targets[at], row.weights[at])
            losses.append(loss.sum())
            torch.mm(d, self.head.weight, out=dn[at])
            if self.head.grad is not None:
                self.head.grad.addmm_(d.t(), n[at])
        dx = x.new_empty(len(x), x.shape[1] + self.layers[-1].down.hidden)
        rms_norm_backward(dn, x, rstd, self.norm, None, dx[:, : x.shape[1]])
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum(), dx


@dataclass(frozen=True)
class _Matrix:
    """An embedding or output matrix (V, D) and its gradient, None if it is frozen."""

    weight: Tensor
    grad: Tensor | None


@dataclass
class _State:
    """What a layer's backward needs from its forward; `normed…`, `attended` and `act` have hidden columns."""

    inputs: Tensor
    rstd1: Tensor
    normed1: Tensor
    qkv: Tensor
    attended: Tensor
    attend_backward: AttentionBackward
    middle: Tensor
    rstd2: Tensor
    normed2: Tensor
    gate_up: Tensor
    act: Tensor


class _Layer:
    """One decoder layer: x + attention(norm(x)), then that + mlp(norm(that))."""

    def __init__(self, model: Any, layer: Any, projections: Sequence[Projections]) -> None:
        heads = layer.self_attn
        self.projections = list(projections)
        self.qkv, self.o, self.gate_up, self.down = projections
        self.size = heads.head_dim
        self.queries = heads.q_proj.out_features // self.size
        self.keys = heads.k_proj.out_features // self.size
        self.norm1, self.norm2 = layer.input_layernorm.weight.data, layer.post_attention_layernorm.weight.data
        self.eps = model.config.rms_norm_eps
        # (H + K, E): one weight for each head, so that one kernel norms queries and keys (Qwen3 has such norms)
        self.head_norm: Tensor | None = None
        if hasattr(heads, "q_norm"):
            shape = (self.queries, self.size), (self.keys, self.size)
            self.head_norm = torch.cat(
                [heads.q_norm.weight.data.expand(shape[0]), heads.k_norm.weight.data.expand(shape[1])]
            )
        self.scaling = heads.scaling

    def forward(
        self, x: Tensor, delta: Tensor | None, network: Network, row: Row, only: Tensor | None
    ) -> tuple[Tensor, Tensor, _State]:
        """The stream (T, D), as x and delta, to the next, (T, D), or (L, D) if `only` positions (L,) are asked for.

        Returns the next x and delta, and what `backward` needs.
        """
        normed1 = self.qkv.buffer(x, len(x), self.qkv.inputs)
        x, rstd1 = rms_norm(x, delta, self.norm1, self.eps, normed1[:, : self.qkv.inputs])
        qkv = self.qkv.forward(normed1)
        heads = qkv.view(len(x), -1, self.size)
        turned = self.queries + self.keys
        qk = rotate(heads[:, :turned], self.head_norm, self.eps, network.cos, network.sin, row.positions)
        q, k, v = qk[:, : self.queries], qk[:, self.queries :], heads[:, turned:]
        attended, onto = self.o.buffer(x, len(x), self.o.inputs), x
        out = attended[:, : self.o.inputs].unflatten(1, (self.queries, self.size))
        attend_backward = attend(q, k, v, row, self.scaling, out)
        # every token is a key for those behind it, but behind the last attention only losses are left to compute
        if only is not None:
            attended, onto = attended.index_select(0, only), x.index_select(0, only)
        delta = self.o.forward(attended)
        normed2 = self.gate_up.buffer(delta, len(delta), self.gate_up.inputs)
        middle, rstd2 = rms_norm(onto, delta, self.norm2, self.eps, normed2[:, : self.gate_up.inputs])
        gate_up = self.gate_up.forward(normed2)
        act = self.down.buffer(gate_up, len(gate_up), self.down.inputs)
        swiglu(gate_up, act[:, : self.down.inputs])
        delta = self.down.forward(act)
        state = _State(
            x, rstd1, normed1, qkv, attended, attend_backward, middle, rstd2, normed2, gate_up, act
        )  # fmt: skip
        return middle, delta, state

    def backward(
        self, dy: Tensor, state: _State, network: Network, row: Row, last: bool, below: int, need_dx: bool
    ) -> Tensor:
        """From the gradient of the stream behind the layer to that before it, in a buffer (T, D + below).

        dy: (T, D + hidden columns of `down`), or (L, …) in the last layer. Without `need_dx` what is
        returned has no meaning.
        """
        # x + delta has one gradient for both parts: dy goes through `down` and past the MLP alike
        dact = self.down.backward(dy, state.act)
        dgate_up = self.gate_up.buffer(dy, len(dy), self.gate_up.outputs)
        swiglu_backward(dact, state.gate_up, dgate_up[:, : self.gate_up.outputs])
        dn = self.gate_up.backward(dgate_up, state.normed2)
        dmiddle = self.o.buffer(dn, len(dn), self.o.outputs)
        stream = dmiddle[:, : self.o.outputs]
        rms_norm_backward(dn, state.middle, state.rstd2, self.norm2, dy[:, : self.down.outputs], stream)
        dattended = self.o.backward(dmiddle, state.attended)
        if last:
            stream, dattended = _spread(stream, row.place), _spread(dattended, row.place)
        dq, dk, dv = state.attend_backward(dattended.view(len(row.ids), self.queries, self.size))
        dqkv = self.qkv.buffer(dn, len(row.ids), self.qkv.outputs)
        heads, dheads = (x.unflatten(1, (-1, self.size)) for x in (state.qkv, dqkv[:, : self.qkv.outputs]))
        rotate_backward(
            dq, dk, dv, heads, self.head_norm, self.eps, network.cos, network.sin, row.positions, dheads
        )  # fmt: skip
        # below the first layer nothing is trained, unless the embeddings are
        if not need_dx:
            self.qkv.backward_weights(dqkv, state.normed1)
            return dqkv
        dn = self.qkv.backward(dqkv, state.normed1)
        dx = dn.new_empty(len(dn), dn.shape[1] + below)
        rms_norm_backward(dn, state.inputs, state.rstd1, self.norm1, stream, dx[:, : dn.shape[1]])
        return dx


def attend(q: Tensor, k: Tensor, v: Tensor, row: Row, scale: float, out: Tensor) -> AttentionBackward:
    """Writes causal attention inside each piece of a row into `out`; returns what makes its gradient those of q, k, v.

    q, out: (T, H, E); k, v: (T, K, E), each serving H / K query heads; out may be a part of wider rows. On a GPU
    this is in 16 bits one attention over all pieces, by our kernels where they are made for the card, else by torch's;
    otherwise one attention for each piece. scale: what q · k is multiplied with.
    """
    if attention.usable(q):
        return _attend_triton(q, k, v, row, scale, out)
    way = _attend_each
    if attention.whole_rows(q.device, q.dtype):
        way = _attend_flash if attention.has_flash(q.device) else _attend_efficient
    made, backward = way(q, k, v, row, scale)
    out.copy_(made)
    return backward


def _attend_triton(q: Tensor, k: Tensor, v: Tensor, row: Row, scale: float, out: Tensor) -> AttentionBackward:
    log_sums = attention.forward(q, k, v, row.bounds, scale, out)

    def backward(d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return attention.backward(d, q, k, v, out, log_sums, row.bounds, scale)

    return backward


def _attend_flash(q: Tensor, k: Tensor, v: Tensor, row: Row, scale: float) -> tuple[Tensor, AttentionBackward]:
    # pieces of q, of k; their longest; no dropout; causal
    where = (row.bounds, row.bounds, row.longest, row.longest, 0.0, True)
    out, lse, state, unused, _ = torch.ops.aten._flash_attention_forward.default(q, k, v, *where, False, scale=scale)

    def backward(d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        back = torch.ops.aten._flash_attention_backward.default
        return back(d, q, k, v, out, lse, *where, state, unused, scale=scale)

    return out, backward


def _attend_efficient(q: Tensor, k: Tensor, v: Tensor, row: Row, scale: float) -> tuple[Tensor, AttentionBackward]:
    # a batch of one; no bias; pieces of q, of k; their longest; no dropout; causal
    group = q.shape[1] // k.shape[1]
    given = [tensor.repeat_interleave(times, 1)[None] for tensor, times in ((q, 1), (k, group), (v, group))]
    where = (row.bounds, row.bounds, row.longest, row.longest)
    forward = torch.ops.aten._efficient_attention_forward.default
    out, lse, seed, offset, *_ = forward(*given, None, *where, 0.0, 1, True, scale=scale)

    def backward(d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        back = torch.ops.aten._efficient_attention_backward.default
        # one split of the keys: several add up in an order that changes
        dq, dk, dv, _ = back(
            d[None], *given, None, out, *where, lse, 0.0, seed, offset, 1, False, scale=scale, num_splits_key=1
        )
        dk, dv = (made[0].unflatten(1, (-1, group)).sum(2) for made in (dk, dv))
        return dq[0].contiguous(), dk, dv

    return out[0], backward


def _attend_each(q: Tensor, k: Tensor, v: Tensor, row: Row, scale: float) -> tuple[Tensor, AttentionBackward]:
    # in float32: torch's backward on a CPU takes four times as long in bfloat16
    inputs = [tensor.detach().float().requires_grad_() for tensor in (q, k, v)]
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
        with torch.enable_grad():
            product = (out * d).sum()  # its gradient in out is d; handing d over makes torch import sympy
        dq, dk, dv = (made.to(d.dtype).contiguous() for made in torch.autograd.grad(product, inputs))
        return dq, dk, dv

    return out.detach(), backward


def _spread(d: Tensor, place: Tensor) -> Tensor:
    """The gradient (T, width) of picking rows, from theirs (L, width); a gather, hence deterministic."""
    # row L is zero: that is where `place` sends a token without a loss
    return torch.cat([d, d.new_zeros(1, d.shape[1])]).index_select(0, place)


def _add_embedding_gradient(grad: Tensor, ids: Tensor, dx: Tensor) -> None:
    """grad[id] += the rows of dx with that id; a product where the vocabulary is small."""
    if len(grad) <= _ONE_HOT:
        hot = (ids[:, None] == torch.arange(len(grad), device=ids.device)).to(dx.dtype)
        grad.addmm_(hot.t(), dx)
    else:
        grad.index_add_(0, ids.long(), dx)


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

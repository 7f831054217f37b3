"""The network of a base model while it is trained: Qwen3, written out for packed batches.

The parameters carry the names and shapes of transformers' `Qwen3ForCausalLM`, so that the weights are saved as
they are and load there, with positions by grids in our class of it; a test holds both to the same logits.
Parameters are float32; products are computed in the number type of the run. q, k, v and gate, up are one
product each.

A batch of T = 1024 tokens in the default shape (W = 384, 6 heads of 64, 1024 hidden numbers, V = 16):
ids (1024,), x (1024, 384), q k v (1024, 3, 6, 64), mixed (1024, 384), gate and up (1024, 2048), x again,
eight times; logits (1024, 16), losses (1024,). Its 8 layers have 14.2 million parameters.

RMS norm: Zhang and Sennrich, 2019, arXiv 1910.07467; rotary positions: Su et al., 2021, arXiv 2104.09864;
SwiGLU: Shazeer, 2020, arXiv 2002.05202; norms of queries and keys: Qwen3, 2025, arXiv 2505.09388.

Shapes: T tokens of the batch, W width, H heads, D head size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arcfold.jobs.caches import keep_compiled_code_private
from arcfold.jobs.files import InputError
from arcfold.models.positions import AXIS_MASK, MODEL_TYPE, axis_shifts, axis_values, rope_keys, rule_of
from arcfold.models.positions import GRID_TOKENS as TABLE
from arcfold.pretraining.attention import Attention
from arcfold.pretraining.batches import END, GRID_TOKENS, PAD, VOCABULARY


@dataclass(frozen=True)
class Shape:
    """The size of a network."""

    layers: int = 8
    width: int = 384
    hidden: int = 1024
    """Numbers between the two products of a layer's second half."""
    heads: int = 6
    head_size: int = 64
    positions: int = 8192
    """Tokens of the longest sequence."""
    rope_theta: float = 100000.0
    positions_by: str = "places"
    """What heads are turned by: places in the sample, or grids (`models.positions`)."""

    @property
    def by_grids(self) -> bool:
        return self.positions_by == "grids"

    def to_config(self) -> dict[str, Any]:
        """The `config.json` that transformers loads; with positions by grids, where `arcfold` is imported."""
        rope: dict[str, Any] = {"rope_theta": self.rope_theta, "rope_type": "default"}
        own: dict[str, Any] = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
        if self.by_grids:
            rope |= rope_keys(self.head_size)
            own = {"architectures": ["ArcfoldQwen3ForCausalLM"], "model_type": MODEL_TYPE, TABLE: GRID_TOKENS}
        return {
            **own,
            "vocab_size": VOCABULARY,
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "head_dim": self.head_size,
            "hidden_act": "silu",
            "max_position_embeddings": self.positions,
            "initializer_range": 0.02,
            "rms_norm_eps": EPSILON,
            "use_cache": True,
            "tie_word_embeddings": False,
            "rope_parameters": rope,
            "attention_bias": False,
            "attention_dropout": 0.0,
            "use_sliding_window": False,
            "sliding_window": None,
            "max_window_layers": self.layers,
            "layer_types": ["full_attention"] * self.layers,
            "bos_token_id": None,
            "eos_token_id": END,
            "pad_token_id": PAD,
            "dtype": "bfloat16",
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Shape:
        """The size in a `config.json`; raises InputError for what this module does not compute."""
        # what `Network` has no code for, or computes in one way only
        wanted = {
            "hidden_act": "silu", "tie_word_embeddings": False, "attention_bias": False,
            "vocab_size": VOCABULARY, "num_key_value_heads": config.get("num_attention_heads"),
        }  # fmt: skip
        by_grids = rule_of(config).by_grids
        wanted |= {TABLE: GRID_TOKENS} if by_grids else {"model_type": "qwen3"}
        for key, value in wanted.items():
            if config.get(key) != value:
                raise InputError(f"base model: {key} is {config.get(key)!r}, expected {value!r} to train it further")
        needed = (
            "num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size", "head_dim",
            "max_position_embeddings",
        )  # fmt: skip
        for key in needed:
            if type(config.get(key)) is not int:
                raise InputError(f"base model: {key} is {config.get(key)!r}, expected a whole number")
        # transformers 4 writes rope_theta at the top, transformers 5 inside rope_parameters
        rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta")}
        return cls(
            layers=config["num_hidden_layers"],
            width=config["hidden_size"],
            hidden=config["intermediate_size"],
            heads=config["num_attention_heads"],
            head_size=config["head_dim"],
            positions=config["max_position_embeddings"],
            rope_theta=float(rope.get("rope_theta") or 10000.0),
            positions_by="grids" if by_grids else "places",
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


EPSILON = 1e-6


class Network(nn.Module):
    """Token ids in, hidden numbers or losses out.

    compiled: whether the layers are compiled (once for all of them)
    dtype: the number type of products and activations
    """

    def __init__(self, shape: Shape, *, dtype: torch.dtype = torch.float32, compiled: bool = False) -> None:
        super().__init__()
        self.shape, self.dtype = shape, dtype
        inner = shape.heads * shape.head_size

        def linear(outputs: int, inputs: int) -> nn.Linear:
            return nn.Linear(inputs, outputs, bias=False)

        def layer() -> nn.Module:
            attention = {name: linear(inner, shape.width) for name in ("q_proj", "k_proj", "v_proj")}
            attention["o_proj"] = linear(shape.width, inner)
            norms = {name: _Norm(shape.head_size) for name in ("q_norm", "k_norm")}
            mlp = {name: linear(shape.hidden, shape.width) for name in ("gate_proj", "up_proj")}
            mlp["down_proj"] = linear(shape.width, shape.hidden)
            return nn.ModuleDict(
                {
                    "input_layernorm": _Norm(shape.width),
                    "self_attn": nn.ModuleDict({**attention, **norms}),
                    "post_attention_layernorm": _Norm(shape.width),
                    "mlp": nn.ModuleDict(mlp),
                }
            )

        # modules only hold the parameters, under transformers' names; what is computed stands in `_layer`
        # Any: a ModuleDict knows nothing of its modules' kinds
        self.model: Any = nn.ModuleDict(
            {
                "embed_tokens": nn.Embedding(VOCABULARY, shape.width),
                "layers": nn.ModuleList(layer() for _ in range(shape.layers)),
                "norm": _Norm(shape.width),
            }
        )
        self.lm_head = linear(VOCABULARY, shape.width)
        self._layer: Callable[..., Tensor] = _layer
        self._losses: Callable[..., tuple[Tensor, Tensor]] = _losses
        # a function of tensors, so that it is compiled once and not once for each layer; batches have one size
        if compiled:
            keep_compiled_code_private()
            self._layer = torch.compile(_layer, dynamic=False)
            self._losses = torch.compile(_losses, dynamic=False)
        # not saved: transformers makes its own
        cos, sin = _rotation(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def without_compiling(self) -> None:
        """Computes without the compiler from now on."""
        self._layer, self._losses = _layer, _losses

    def initialize(self, seed: int) -> None:
        """Fresh weights: normal with deviation 1 / √(inputs); what is added to the stream starts at zero."""
        # drawn on the CPU in the order of the parameters, so that a seed gives one network on every device
        draws = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("norm.weight"):
                    parameter.fill_(1.0)
                elif name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
                    parameter.zero_()
                else:
                    deviation = 1.0 if "embed" in name else 1 / math.sqrt(parameter.shape[1])
                    parameter.copy_(torch.randn(parameter.shape, generator=draws) * deviation)

    def hidden(self, ids: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """(T,) ids and positions to (T, W)."""
        # 16 rows looked up by a product: its gradient is a product too, where a lookup's would collide
        one_hot = F.one_hot(ids.long(), VOCABULARY).to(self.dtype)
        x = one_hot @ self.model["embed_tokens"].weight.to(self.dtype)
        cos, sin = (self._at(name, positions).to(self.dtype) for name in ("cos", "sin"))
        for layer in self.model["layers"]:
            x = self._layer(x, cos, sin, attention, self.shape.heads, *_weights(layer))
        return x

    def _at(self, table: str, positions: Tensor) -> Tensor:
        """(T, D) cosines or sines of positions (T,)."""
        of_values = self.get_buffer(table)
        if not self.shape.by_grids:
            return of_values[positions]
        return of_values.gather(0, axis_values(positions, axis_shifts(self.shape.head_size, positions.device)))

    def losses(self, ids: Tensor, targets: Tensor, positions: Tensor, attention: Attention) -> tuple[Tensor, Tensor]:
        """-log p of each target, float32 (T,), and whether it is the likeliest token, bool (T,)."""
        x = self.hidden(ids, positions, attention)
        return self._losses(x, targets, self.model["norm"].weight, self.lm_head.weight)

    def logits(self, ids: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """(T, V) in float32."""
        x = self.hidden(ids, positions, attention)
        return _head(x, self.model["norm"].weight, self.lm_head.weight)


class _Norm(nn.Module):
    """A place for the weight of a root-mean-square norm."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))


def _weights(layer: Any) -> tuple[Tensor, ...]:
    attention, mlp = layer["self_attn"], layer["mlp"]
    return (
        layer["input_layernorm"].weight,
        attention["q_proj"].weight, attention["k_proj"].weight, attention["v_proj"].weight,
        attention["q_norm"].weight, attention["k_norm"].weight, attention["o_proj"].weight,
        layer["post_attention_layernorm"].weight,
        mlp["gate_proj"].weight, mlp["up_proj"].weight, mlp["down_proj"].weight,
    )  # fmt: skip


def _layer(
    x: Tensor, cos: Tensor, sin: Tensor, attention: Attention, heads: int,
    norm_1: Tensor, q: Tensor, k: Tensor, v: Tensor, q_norm: Tensor, k_norm: Tensor, o: Tensor,
    norm_2: Tensor, gate: Tensor, up: Tensor, down: Tensor,
) -> Tensor:  # fmt: skip
    """One layer, (T, W) to (T, W)."""
    dtype = x.dtype
    h = _normed(x, norm_1)
    # stacked as they are used: one large product is faster than three, and the files keep three matrices
    qkv = F.linear(h, torch.cat([q, k, v]).to(dtype)).view(len(x), 3, heads, -1)
    queries = _turned(_normed(qkv[:, 0], q_norm), cos, sin)
    keys = _turned(_normed(qkv[:, 1], k_norm), cos, sin)
    mixed = attention(queries, keys, qkv[:, 2])
    x = x + F.linear(mixed.reshape(len(x), -1), o.to(dtype))
    h = _normed(x, norm_2)
    gated, plain = F.linear(h, torch.cat([gate, up]).to(dtype)).chunk(2, dim=-1)
    return x + F.linear(F.silu(gated) * plain, down.to(dtype))


def _head(x: Tensor, norm: Tensor, head: Tensor) -> Tensor:
    return F.linear(_normed(x, norm), head.to(x.dtype)).float()


def _losses(x: Tensor, targets: Tensor, norm: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
    # float32 logits are affordable: V is 16
    logits = _head(x, norm, head)
    chosen = torch.gather(logits, 1, targets.long()[:, None])[:, 0]
    return torch.logsumexp(logits, dim=1) - chosen, logits.argmax(dim=1) == targets


def _normed(x: Tensor, weight: Tensor) -> Tensor:
    # a mean of squares needs float32; the weight is multiplied in the number type of the run, as in transformers
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPSILON)
    return weight.to(x.dtype) * wide.to(x.dtype)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: (T, H, D) with cos and sin (T, D)."""
    left, right = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat([-right, left], dim=-1) * sin[:, None]


def _rotation(shape: Shape) -> tuple[Tensor, Tensor]:
    """cos and sin of every position, (positions, D) each; by grids of every value that an axis may have."""
    exponents = torch.arange(0, shape.head_size, 2, dtype=torch.int64).float() / shape.head_size
    count = AXIS_MASK + 1 if shape.by_grids else shape.positions
    angles = torch.arange(count).float()[:, None] * (1.0 / shape.rope_theta**exponents)[None]
    angles = torch.cat([angles, angles], dim=1)
    return angles.cos(), angles.sin()

"""Base models without transformers, whose import takes longer than training a small adapter or a search.

The names that training reads (linear layers, norms, embeddings, the rotary positions), and the forward pass
of `passes`. What is not plain about a model (a key of config.json that is left out, a tensor that is
not expected, positions that are scaled in other ways) is left to transformers: `is_plain` says so.

Shapes: T tokens, W width, H query heads, K key-value heads, D size of a head, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from arcfold.jobs.files import InputError
from arcfold.models.base import BaseModel
from arcfold.models.folder import model_files
from arcfold.models.passes import Pass
from arcfold.models.positions import AXIS_MASK, GRID_TOKENS, MODEL_TYPE, axis_shifts, axis_values, rule_of
from arcfold.models.weights import stored_tensors, weight_files

_NEEDED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "rms_norm_eps", "hidden_act", "tie_word_embeddings",
)  # fmt: skip
_SIZES = ("intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim")
"""Of which some models have one for each layer."""
_NEEDED_BY = {
    "llama": (),
    "mistral": ("sliding_window",),
    "qwen2": (),
    "qwen3": ("head_dim",),
    MODEL_TYPE: ("head_dim", GRID_TOKENS),
}
_WITHOUT_WINDOW = ("qwen2", "qwen3", MODEL_TYPE)
"""Models that use the window of their config.json only where it says so."""
_FLOATS = ("F64", "F32", "F16", "BF16")
_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def is_plain(base: BaseModel) -> bool:
    """Whether `load_plain` loads the model."""
    model_files(base.folder)
    config = base.config
    kind = config.get("model_type")
    if kind not in _NEEDED_BY or any(key not in config for key in (*_NEEDED, *_NEEDED_BY[kind])):
        return False
    if any(config[key] is None for key in _NEEDED) or any(isinstance(config.get(key), list) for key in _SIZES):
        return False
    if _head_size(config) < 1:
        return False
    if base.is_quantized or _rope(config) is None or config["hidden_act"] != "silu":
        return False
    stored = stored_tensors(base.folder)
    if any(tensor.dtype not in _FLOATS for tensor in stored.values()):
        return False
    found = {name: tensor.shape for name, tensor in stored.items()}
    if len(found) < config["num_hidden_layers"]:  # before as many layers are made
        return False
    return {name: tuple(tensor.shape) for name, tensor in PlainModel(config).tensors().items()} == found


def load_plain(base: BaseModel, device: torch.device) -> PlainModel:
    """A causal language model for which `is_plain` holds, its numbers as `transformers.load_pretrained` gives them."""
    from safetensors import safe_open

    number_type = base.number_type_on(device)
    loaded: dict[str, Tensor] = {}
    for part in weight_files(base.folder):
        with safe_open(base.folder / part, framework="pt", device=str(device)) as file:
            for name in file.keys():  # noqa: SIM118 (the file is no mapping)
                loaded[name] = file.get_tensor(name).to(number_type)
    model = PlainModel(base.config)
    if missing := model.tensors().keys() ^ loaded.keys():
        raise InputError(f"{base.folder}: {min(missing)} is missing or not expected")
    for name, module, key in model.places():
        setattr(module, key, nn.Parameter(loaded[name], requires_grad=False))
    if base.config["tie_word_embeddings"]:
        model.lm_head.weight = model.model.embed_tokens.weight
    model.model.rotary_emb.prepare(_inverse_frequencies(base.config).to(device), number_type)
    return model.eval()


class PlainConfig(SimpleNamespace):
    """The keys of a config.json as attributes."""

    _attn_implementation = "none"

    def get_text_config(self) -> PlainConfig:
        return self


class PlainModel(nn.Module):
    """The modules of a Llama, Mistral, Qwen2 or Qwen3 model under transformers' names.

    Its attention is that of the pass of `passes`; it has none of its own.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = PlainConfig(**config)
        if config["model_type"] in _WITHOUT_WINDOW and not config.get("use_sliding_window", False):
            self.config.sliding_window = None
        self.config.rope_parameters = _rope(config)
        self.model = _Decoder(config)
        self.lm_head = _linear(config["hidden_size"], config["vocab_size"], bias=False)

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        *,
        arcfold: Pass,
        logits_to_keep: int | Tensor = 0,
        use_cache: bool = False,
    ) -> SimpleNamespace:
        """Logits (1, O, V) of the tokens (1, T) that `logits_to_keep` numbers, as transformers has it; 0: of all."""
        states = self.model(input_ids, position_ids, arcfold)
        if isinstance(logits_to_keep, Tensor):
            states = states[:, logits_to_keep]
        return SimpleNamespace(logits=self.lm_head(states))

    def set_attn_implementation(self, name: str) -> None:
        self.config._attn_implementation = name

    def get_decoder(self) -> nn.Module:
        return self.model

    def get_input_embeddings(self) -> nn.Module:
        return self.model.embed_tokens

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def places(self) -> list[tuple[str, nn.Module, str]]:
        """Name, module and attribute of every tensor that is stored; a tied head is not."""
        tied = self.config.tie_word_embeddings
        return [
            (f"{path}.{key}", module, key)
            for path, module in self.named_modules()
            for key, _ in module.named_parameters(recurse=False)
            if not (tied and f"{path}.{key}" == _HEAD)
        ]

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that is stored, by its name."""
        return {name: getattr(module, key) for name, module, key in self.places()}


class _Decoder(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        size = config["vocab_size"], config["hidden_size"]
        self.embed_tokens = nn.Embedding(*size, _weight=_empty(*size))
        self.layers = nn.ModuleList(PlainLayer(config, i) for i in range(config["num_hidden_layers"]))
        self.norm = _Norm(config["hidden_size"], config["rms_norm_eps"])
        self.rotary_emb: _Rotary = _GridRotary() if rule_of(config).by_grids else _Rotary()

    def forward(self, ids: Tensor, positions: Tensor, arcfold: Pass) -> Tensor:
        """(1, T, W) behind the last norm."""
        states: Tensor = self.embed_tokens(ids)
        angles = self.rotary_emb(states, positions)
        for layer in self.layers:
            states = layer(states, position_embeddings=angles, arcfold=arcfold)
        normed: Tensor = self.norm(states)
        return normed


class PlainLayer(nn.Module):
    """One decoder layer: x + attention(norm(x)), then that + mlp(norm(that))."""

    def __init__(self, config: Mapping[str, Any], index: int) -> None:
        super().__init__()
        width, epsilon = config["hidden_size"], config["rms_norm_eps"]
        self.self_attn = _Attention(config, index)
        self.mlp = _Mlp(config)
        self.input_layernorm = _Norm(width, epsilon)
        self.post_attention_layernorm = _Norm(width, epsilon)

    def forward(self, states: Tensor, *, position_embeddings: tuple[Tensor, Tensor], arcfold: Pass, **_: Any) -> Tensor:
        """(1, T, W) to (1, T, W); transformers' other arguments are not needed."""
        states = states + self.self_attn(self.input_layernorm(states), position_embeddings, arcfold)
        changed: Tensor = states + self.mlp(self.post_attention_layernorm(states))
        return changed


class _Attention(nn.Module):
    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    o_proj: nn.Linear

    def __init__(self, config: Mapping[str, Any], index: int) -> None:
        super().__init__()
        self.layer_idx = index
        width, self.head_dim = config["hidden_size"], _head_size(config)
        self.scaling = self.head_dim**-0.5
        queries, keys = (config[f"num_{what}_heads"] * self.head_dim for what in ("attention", "key_value"))
        sizes = {
            "q_proj": (width, queries),
            "k_proj": (width, keys),
            "v_proj": (width, keys),
            "o_proj": (queries, width),
        }
        biased = _biased_projections(config)
        for name, (inputs, outputs) in sizes.items():
            self.add_module(name, _linear(inputs, outputs, bias=name in biased))
        self.normed = config["model_type"] in ("qwen3", MODEL_TYPE)
        if self.normed:
            epsilon = config["rms_norm_eps"]
            self.q_norm, self.k_norm = _Norm(self.head_dim, epsilon), _Norm(self.head_dim, epsilon)

    def forward(self, states: Tensor, angles: tuple[Tensor, Tensor], arcfold: Pass) -> Tensor:
        """(1, T, W) to (1, T, W)."""
        parts = (self.q_proj, self.k_proj, self.v_proj)
        query, key, value = (part(states).unflatten(-1, (-1, self.head_dim)) for part in parts)
        if self.normed:
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = apply_rotary_pos_emb(query.transpose(1, 2), key.transpose(1, 2), *angles)
        attended = arcfold.attend(self.layer_idx, query, key, value.transpose(1, 2), self.scaling)
        made: Tensor = self.o_proj(attended.flatten(2))
        return made


class _Mlp(nn.Module):
    gate_proj: nn.Linear
    up_proj: nn.Linear
    down_proj: nn.Linear

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, hidden = config["hidden_size"], config["intermediate_size"]
        sizes = {"gate_proj": (width, hidden), "up_proj": (width, hidden), "down_proj": (hidden, width)}
        bias = config["model_type"] == "llama" and bool(config.get("mlp_bias"))
        for name, (inputs, outputs) in sizes.items():
            self.add_module(name, _linear(inputs, outputs, bias=bias))
        self.act_fn = nn.SiLU()

    def forward(self, states: Tensor) -> Tensor:
        made: Tensor = self.down_proj(self.act_fn(self.gate_proj(states)) * self.up_proj(states))
        return made


class _Norm(nn.Module):
    """x / root mean square(x) · weight, computed in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(_empty(width))
        self.variance_epsilon = epsilon

    def forward(self, states: Tensor) -> Tensor:
        wide = states.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * wide.to(states.dtype)


class _Rotary(nn.Module):
    """Cosines and sines of positions (1, T), each (1, T, E): the angles twice, one after the other."""

    inverse: Tensor

    def prepare(self, inverse: Tensor, number_type: torch.dtype) -> None:
        """inverse: (E / 2,) angle of each pair of numbers per position; number_type: what the model computes in"""
        self.inverse = inverse

    def forward(self, like: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        angles = positions[..., None].float() * self.inverse
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


class _GridRotary(_Rotary):
    """The same of positions by grids; they are looked up, which takes a GPU fewer kernels than computing them."""

    def prepare(self, inverse: Tensor, number_type: torch.dtype) -> None:
        super().prepare(inverse, number_type)
        angles = torch.arange(AXIS_MASK + 1, device=inverse.device)[:, None].float() * torch.cat([inverse, inverse])
        # (values of an axis, E) each
        self.tables = {dtype: (angles.cos().to(dtype), angles.sin().to(dtype)) for dtype in (number_type, torch.float)}

    def forward(self, like: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = self.tables[like.dtype]
        values = axis_values(positions, axis_shifts(cos.shape[1], positions.device))
        flat = values.flatten(0, -2)
        return cos.gather(0, flat).view(values.shape), sin.gather(0, flat).view(values.shape)


def apply_rotary_pos_emb(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Queries (1, H, T, D) and keys (1, K, T, D) turned by the angles (1, T, D).

    The name is transformers', under which `fusing` looks for it.
    """
    cos, sin = cos[:, None], sin[:, None]

    def turned(states: Tensor) -> Tensor:
        left, right = states.chunk(2, dim=-1)
        return states * cos + torch.cat([-right, left], dim=-1) * sin

    return turned(query), turned(key)


def _linear(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    """A linear layer without numbers; its own constructor would draw some, and on the meta device imports sympy."""
    made = nn.Linear.__new__(nn.Linear)
    nn.Module.__init__(made)
    made.in_features, made.out_features = inputs, outputs
    made.weight = nn.Parameter(_empty(outputs, inputs))
    made.register_parameter("bias", nn.Parameter(_empty(outputs)) if bias else None)
    return made


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def _biased_projections(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Which projections of an attention have a bias, as transformers has it: Qwen2 always, Mistral never."""
    if config["model_type"] == "qwen2":
        return ("q_proj", "k_proj", "v_proj")
    biased = config["model_type"] != "mistral" and config.get("attention_bias")
    return ("q_proj", "k_proj", "v_proj", "o_proj") if biased else ()


def _head_size(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _rope(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """How positions are rotated, as transformers 5 has it under `rope_parameters`; None for what is not known here."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rope = {"rope_theta": config.get("rope_theta"), **scaling}
    rope["rope_type"] = rope.get("rope_type", rope.get("type", "default"))
    known = {
        "default": (),
        "linear": ("factor",),
        "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    }
    partial = rope.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    if rope["rope_type"] not in known or rope["rope_theta"] is None or partial not in (None, 1.0):
        return None
    return rope if all(rope.get(key) is not None for key in known[rope["rope_type"]]) else None


def _inverse_frequencies(config: Mapping[str, Any]) -> Tensor:
    """Angle of each pair of numbers per position (E / 2,), float32: theta^(-2 i / E), scaled as config.json says.

    linear: all divided by a factor. llama3 (Llama 3.1): waves longer than context / low are divided by the factor,
    shorter than context / high kept, those between interpolated.
    """
    rope, size = _rope(config), _head_size(config)
    assert rope is not None
    made = 1.0 / (rope["rope_theta"] ** (torch.arange(0, size, 2, dtype=torch.float) / size))
    if rope["rope_type"] == "linear":
        return made / rope["factor"]
    if rope["rope_type"] == "default":
        return made
    low, high, context = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    waves = 2 * math.pi / made
    kept = ((context / waves - low) / (high - low)).clamp(0, 1)
    return made * kept + made / rope["factor"] * (1 - kept)

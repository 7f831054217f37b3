"""How large a model is, and an adapter on it, from its config.json alone: parameters, bytes, multiplications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arcfold.models.architectures import EMBEDDINGS

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "4bit": 0.5}
"""Bytes of a number by its type; in 4 bits the scales of its block add an eighth of a bit each, which is left out."""

_ALIKE = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
"""Layers that some models join, and what they stand for."""


@dataclass(frozen=True)
class ModelSize:
    """The matrices of a decoder: `layers` times each of `linear`, and the two of the vocabulary."""

    layers: int
    linear: Mapping[str, tuple[int, int]]
    """Inputs and outputs of each linear layer of a block, by the last part of its name."""
    vocabulary: int
    hidden: int
    attention: int
    """Heads times the size of one: what the products of attention have for each pair of tokens."""
    keys: int
    """Heads of keys times the size of one: numbers that a token's key, or its value, has in a layer."""
    tied: bool
    """Whether the embedding and the output head are one matrix."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ModelSize:
        """The size that a model's config.json says."""
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        size = int(config.get("head_dim") or hidden // heads)
        keys = int(config.get("num_key_value_heads") or heads) * size
        inner = int(config["intermediate_size"])
        linear = {
            "q_proj": (hidden, heads * size),
            "k_proj": (hidden, keys),
            "v_proj": (hidden, keys),
            "o_proj": (heads * size, hidden),
            "gate_proj": (hidden, inner),
            "up_proj": (hidden, inner),
            "down_proj": (inner, hidden),
        }
        return cls(
            layers=int(config["num_hidden_layers"]),
            linear=linear,
            vocabulary=int(config["vocab_size"]),
            hidden=hidden,
            attention=heads * size,
            keys=keys,
            tied=bool(config.get("tie_word_embeddings", False)),
        )

    @property
    def in_layers(self) -> int:
        """Parameters of the linear layers: what every token is multiplied with."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear.values())

    @property
    def parameters(self) -> int:
        """All parameters but those of the norms."""
        return self.in_layers + (1 if self.tied else 2) * self.vocabulary * self.hidden

    @property
    def activations(self) -> int:
        """Numbers that one token of a training's forward pass leaves in the blocks for the backward one, counted.

        Of each block the inputs of its norms, of its layers and of attention, and the two halves of the gated layer.
        """
        inner = self.linear["up_proj"][1]
        return self.layers * (4 * self.hidden + 2 * self.attention + 2 * self.keys + 3 * inner)

    def cache_bytes(self, number: float = 2) -> float:
        """Bytes of the keys and values of one token; number: bytes of one of theirs."""
        return 2 * self.layers * self.keys * number

    def trained(self, rank: int, targets: Sequence[str]) -> tuple[int, int]:
        """Parameters of an adapter: in the matrices of its LoRAs, and in full matrices."""
        named = [name for target in targets for name in _ALIKE.get(target, (target,))]
        low = self.layers * sum(rank * sum(self.linear[name]) for name in named if name in self.linear)
        full = len({name for name in named if name in EMBEDDINGS})
        return low, min(full, 1 if self.tied else 2) * self.vocabulary * self.hidden

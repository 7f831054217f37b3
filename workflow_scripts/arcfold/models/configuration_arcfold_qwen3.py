"""The configuration of a Qwen3 with positions by grids, for transformers.

It imports nothing of transformers but the class above it, since it is imported in the middle of transformers' own
imports (`registration`).
"""

import importlib
from typing import Any

from transformers.configuration_utils import PreTrainedConfig

from arcfold.models.positions import MODEL_TYPE


class ArcfoldQwen3Config(PreTrainedConfig):
    """The keys of Qwen3's without a sliding window, and what each token is (`positions.rule_of` reads it)."""

    model_type = MODEL_TYPE
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012 (transformers would make a field of a ClassVar)
    ignore_keys_at_rope_validation = {"mrope_section", "mrope_interleaved"}  # noqa: RUF012

    def __init__(
        self,
        *,
        vocab_size: int = 16,
        hidden_size: int = 320,
        intermediate_size: int = 896,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 5,
        num_key_value_heads: int = 5,
        head_dim: int = 64,
        hidden_act: str = "silu",
        max_position_embeddings: int = 8192,
        initializer_range: float = 0.02,
        rms_norm_eps: float = 1e-6,
        use_cache: bool = True,
        tie_word_embeddings: bool = False,
        rope_parameters: dict[str, Any] | None = None,
        grid_tokens: dict[str, list[int]] | None = None,
        attention_bias: bool = False,
        attention_dropout: float = 0.0,
        layer_types: list[str] | None = None,
        pad_token_id: int | None = None,
        bos_token_id: int | None = None,
        eos_token_id: int | None = None,
        **kwargs: Any,
    ) -> None:
        # The Auto classes learn of the models only now, when one is about to look for them: who loads other models need
        # not import ours. By its name, because that module imports this one.
        importlib.import_module("arcfold.models.modeling_arcfold_qwen3")
        self.vocab_size, self.max_position_embeddings = vocab_size, max_position_embeddings
        self.hidden_size, self.intermediate_size, self.hidden_act = hidden_size, intermediate_size, hidden_act
        self.num_hidden_layers, self.num_attention_heads = num_hidden_layers, num_attention_heads
        self.num_key_value_heads, self.head_dim = num_key_value_heads, head_dim
        self.initializer_range, self.rms_norm_eps, self.use_cache = initializer_range, rms_norm_eps, use_cache
        self.attention_bias, self.attention_dropout = attention_bias, attention_dropout
        self.rope_parameters, self.grid_tokens = rope_parameters, grid_tokens
        self.layer_types = layer_types or ["full_attention"] * num_hidden_layers
        # the layers read it, and find that there is none
        self.sliding_window = None
        kwargs.pop("sliding_window", None)
        super().__init__(
            tie_word_embeddings=tie_word_embeddings,
            pad_token_id=pad_token_id,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            **kwargs,
        )

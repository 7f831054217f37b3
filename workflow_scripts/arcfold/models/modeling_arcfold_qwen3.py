"""Qwen3 with positions by grids, for transformers: what trl and peft train, and what `generate` works with.

The layers are Qwen3's own. Positions follow from the tokens, so nobody needs to give any: a pass over a whole text
reads them off it, `generate` off the text so far, and a pass that goes on from a cache off the tokens that
the cache was made of, which are kept in it.

`position_ids`, where somebody gives them, are (B, T) integers as `positions` packs them, or (3, B, T) grids, rows and
columns as Qwen3-VL takes them. Places are neither: they must not be given.

Importing this module makes the classes known to transformers' Auto classes.

Shapes: B texts, T tokens of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.models.auto.modeling_auto import AutoModel, AutoModelForCausalLM
from transformers.models.qwen3.modeling_qwen3 import (
    Qwen3ForCausalLM,
    Qwen3Model,
    Qwen3RotaryEmbedding,
)

from arcfold.models.configuration_arcfold_qwen3 import ArcfoldQwen3Config
from arcfold.models.positions import axis_shifts, axis_values, from_axes, rule_of


class ArcfoldQwen3RotaryEmbedding(Qwen3RotaryEmbedding):
    """Cosines and sines (B, T, E) of positions by grids (B, T)."""

    positions: Tensor | None = None
    """Those of the running pass; what the layers' masks are made of are places."""

    @torch.no_grad()
    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        positions = position_ids if self.positions is None else self.positions
        inverse = self.inv_freq.to(device=x.device, dtype=torch.float)
        values = axis_values(positions, axis_shifts(2 * len(inverse), x.device))
        angles = values.float() * torch.cat([inverse, inverse])
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


class ArcfoldQwen3Model(Qwen3Model):
    config_class = ArcfoldQwen3Config

    def __init__(self, config: ArcfoldQwen3Config) -> None:
        super().__init__(config)
        self.rule = rule_of(config)
        self.rotary_emb = ArcfoldQwen3RotaryEmbedding(config)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **options: Any,
    ) -> Any:
        """As Qwen3's. Raises ValueError where positions are not given and no tokens say them."""
        earlier = _tokens_of(past_key_values, len(self.layers))
        if position_ids is None:
            past = 0 if past_key_values is None else int(past_key_values.get_seq_length())
            if input_ids is None or past != (0 if earlier is None else earlier.shape[1]):
                raise ValueError("positions follow from tokens: expected input_ids of all of the text, or position_ids")
            text = input_ids if earlier is None else torch.cat([earlier, input_ids], dim=1)
            position_ids = self.positions(text)[:, past:]
        elif position_ids.ndim == 3:
            position_ids = from_axes(position_ids)
        self.rotary_emb.positions = position_ids
        try:
            # without position_ids: transformers would take them for places, and a jump for the begin of a text
            made = super().forward(
                input_ids=input_ids,
                attention_mask=attention_mask,
                past_key_values=past_key_values,
                inputs_embeds=inputs_embeds,
                use_cache=use_cache,
                **options,
            )
        finally:
            self.rotary_emb.positions = None
        if input_ids is not None:
            _keep_tokens(getattr(made, "past_key_values", None), input_ids, len(self.layers))
        return made

    def positions(self, tokens: Tensor) -> Tensor:
        """(B, T) positions of whole texts (B, T), on their device; what pads a text is a marker and counts nothing."""
        texts, length = tokens.shape
        made = self.rule.of_texts(tokens.cpu().numpy().ravel(), np.arange(texts) * length)
        return torch.from_numpy(made).view(texts, length).to(tokens.device)


class ArcfoldQwen3ForCausalLM(Qwen3ForCausalLM):
    config_class = ArcfoldQwen3Config

    def __init__(self, config: ArcfoldQwen3Config) -> None:
        # as Qwen3ForCausalLM's, with another model inside
        super(Qwen3ForCausalLM, self).__init__(config)
        self.model = ArcfoldQwen3Model(config)
        self.vocab_size = config.vocab_size
        self.lm_head = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _prepare_position_ids_for_generation(self, inputs_tensor: Tensor, model_kwargs: Any) -> Tensor:
        """Positions of a prompt, of which transformers may cut parts."""
        if inputs_tensor.is_floating_point():
            return super()._prepare_position_ids_for_generation(inputs_tensor, model_kwargs)
        return self.model.positions(inputs_tensor)

    def prepare_inputs_for_generation(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As transformers', with the positions of the text so far, which it would count on as places."""
        # transformers looks for the name `kwargs` to learn that more than these is taken
        made: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, *args, **kwargs)
        cache, new = made.get("past_key_values"), made.get("input_ids")
        past = 0 if cache is None else int(cache.get_seq_length())
        # of a prompt that is read in parts there is a part only, and its positions are right as they are
        if new is not None and input_ids.shape[1] == past + new.shape[1]:
            made["position_ids"] = self.model.positions(input_ids)[:, past:].to(new.device)
        return made


# The tokens of a cache stand in it as one more layer, so that whoever cuts the cache, or takes some of its texts, does
# the same to them.


def _tokens_of(cache: Any, layers: int) -> Tensor | None:
    """(B, N) the tokens whose keys and values a cache holds; None if it does not say."""
    if cache is None or len(cache.layers) <= layers or not cache.layers[layers].get_seq_length():
        return None
    tokens: Tensor = cache.layers[layers].keys[:, 0, :, 0]
    return tokens


def _keep_tokens(cache: Any, tokens: Tensor, layers: int) -> None:
    """Puts the tokens (B, T) of a pass behind those of the cache, if it has all that stand before them."""
    if not isinstance(cache, DynamicCache):
        return
    earlier = int(cache.get_seq_length()) - tokens.shape[1]
    if len(cache.layers) == layers and earlier == 0:
        cache.layers.append(DynamicLayer())
    if len(cache.layers) > layers and cache.layers[layers].get_seq_length() == earlier:
        each = tokens[:, None, :, None]  # as keys and values of one head of size 1
        cache.layers[layers].update(each, each)


AutoModel.register(ArcfoldQwen3Config, ArcfoldQwen3Model, exist_ok=True)
AutoModelForCausalLM.register(ArcfoldQwen3Config, ArcfoldQwen3ForCausalLM, exist_ok=True)

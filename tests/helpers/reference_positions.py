"""Positions by grids as their definition says, and a model that has them from somebody else: Qwen3-VL's text model."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen3VLTextConfig, Qwen3VLTextModel

SHARED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "rms_norm_eps", "max_position_embeddings",
)  # fmt: skip


def axes_of(tokens: Sequence[int], kinds: dict[str, list[int]]) -> list[tuple[int, int, int]]:
    """Grid, row and column of each token, one after the other; kinds: `grid_tokens` of a config.json."""
    found = []
    grid = row = column = 0
    row_is_new = True
    for token in tokens:
        if token in kinds["cells"] or token in kinds["row_end"]:
            if row_is_new:
                row, column = row + 1, 0
            found.append((grid, row, column))
            column += 1
            row_is_new = token in kinds["row_end"]
        else:
            grid += token in kinds["opening"]
            row, column, row_is_new = 0, 0, True
            found.append((grid, 0, 0))
    return found


class Reference(nn.Module):
    """A causal language model with the weights of one of ours around transformers' own Qwen3VLTextModel."""

    def __init__(self, model: Any) -> None:
        """model: ours as transformers has it; its weights are copied"""
        super().__init__()
        config = model.config.to_dict()
        shared = {key: config[key] for key in SHARED}
        rope = config["rope_parameters"]
        self.kinds = config["grid_tokens"]
        self.model = Qwen3VLTextModel(Qwen3VLTextConfig(**shared, rope_parameters=rope, pad_token_id=None))
        self.config = self.model.config
        self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        self.load_state_dict(model.state_dict())
        self.eval()

    def hidden(self, input_ids: Tensor) -> Tensor:
        """(B, T, W) behind the last norm."""
        axes = torch.tensor([axes_of(text, self.kinds) for text in input_ids.tolist()])  # (B, T, 3)
        states: Tensor = self.model(input_ids=input_ids, position_ids=axes.permute(2, 0, 1)).last_hidden_state
        return states

    def forward(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=self.lm_head(self.hidden(input_ids)))

    def prepare_inputs_for_generation(self) -> None:
        """peft looks for it."""
        raise NotImplementedError


def text_of(seed: int, length: int, kinds: dict[str, list[int]], vocabulary: int) -> list[int]:
    """A random text in which grids open, rows end, and other markers stand; it begins with anything."""
    draws = torch.Generator().manual_seed(seed)
    weights = torch.full((vocabulary,), 0.3)
    for name, weight in (("cells", 6.0), ("row_end", 2.0), ("opening", 1.0)):
        weights[kinds[name]] = weight / len(kinds[name])
    return torch.multinomial(weights, length, replacement=True, generator=draws).tolist()

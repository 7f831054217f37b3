"""Models made for a test: one whose probabilities are known without running it, and random ones."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from made_tokenizers import KINDS, save_tokenizer
from shipped import ROOT
from tiny_models import ARCHITECTURES
from transformers import Qwen3Config, Qwen3ForCausalLM

NEWLINE, QUESTION, ANSWER, END = 10, 11, 12, 13
VOCABULARY, WIDTH = 16, 32


def next_token_probabilities() -> torch.Tensor:
    """P (16, 16): row a column b is the probability that token b follows token a.

    A reply is a few cells, then a row end, then mostly its end; what no reply holds is rare.
    """
    table = torch.full((VOCABULARY, VOCABULARY), 1e-4, dtype=torch.float64)
    digits = torch.tensor([30, 20, 12, 8, 6, 4, 3, 2, 1, 1], dtype=torch.float64)
    table[ANSWER, :10] = digits
    table[NEWLINE, :10] = digits / 87
    table[NEWLINE, END] = 9
    for digit in range(10):
        table[digit, NEWLINE], table[digit, digit] = 8, 2
    return table / table.sum(1, keepdim=True)


def bigram_model(folder: Path) -> Path:
    """Writes a Qwen3 of two layers that do nothing: the logits depend on the last token alone, as the table says.

    With one-hot embeddings e, RMSNorm gives e × sqrt(width), which the head turns into log P.
    """
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        tie_word_embeddings=False,
        max_position_embeddings=8192,
        pad_token_id=14,
        bos_token_id=None,
        eos_token_id=END,
    )
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.zero_()
        model.model.embed_tokens.weight[:, :VOCABULARY] = torch.eye(VOCABULARY)
        model.lm_head.weight.zero_()
        model.lm_head.weight[:, :VOCABULARY] = next_token_probabilities().log().T / math.sqrt(WIDTH)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "resources" / "base-15m" / name, folder)
    return folder


def full_model(
    folder: Path,
    architecture: str,
    kind: str,
    *,
    tied: bool = False,
    dtype: torch.dtype = torch.float32,
    parts: bool = False,
    **settings: Any,
) -> Path:
    """Writes a small random model with a full vocabulary, larger than its tokenizer's as the hub's are."""
    save_tokenizer(kind, folder)
    config_class, model_class = ARCHITECTURES[architecture]
    tokenizer = KINDS[kind]()
    numbers = {
        "qwen": {"eos_token_id": "<|im_end|>", "bos_token_id": "<|endoftext|>", "pad_token_id": None},
        "llama3": {"eos_token_id": "<|eot_id|>", "bos_token_id": "<|begin_of_text|>", "pad_token_id": None},
        "sentencepiece": {"eos_token_id": "</s>", "bos_token_id": "<s>", "pad_token_id": None},
    }[kind]
    special = {key: None if text is None else tokenizer.token_to_id(text) for key, text in numbers.items()}
    config = config_class(
        vocab_size=tokenizer.get_vocab_size() + 10,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        tie_word_embeddings=tied,
        initializer_range=0.35,
        **{**special, **settings},
    )
    torch.manual_seed(0)
    model = model_class(config).to(dtype)
    model.save_pretrained(folder, **({"max_shard_size": "8KB"} if parts else {}))
    return folder

"""The large model that benchmarks are run with gives the logits of the small one that it is made of."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from shipped import ROOT
from tiny_models import ARCHITECTURES, EMBEDDED, by_grids
from transformers import AutoModelForCausalLM

spec = importlib.util.spec_from_file_location("widen_model", ROOT / "benchmarks" / "widen_model.py")
assert spec is not None
assert spec.loader is not None
widen_model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(widen_model)

PLACES = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e3}}
SHAPE = {
    "hidden_size": 192,
    "intermediate_size": 100,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
}


@pytest.mark.parametrize("size", [16, 8])
@pytest.mark.parametrize("width", [24, 48, 40])  # two copies, one, and one whose factor is rounded
@pytest.mark.parametrize("architecture", ["qwen3", "arcfold_qwen3"])
def test_it_has_the_logits_of_the_small_one(tmp_path: Path, architecture: str, width: int, size: int) -> None:
    config_class, model_class = ARCHITECTURES[architecture]
    torch.manual_seed(0)
    config = config_class(
        vocab_size=16,
        hidden_size=width,
        intermediate_size=56,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=size,
        tie_word_embeddings=False,
        initializer_range=0.35,
        **(by_grids(size) if architecture == "arcfold_qwen3" else PLACES),
    )
    small = model_class(config).eval()
    with torch.no_grad():
        for name, parameter in small.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
    small.save_pretrained(tmp_path / "small")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EMBEDDED / name, tmp_path / "small")
    widen_model.widen(tmp_path / "small", tmp_path / "large", SHAPE)
    large = AutoModelForCausalLM.from_pretrained(tmp_path / "large").eval()
    assert (large.config.hidden_size, len(large.model.layers)) == (192, 4)
    ids = torch.tensor([[11, 1, 2, 10, 3, 4, 10, 12, 5, 6, 10, 13, 11, 7, 10, 12, 8, 9, 10, 13]])
    with torch.inference_mode():
        expected, found = small(ids).logits, large(ids).logits
    assert expected.std() > 0.5
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

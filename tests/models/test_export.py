"""A merged model's folder, as transformers alone loads it."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from shipped import ROOT
from tiny_models import ARCHITECTURES, tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from arcfold.jobs.files import InputError
from arcfold.models.base import BaseModel
from arcfold.models.export import export_merged
from arcfold.models.lora import fresh_weights, make_spec, save_adapter

RECORD = {"name": "mine", "hash": "0123", "positions": None}
TARGETS = ("q_proj", "v_proj", "down_proj", "embed_tokens", "lm_head")


def base_of(folder: Path, architecture: str = "qwen3", tied: bool = False, **loading: str) -> BaseModel:
    tiny: Any = copy.deepcopy(tiny_model(architecture, vocabulary=16, tied=tied)).to(torch.bfloat16)
    tiny.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "resources" / "base-15m" / name, folder)
    return BaseModel(folder, BaseModel.open(folder).config, RECORD, **loading)


def adapter_on(model: Any, folder: Path, base: dict[str, Any] = RECORD) -> None:
    """An adapter whose weights change what the model says."""
    spec = make_spec(model, rank=3, alpha=5, rslora=True, targets=TARGETS)
    draws = torch.Generator().manual_seed(9)
    weights = {key: 0.3 * torch.randn(t.shape, generator=draws) for key, t in fresh_weights(model, spec, 4).items()}
    folder.mkdir()
    save_adapter(folder, spec, weights, base)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_transformers_computes_with_the_folder_what_peft_computes_with_base_and_adapter(
    architecture: str, tied: bool, tmp_path: Path
) -> None:
    from peft import PeftModel

    base = base_of(tmp_path / "base", architecture, tied)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    adapter_on(loaded, tmp_path / "adapter")
    export_merged(base, tmp_path / "adapter", tmp_path / "merged")
    merged, report = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not report["missing_keys"] | report["unexpected_keys"]
    # without a wish for another type: what a run in float32 computes with
    assert merged.dtype == torch.float32
    ids = torch.tensor([[11, 1, 2, 10, 12, 1, 2, 10]])
    adapted = PeftModel.from_pretrained(loaded, str(tmp_path / "adapter")).eval()
    expected = adapted(ids).logits
    torch.testing.assert_close(merged.eval()(ids).logits, expected, rtol=1e-4, atol=1e-4)
    tokenizers = [AutoTokenizer.from_pretrained(tmp_path / name) for name in ("base", "merged")]
    assert tokenizers[0]("I12\nO12\n").input_ids == tokenizers[1]("I12\nO12\n").input_ids
    assert {path.suffix for path in (tmp_path / "merged").iterdir()} == {".json", ".safetensors"}


def test_a_models_number_type_is_that_of_the_folder_and_the_bytes_are_the_same_again(tmp_path: Path) -> None:
    base = base_of(tmp_path / "base", dtype="bfloat16")
    adapter_on(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter")
    for name in ("first", "second"):
        export_merged(base, tmp_path / "adapter", tmp_path / name)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "first").dtype == torch.bfloat16
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    base = base_of(tmp_path / "base")
    adapter_on(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter", RECORD | {"hash": "99"})
    with pytest.raises(InputError, match="trained on the base mine with hash 99, expected mine with hash 0123"):
        export_merged(base, tmp_path / "adapter", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()

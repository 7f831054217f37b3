"""4-bit weights: what trains on them and what searches with them is one model; where bitsandbytes is installed."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from environments import needs_trl_on_a_cpu
from made_models import bigram_model, full_model
from shipped import ROOT
from trainings import samples_of, settings_of, train

from arcfold.jobs.files import InputError
from arcfold.models.base import BaseModel
from arcfold.models.merged import merge_with_peft
from arcfold.models.transformers import load_pretrained
from arcfold.models.vocabulary import cut_vocabulary

BASE = ROOT / "resources" / "base-15m"
CPU = torch.device("cpu")
RECORD = {"name": "base-15m", "hash": "0123"}
needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(96)[None] * 7 % 13).logits


@needs_bitsandbytes
@needs_trl_on_a_cpu
def test_an_adapter_trained_on_4_bits_means_the_same_merged_into_what_they_stand_for(tmp_path: Path) -> None:
    from peft import PeftModel

    quantized = load_pretrained(BaseModel.open(BASE, quantization="4bit"), CPU)
    assert quantized.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    full, coarse = logits(load_pretrained(BaseModel.open(BASE), CPU)), logits(quantized)
    assert 1e-3 < (full - coarse).abs().max() / full.abs().max() < 0.3
    report = train(
        tmp_path / "a", samples_of(16, vocabulary=14), settings_of(), quantized, backend="trl", base_record=RECORD
    )
    assert report["losses"][-1] < report["losses"][0]
    base = BaseModel.open(BASE, quantization="4bit")
    plain = PeftModel.from_pretrained(load_pretrained(base, CPU), str(tmp_path / "a")).eval()
    merged = merge_with_peft(load_pretrained(base, CPU), tmp_path / "a", RECORD)
    assert merged.model.layers[0].mlp.up_proj.weight.dtype == torch.float32
    torch.testing.assert_close(logits(merged), logits(plain), rtol=0, atol=1e-4 * float(full.abs().max()))


@needs_bitsandbytes
def test_a_model_that_is_stored_in_4_bits_is_loaded_so_without_a_word(tmp_path: Path) -> None:
    quantized = load_pretrained(BaseModel.open(BASE, quantization="4bit"), CPU)
    quantized.save_pretrained(tmp_path / "stored")
    (tmp_path / "stored" / "tokenizer.json").write_bytes((BASE / "tokenizer.json").read_bytes())
    stored = load_pretrained(BaseModel.open(tmp_path / "stored"), CPU)
    assert stored.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    torch.testing.assert_close(logits(stored), logits(quantized))


@needs_bitsandbytes
def test_the_vocabulary_of_a_model_that_is_stored_in_4_bits_can_be_cut(tmp_path: Path) -> None:
    """As the ARChitects publish theirs: linear layers in NF4, embedding and head in full."""
    source = full_model(tmp_path / "full", "llama", "sentencepiece")
    load_pretrained(BaseModel.open(source, quantization="4bit"), CPU).save_pretrained(tmp_path / "stored")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "stored" / name).write_bytes((source / name).read_bytes())
    cut_vocabulary(tmp_path / "stored", "architects", tmp_path / "cut")
    rows = json.loads((tmp_path / "cut" / "vocabulary.json").read_text())["tokens"]
    old = torch.tensor([row["old_id"] for row in rows])
    stored, cut = (load_pretrained(BaseModel.open(tmp_path / name), CPU) for name in ("stored", "cut"))
    assert cut.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    with torch.no_grad():
        before, after = stored(old[None]).logits[0][:, old], cut(torch.arange(len(rows))[None]).logits[0]
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_without_bitsandbytes_one_line_says_what_is_needed() -> None:
    with pytest.raises(InputError, match="4-bit weights need bitsandbytes, which is not installed, expected the env"):
        load_pretrained(BaseModel.open(BASE, quantization="4bit"), CPU)


def test_weights_quantized_in_another_way_are_refused(tmp_path: Path) -> None:
    folder = bigram_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(InputError, match="weights quantized with gptq, expected bitsandbytes' or the original ones"):
        load_pretrained(BaseModel.open(folder), CPU)

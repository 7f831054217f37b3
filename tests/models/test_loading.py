"""Models that a process keeps between jobs: the same memory, the weights as they were loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from made_models import bigram_model

from arcfold.models.base import BaseModel
from arcfold.models.folder import model_record
from arcfold.models.loading import keeping_models, model_loader

CPU = torch.device("cpu")


def opened(folder: Path, **options: str) -> BaseModel:
    return BaseModel.open(folder, model_record("m", folder, "embedded"), **options)


def test_a_kept_model_comes_back_as_it_was_loaded_in_the_same_memory(tmp_path: Path) -> None:
    base = opened(bigram_model(tmp_path / "m"), dtype="float32")
    fresh = {name: tensor.clone() for name, tensor in model_loader(base)(CPU).named_parameters()}
    with keeping_models():
        first = model_loader(base)(CPU)
        places = {name: tensor.data_ptr() for name, tensor in first.named_parameters()}
        with torch.no_grad():
            for tensor in first.parameters():
                tensor += 1
        second = model_loader(base)(CPU)
        assert {name: tensor.data_ptr() for name, tensor in second.named_parameters()} == places
        assert all(torch.equal(tensor, fresh[name]) for name, tensor in second.named_parameters())
        assert second.lm_head.weight is not second.model.embed_tokens.weight
    assert model_loader(base)(CPU) is not second


def test_another_model_or_number_type_is_another_load(tmp_path: Path) -> None:
    folder = bigram_model(tmp_path / "m")
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    weights = model_loader(opened(folder, dtype="float32"))(CPU)
    weights.lm_head.weight.data += 1
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in weights.tensors().items()}, other / "model.safetensors")
    with keeping_models():
        one = model_loader(opened(folder, dtype="float32"))(CPU)
        changed = model_loader(opened(other, dtype="float32"))(CPU)
        assert torch.equal(changed.lm_head.weight, one.lm_head.weight + 1)
        assert model_loader(opened(folder, dtype="bfloat16"))(CPU).lm_head.weight.dtype == torch.bfloat16


def test_without_keeping_every_load_is_anew(tmp_path: Path) -> None:
    base = opened(bigram_model(tmp_path / "m"))
    load = model_loader(base)
    assert load(CPU) is not load(CPU)

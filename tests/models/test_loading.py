"""Models that a process keeps between jobs: the same memory, the weights as they were loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from environments import needs_gpu
from made_models import bigram_model

from arcfold.models.base import BaseModel
from arcfold.models.folder import model_record
from arcfold.models.loading import KeptModel, keeping_models, model_loader
from arcfold.models.plain import load_plain

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


@needs_gpu
def test_large_weights_are_kept_in_the_hosts_memory_and_come_back(tmp_path: Path) -> None:
    base = opened(bigram_model(tmp_path / "m"), dtype="float32")
    model = load_plain(base, torch.device("cuda"))
    kept = KeptModel(model, device_share=0.0)
    fresh = {name: tensor.clone() for name, tensor in model.named_parameters()}
    assert {tensor.device.type for tensor in kept.loaded.values()} == {"cpu"}
    with torch.no_grad():
        for tensor in model.parameters():
            tensor += 1
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in kept.restored().named_parameters())
    assert {tensor.device.type for tensor in KeptModel(model).loaded.values()} == {"cuda"}

"""Adapters: what is trained, and folders that PEFT and this project read alike."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import ARCHITECTURES, tiny_model

from arcfold.jobs.files import InputError
from arcfold.models.lora import (
    BASE,
    CONFIG,
    FILES,
    WEIGHTS,
    LoraSpec,
    fresh_weights,
    load_adapter,
    make_spec,
    save_adapter,
)

BASE_RECORD = {"name": "tiny", "hash": "0123"}
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ALL = (*LINEAR, "embed_tokens", "lm_head")


def model_of(architecture: str = "qwen3", tied: bool = False) -> Any:
    return tiny_model(architecture, seed=11, vocabulary=16, tied=tied)


def random_adapter(model: Any, targets: tuple[str, ...] = ALL) -> tuple[LoraSpec, dict[str, torch.Tensor]]:
    spec = make_spec(model, rank=3, alpha=5, rslora=True, targets=targets)
    weights = fresh_weights(model, spec, seed=4)
    generator = torch.Generator().manual_seed(9)
    return spec, {key: 0.3 * torch.randn(tensor.shape, generator=generator) for key, tensor in weights.items()}


def saved(folder: Path, model: Any, targets: tuple[str, ...] = ALL) -> tuple[LoraSpec, dict[str, torch.Tensor]]:
    spec, weights = random_adapter(model, targets)
    folder.mkdir()
    save_adapter(folder, spec, weights, BASE_RECORD)
    return spec, weights


def merged_by_hand(model: Any, spec: LoraSpec, weights: dict[str, torch.Tensor]) -> Any:
    """A copy of the model whose matrices are W + scale · B A, or the adapter's own."""
    model = copy.deepcopy(model)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for key, tensor in weights.items():
            path = key.removeprefix("base_model.model.")
            if path.endswith(".lora_A.weight"):
                b = weights[key.replace("lora_A", "lora_B")]
                parameters[path.replace(".lora_A", "")] += spec.scale * b @ tensor
            elif ".lora_" not in path:
                parameters[path].copy_(tensor)
    return model


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_plain_peft_gives_the_logits_of_merged_matrices(architecture: str, tied: bool, tmp_path: Path) -> None:
    from peft import PeftModel

    model = model_of(architecture, tied)
    spec, weights = saved(tmp_path / "adapter", model)
    ids = torch.arange(16)[None]
    expected = merged_by_hand(model, spec, weights)(ids).logits
    adapted = PeftModel.from_pretrained(copy.deepcopy(model), tmp_path / "adapter")
    torch.testing.assert_close(adapted(ids).logits, expected, rtol=1e-4, atol=1e-4)
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(merged(ids).logits, expected, rtol=1e-4, atol=1e-4)
    assert (merged.lm_head.weight is merged.model.embed_tokens.weight) == tied


@pytest.mark.parametrize("rslora", [False, True])
def test_scale(rslora: bool) -> None:
    spec = make_spec(model_of(), rank=4, alpha=6, rslora=rslora, targets=LINEAR)
    assert spec.scale == (3 if rslora else 1.5)


def test_either_name_stands_for_the_one_matrix_of_tied_embeddings() -> None:
    for name in ("embed_tokens", "lm_head"):
        spec = make_spec(model_of(tied=True), rank=1, alpha=1, rslora=False, targets=("q_proj", name))
        assert spec.full == ("embed_tokens",)
        assert spec.peft_config()["ensure_weight_tying"] is True
    untied = make_spec(model_of(), rank=1, alpha=1, rslora=False, targets=("q_proj", "lm_head"))
    assert untied.full == ("lm_head",)


def test_fresh_weights_change_nothing_and_depend_on_the_seed_alone() -> None:
    model = model_of()
    spec = make_spec(model, rank=4, alpha=4, rslora=True, targets=ALL)
    first, again, other = (fresh_weights(model, spec, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(*(w["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"] for w in (first, other)))
    for key, tensor in first.items():
        if "lora_A" in key:
            assert tensor.abs().max() <= 1 / math.sqrt(tensor.shape[1])
            assert tensor.abs().max() > 0.8 / math.sqrt(tensor.shape[1])
        elif "lora_B" in key:
            assert not tensor.any()
    ids = torch.arange(16)[None]
    torch.testing.assert_close(merged_by_hand(model, spec, first)(ids).logits, model(ids).logits)


def test_the_folder_has_three_files_and_no_path(tmp_path: Path) -> None:
    saved(tmp_path / "adapter", model_of())
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == sorted(FILES)
    config = json.loads((tmp_path / "adapter" / CONFIG).read_text())
    assert config["base_model_name_or_path"] == "tiny@sha256:0123"
    assert config["modules_to_save"] == ["embed_tokens", "lm_head"]
    assert str(tmp_path) not in "".join((tmp_path / "adapter" / name).read_text() for name in (CONFIG, BASE))
    assert json.loads((tmp_path / "adapter" / BASE).read_text()) == BASE_RECORD


def test_peft_loads_an_adapter_on_a_model_of_the_hub_by_its_folder_from_a_filled_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants
    from peft import AutoPeftModelForCausalLM

    model, revision = model_of(), "0123456789abcdef" * 2 + "01234567"
    # the hub's cache, as huggingface_hub fills it; an older commit of the same model is there too
    cached = tmp_path / "hub" / "models--organisation--tiny"
    model.save_pretrained(cached / "snapshots" / revision)
    model_of(tied=True).save_pretrained(cached / "snapshots" / ("f" * 40))
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("f" * 40)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    spec, weights = random_adapter(model)
    (tmp_path / "adapter").mkdir()
    base = {**BASE_RECORD, "hub": "organisation/tiny", "revision": revision}
    save_adapter(tmp_path / "adapter", spec, weights, base)
    loaded = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter", cache_dir=tmp_path / "hub").eval()
    ids = torch.arange(16)[None]
    torch.testing.assert_close(loaded(ids).logits, merged_by_hand(model, spec, weights)(ids).logits)
    assert json.loads((tmp_path / "adapter" / BASE).read_text()) == base


def test_peft_asks_no_hub_for_the_name_of_a_local_base(tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM, PeftModel

    model = model_of()
    spec, weights = saved(tmp_path / "adapter", model)
    with pytest.raises(OSError, match="tiny@sha256:0123"):
        AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    ids = torch.arange(16)[None]
    expected = merged_by_hand(model, spec, weights)(ids).logits
    loaded = PeftModel.from_pretrained(copy.deepcopy(model), tmp_path / "adapter").eval()
    torch.testing.assert_close(loaded(ids).logits, expected)


@pytest.mark.parametrize("tied", [False, True])
def test_what_was_saved_is_loaded(tied: bool, tmp_path: Path) -> None:
    model = model_of(tied=tied)
    spec, weights = saved(tmp_path / "adapter", model)
    loaded_spec, loaded = load_adapter(tmp_path / "adapter", model, BASE_RECORD)
    assert loaded_spec == spec
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)


def test_an_adapter_that_peft_saved_is_loaded(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = model_of("llama")
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "up_proj"], modules_to_save=["lm_head"])
    get_peft_model(copy.deepcopy(model), config).save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / BASE).write_text(json.dumps(BASE_RECORD))
    spec, weights = load_adapter(tmp_path / "adapter", model, BASE_RECORD)
    assert (spec.rank, spec.alpha, set(spec.linear), spec.full) == (2, 4, {"q_proj", "up_proj"}, ("lm_head",))
    assert len(weights) == 2 * 2 * 2 + 1


def test_another_base_is_refused_with_one_line(tmp_path: Path) -> None:
    model = model_of()
    saved(tmp_path / "adapter", model)
    with pytest.raises(InputError) as error:
        load_adapter(tmp_path / "adapter", model, {"name": "other", "hash": "ffff"})
    assert "0123" in str(error.value)
    assert "ffff" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
        ({"target_modules": "q_proj|k_proj"}, "target_modules"),
        ({"target_modules": ["q_proj", "lm_head"]}, "modules_to_save"),
        ({"target_modules": ["c_attn"]}, "c_attn"),
        ({"r": 7}, "shape"),
        ({"modules_to_save": None}, "not expected"),
    ],
)
def test_a_configuration_that_no_training_has_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    model = model_of()
    saved(tmp_path / "adapter", model)
    path = tmp_path / "adapter" / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        load_adapter(tmp_path / "adapter", model, BASE_RECORD)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_broken_file_is_refused(name: str, tmp_path: Path) -> None:
    model = model_of()
    saved(tmp_path / "adapter", model)
    path = tmp_path / "adapter" / name
    path.write_bytes(b"{")
    with pytest.raises(InputError, match=re.escape(name)):
        load_adapter(tmp_path / "adapter", model, BASE_RECORD)
    path.unlink()
    with pytest.raises(InputError, match=re.escape(name)):
        load_adapter(tmp_path / "adapter", model, BASE_RECORD)


def test_wrong_targets_are_refused() -> None:
    with pytest.raises(InputError, match="c_attn"):
        make_spec(model_of(), rank=1, alpha=1, rslora=False, targets=("c_attn",))
    with pytest.raises(InputError, match="empty"):
        make_spec(model_of(), rank=1, alpha=1, rslora=False, targets=())
    with pytest.raises(InputError, match="at least one layer for a LoRA"):
        make_spec(model_of(), rank=1, alpha=1, rslora=False, targets=("lm_head",))
    with pytest.raises(InputError, match="rank"):
        make_spec(model_of(), rank=0, alpha=1, rslora=False, targets=LINEAR)


def test_names_of_the_files() -> None:
    assert FILES == (CONFIG, WEIGHTS, BASE) == ("adapter_config.json", "adapter_model.safetensors", "base.json")

"""What an architecture's layers are called, against models that transformers makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from shipped import ROOT
from tiny_models import by_grids
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from arcfold.jobs.files import InputError
from arcfold.models.architectures import EMBEDDINGS, LINEAR_LAYERS, check_backend, check_targets
from arcfold.models.positions import MODEL_TYPE


@pytest.mark.parametrize("kind", LINEAR_LAYERS)
def test_the_layers_of_an_architecture_are_those_that_transformers_makes(kind: str) -> None:
    small: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    if kind == MODEL_TYPE:
        small |= by_grids(8, {"cells": [0], "row_end": [1], "opening": [2]})
    config = AutoConfig.for_model(kind, vocab_size=8, num_key_value_heads=1, head_dim=8, pad_token_id=None, **small)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    found = {name.rsplit(".", 1)[-1] for name, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head}
    assert found == set(LINEAR_LAYERS[kind])


def test_targets_are_checked_by_the_models_config(tmp_path: Path) -> None:
    embedded = ROOT / "resources" / "base-15m"
    check_targets(["q_proj", "down_proj", *EMBEDDINGS], embedded)
    with pytest.raises(
        InputError, match=r"'q_prj' is no linear layer of .* \(model type arcfold_qwen3\) \(did you mean q_proj\?\), ex"
    ):
        check_targets(["q_proj", "q_prj"], embedded)
    with pytest.raises(InputError, match="only embed_tokens, lm_head, expected at least one layer for a LoRA"):
        check_targets(EMBEDDINGS, embedded)


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{", json.dumps({"model_type": "new"}), json.dumps({"model_type": 3})]
)
def test_a_model_of_another_kind_or_none_is_left_to_who_reads_it(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    check_targets(["anything"], tmp_path)


def test_unsloth_is_refused_for_positions_by_grids_alone(tmp_path: Path) -> None:
    for kind, backend in ((MODEL_TYPE, "packed"), (MODEL_TYPE, "auto"), ("qwen3", "unsloth")):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}), encoding="utf-8")
        check_backend(backend, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": MODEL_TYPE}), encoding="utf-8")
    with pytest.raises(InputError, match="unsloth computes no positions by grids"):
        check_backend("unsloth", tmp_path)

"""What an architecture's layers are called, against models that transformers makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from shipped import ROOT
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from arcfold.jobs.files import InputError
from arcfold.models.architectures import EMBEDDINGS, LINEAR_LAYERS, check_targets


@pytest.mark.parametrize("kind", LINEAR_LAYERS)
def test_the_layers_of_an_architecture_are_those_that_transformers_makes(kind: str) -> None:
    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
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
        InputError, match=r"'q_prj' is no linear layer of .*, a qwen3 model \(did you mean q_proj\?\), ex"
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

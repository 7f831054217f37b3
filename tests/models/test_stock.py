"""A stock Qwen3 in the shapes of one of ours: what stock transformers loads, from a seed."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import make_stock_model
import torch
from shipped import ROOT
from tiny_models import EMBEDDED, tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from arcfold.jobs.files import hash_of_files, read_json
from arcfold.models.folder import is_ours, model_files
from arcfold.models.positions import MODEL_TYPE
from arcfold.models.stock import write_stock_model


def ours(folder: Path) -> Path:
    copy.deepcopy(tiny_model(MODEL_TYPE, vocabulary=16)).to(torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "resources" / "base-15m" / name, folder)
    return folder


def test_it_is_a_qwen3_of_the_same_shapes_and_number_type(tmp_path: Path) -> None:
    source = ours(tmp_path / "ours")
    main = {"name": "x-stock", "source": str(source), "text_format": "embedded", "seed": 0}
    make_stock_model.main(**main, folder=str(tmp_path / "stock"), record=str(tmp_path / "stock.json"))
    mine = AutoModelForCausalLM.from_pretrained(source)
    stock, report = AutoModelForCausalLM.from_pretrained(tmp_path / "stock", output_loading_info=True)
    assert type(stock).__name__ == "Qwen3ForCausalLM"
    assert not report["missing_keys"] | report["unexpected_keys"]
    assert stock.dtype == mine.dtype == torch.bfloat16
    shapes = [{name: tuple(value.shape) for name, value in model.state_dict().items()} for model in (mine, stock)]
    assert shapes[0] == shapes[1]
    for key in ("rope_theta", "rope_type"):
        assert stock.config.rope_parameters[key] == mine.config.rope_parameters[key]
    assert AutoTokenizer.from_pretrained(tmp_path / "stock")("I12").input_ids == [11, 1, 2]
    assert read_json(tmp_path / "stock.json", "model")["architecture"] == "Qwen3ForCausalLM"
    assert [is_ours(folder) for folder in (source, tmp_path / "stock", EMBEDDED)] == [True, False, True]


def test_a_seed_gives_one_model(tmp_path: Path) -> None:
    source = ours(tmp_path / "ours")
    hashes = []
    for number, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(number)
        write_stock_model(source, folder, seed)
        hashes.append(hash_of_files(folder, model_files(folder)))
    assert hashes[0] == hashes[1] != hashes[2]

"""The loader without transformers against transformers' own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from shipped import ROOT
from tiny_models import ARCHITECTURES, EMBEDDED, tiny_model
from trainings import ALL, samples_of, settings_of, train

import arcfold
from arcfold.jobs.files import InputError
from arcfold.models.base import BaseModel
from arcfold.models.loading import model_loader
from arcfold.models.lora import WEIGHTS, fresh_weights, make_spec, save_adapter
from arcfold.models.merged import merge_adapter, merge_with_peft
from arcfold.models.plain import is_plain, load_plain
from arcfold.models.positions import MODEL_TYPE
from arcfold.models.transformers import load_pretrained
from arcfold.search.rescoring import reply_log_probs
from arcfold.search.search import Query, search

CPU = torch.device("cpu")
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
ROPES = {"default": {"rope_type": "default", "rope_theta": 300.0}, "llama3": LLAMA3}
ROPES["linear"] = {"rope_type": "linear", "rope_theta": 300.0, "factor": 3.0}


def folder_of(folder: Path, architecture: str, *, change: dict[str, Any] | None = None, **options: Any) -> Path:
    """A model as transformers writes it, with some keys of its config.json changed; None leaves one out."""
    tiny_model(architecture, seed=30, vocabulary=16, kv_heads=2, **options).save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | (change or {})
    config = {key: value for key, value in config.items() if value is not None or key == "sliding_window"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_same_names_and_numbers_as_transformers(architecture: str, tied: bool, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", architecture, tied=tied)
    assert is_plain(BaseModel.open(folder))
    plain, full = load_plain(BaseModel.open(folder), CPU), load_pretrained(BaseModel.open(folder), CPU)
    assert (plain.lm_head.weight is plain.model.embed_tokens.weight) is tied
    theirs = dict(full.named_parameters())
    ours = dict(plain.named_parameters())
    assert list(ours) == list(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name])
    spec = make_spec(plain, rank=2, alpha=2, rslora=True, targets=ALL)
    assert spec == make_spec(full, rank=2, alpha=2, rslora=True, targets=ALL)
    fresh = [fresh_weights(model, spec, seed=1) for model in (plain, full)]
    assert list(fresh[0]) == list(fresh[1])
    assert all(torch.equal(fresh[0][key], fresh[1][key]) for key in fresh[0])


@pytest.mark.parametrize("rope", ROPES)
def test_same_positions_as_transformers(rope: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", "llama", change={"rope_parameters": ROPES[rope]})
    assert is_plain(BaseModel.open(folder))
    plain, full = load_plain(BaseModel.open(folder), CPU), load_pretrained(BaseModel.open(folder), CPU)
    positions = torch.arange(50)[None]
    for ours, theirs in zip(
        plain.model.rotary_emb(torch.zeros(1), positions), full.model.rotary_emb(torch.zeros(1), positions), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6)


def test_an_adapter_has_the_same_bytes(tmp_path: Path) -> None:
    samples, settings = samples_of(5), settings_of()
    for name, load in (("plain", load_plain), ("full", load_pretrained)):
        train(tmp_path / name, samples, settings, load(BaseModel.open(EMBEDDED), CPU), backend="packed")
    plain, full = ((tmp_path / name / WEIGHTS).read_bytes() for name in ("plain", "full"))
    assert plain == full


@pytest.mark.parametrize(
    ("architecture", "change"),
    [
        ("llama", {"model_type": "gpt2"}),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}),
        ("llama", {"rope_parameters": {"rope_type": "default"}}),
        ("llama", {"partial_rotary_factor": 0.5}),
        ("llama", {"hidden_act": "gelu"}),
        ("qwen3", {"head_dim": None}),
        ("qwen2", {"num_hidden_layers": 3}),
        ("qwen2", {"quantization_config": {"quant_method": "bitsandbytes"}}),
        ("mistral", {"tie_word_embeddings": True}),
    ],
)
def test_what_is_not_plain_is_left_to_transformers(architecture: str, change: dict[str, Any], tmp_path: Path) -> None:
    assert not is_plain(BaseModel.open(folder_of(tmp_path / "m", architecture, change=change)))


@pytest.mark.parametrize(
    ("architecture", "change", "said"),
    [
        ("qwen3", {"model_type": "gemma", "architectures": ["GemmaForCausalLM"]}, r"weights for .*k_norm.*\(gemma\)"),
        ("qwen3", {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, r"weights for .*k_norm.*\(llama\)"),
        ("qwen2", {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, r"weights for .*bias.*\(llama\)"),
        ("llama", {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}, r"no weights for .*bias"),
    ],
)
def test_weights_of_another_architecture_are_refused(
    architecture: str, change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    base = BaseModel.open(folder_of(tmp_path / "m", architecture, change=change))
    assert not is_plain(base)
    with pytest.raises(InputError, match=said) as error:
        load_pretrained(base, CPU)
    assert "\n" not in str(error.value)


def lively_adapter(folder: Path, base: Path, rank: int) -> dict[str, str]:
    """An adapter with random numbers in every matrix; the record of its base."""
    model = load_plain(BaseModel.open(base), CPU)
    spec = make_spec(model, rank=rank, alpha=3, rslora=True, targets=ALL)
    draws = torch.Generator().manual_seed(5)
    weights = {
        key: tensor + 0.2 * torch.randn(tensor.shape, generator=draws)
        for key, tensor in fresh_weights(model, spec, seed=1).items()
    }
    folder.mkdir()
    record = {"name": "b", "hash": "h"}
    save_adapter(folder, spec, weights, record)
    return record


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_adapter_is_merged_as_peft_merges_it(architecture: str, tied: bool, dtype: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", architecture, tied=tied)
    record = lively_adapter(tmp_path / "a", folder, rank=3)
    plain = merge_adapter(model_loader(BaseModel.open(folder, dtype=dtype))(CPU), tmp_path / "a", record)
    full = merge_with_peft(load_pretrained(BaseModel.open(folder, dtype=dtype), CPU), tmp_path / "a", record)
    theirs = dict(full.named_parameters())
    for name, parameter in plain.named_parameters():
        assert parameter.dtype == getattr(torch, dtype)
        assert torch.equal(parameter, theirs[name].to(parameter.dtype)), name
    assert not any(parameter.requires_grad for parameter in plain.parameters())


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", "qwen3")
    lively_adapter(tmp_path / "a", folder, rank=2)
    with pytest.raises(InputError, match="trained on the base b with hash h, expected c with hash g"):
        merge_adapter(load_plain(BaseModel.open(folder), CPU), tmp_path / "a", {"name": "c", "hash": "g"})


@pytest.mark.parametrize(
    ("architecture", "engine"),
    [
        pytest.param(name, engine, marks=[pytest.mark.slow] * (engine == "gpu" and name not in ("qwen3", MODEL_TYPE)))
        for name in ARCHITECTURES
        for engine in ("cpu", "gpu")
    ],
)
def test_search_and_rescoring_give_what_they_give_with_transformers(
    architecture: str, engine: str, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "m", architecture, change={"use_sliding_window": False})
    plain, full = load_plain(BaseModel.open(folder), CPU), load_pretrained(BaseModel.open(folder), CPU)
    draws = random.Random(3)
    prompts = [tuple(draws.choices(range(16), k=size)) for size in (1, 9, 40)]
    found = [
        search(model, [Query(prompt, 4) for prompt in prompts], end=2, min_prob=0.002, engine=engine)
        for model in (plain, full)
    ]
    assert sum(len(one.replies) for one in found[0]) > 5
    for ours, theirs in zip(*found, strict=True):
        assert [reply.tokens for reply in ours.replies] == [reply.tokens for reply in theirs.replies]
        assert [reply.log_prob for reply in ours.replies] == pytest.approx(
            [reply.log_prob for reply in theirs.replies], abs=1e-4
        )
    questions = [(prompt, [draws.choices(range(16), k=size) for size in (1, 7, 12)]) for prompt in prompts]
    scores = [reply_log_probs(model, questions, engine=engine) for model in (plain, full)]
    for ours, theirs in zip(*scores, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_a_window_is_refused_without_transformers_too(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", "mistral", sliding_window=8)
    with pytest.raises(InputError, match="sliding_window is 8"):
        search(load_plain(BaseModel.open(folder), CPU), [Query((1, 2, 3), 9)], end=2, min_prob=0.1)


SLOW = """
slow = {"transformers", "peft", "trl", "datasets", "sympy", "torch._dynamo", "torch._inductor"}
print(sorted(slow & sys.modules.keys()))
"""


def test_search_and_rescoring_import_nothing_slow(tmp_path: Path) -> None:
    record = lively_adapter(tmp_path / "a", EMBEDDED, rank=2)
    code = f"""
import sys
sys.path[:0] = [{str(Path(arcfold.__file__).parents[1])!r}]
import torch
from arcfold.models.base import BaseModel
from arcfold.models.loading import model_loader
from arcfold.models.merged import merge_adapter
from arcfold.search.rescoring import reply_log_probs
from arcfold.search.search import Query, search
model = model_loader(BaseModel.open({str(EMBEDDED)!r}))(torch.device("cpu"))
model = merge_adapter(model, {str(tmp_path / "a")!r}, {record!r})
for engine in ("cpu", "gpu"):
    search(model, [Query((1, 2, 3), 4)], end=13, min_prob=0.5, engine=engine)
    reply_log_probs(model, [((1, 2, 3), [(4, 5)])], engine=engine)
{SLOW}"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr[-2000:]


def test_training_imports_nothing_slow(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path[:0] = [{str(Path(arcfold.__file__).parents[1])!r}, {str(ROOT / "tests/helpers")!r}]
import torch
from pathlib import Path
from arcfold.models.base import BaseModel
from arcfold.models.plain import is_plain, load_plain
from arcfold.training.job import Sample, TrainingSettings
from arcfold.training.train import train_adapter
assert is_plain(BaseModel.open({str(EMBEDDED)!r}))
model = load_plain(BaseModel.open({str(EMBEDDED)!r}), torch.device("cpu"))
settings = TrainingSettings(2, 2, True, ("q_proj", "lm_head"), 1e-3, 1e-3, warmup_steps=0)
train_adapter(model, [Sample((1, 2, 3), (-100, 2, 3))], settings, folder=Path({str(tmp_path / "a")!r}),
              checkpoints=None, base_record={{"name": "b", "hash": "h"}}, backend="packed", progress=False)
{SLOW}"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr[-2000:]

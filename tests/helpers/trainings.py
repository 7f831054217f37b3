"""Small trainings: samples, settings and models that the tests of training share."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from environments import needs_trl_on_a_cpu
from tiny_models import tiny_model

from arcfold.models.lora import WEIGHTS
from arcfold.training.job import Sample, TrainingSettings
from arcfold.training.train import train_adapter

BASE_RECORD = {"name": "tiny", "hash": "0123"}
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ALL = (*LINEAR, "embed_tokens", "lm_head")
BOTH = ["trl", "packed"]  # unsloth needs a process of its own: test_training_unsloth
TRL = pytest.param("trl", marks=needs_trl_on_a_cpu)
both_backends = pytest.mark.parametrize("backend", [TRL, "packed"])


def settings_of(**changes: Any) -> TrainingSettings:
    plain = {
        "rank": 4,
        "alpha": 4,
        "rslora": True,
        "targets": ALL,
        "learning_rate": 1e-3,
        "embedding_learning_rate": 1e-4,
        "warmup_steps": 0,
        "batch": 2,
        "accumulation": 2,
        "seed": 3,
        "threads": 1,
    }
    return TrainingSettings(**plain | changes)  # type: ignore[arg-type]


def samples_of(count: int, seed: int = 0, longest: int = 24, vocabulary: int = 16) -> list[Sample]:
    """Random tokens of several lengths, a loss on about half of them."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        length = int(torch.randint(4, longest + 1, (), generator=generator))
        ids = torch.randint(0, vocabulary, (length,), generator=generator).tolist()
        scored = torch.rand(length, generator=generator) < 0.5
        scored[-1] = True
        made.append(Sample(tuple(ids), tuple(t if s else -100 for t, s in zip(ids, scored.tolist(), strict=True))))
    return made


def model_of(tied: bool = False) -> Any:
    return tiny_model("qwen3", seed=12, vocabulary=16, tied=tied)


def train(folder: Path, samples: list[Sample], settings: TrainingSettings, model: Any = None, **more: Any) -> Any:
    """train_adapter with the arguments that most tests share."""
    more = {"checkpoints": None, "base_record": BASE_RECORD, "progress": False} | more
    return train_adapter(model if model is not None else model_of(), samples, settings, folder=folder, **more)


def bytes_of(folder: Path) -> str:
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def plain_loss(model: Any, samples: list[Sample]) -> float:
    """The mean cross-entropy of the label tokens, one sample at a time."""
    total = count = 0.0
    for sample in samples:
        logits = model(torch.from_numpy(sample.input_ids)[None]).logits[0, :-1]
        labels = torch.from_numpy(sample.labels)[1:].long()
        total += F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum").item()
        count += (labels != -100).sum().item()
    return total / count

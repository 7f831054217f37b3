"""Every reader of files, with a small input that it takes: what tests of malformed files and fuzzers start from.

Each writes its files into a folder and reads them as the pipeline does. `tests/malformed` breaks one file in one way
and asks for the line, the fuzzers break any of them in any way and ask for an InputError or none.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from shipped import ROOT

from arcfold.arc.candidate_files import read_candidates
from arcfold.arc.folds import read_fold
from arcfold.arc.tasks import read_kaggle, read_tasks
from arcfold.comparisons.compare import compare
from arcfold.comparisons.scores import read_score
from arcfold.comparisons.table import as_csv
from arcfold.jobs.provenance import hash_inputs, read_provenance
from arcfold.jobs.request import read_request
from arcfold.models.base import BaseModel
from arcfold.models.folder import model_record
from arcfold.models.vocabulary import cut_vocabulary
from arcfold.planning import budget as budgets
from arcfold.planning.rungs import rungs_of
from arcfold.planning.summary import said_of
from arcfold.pretraining.corpora import read_archive
from arcfold.pretraining.shards import pack, read_shard, unpack, write_shard
from arcfold.runs.archive import open_archive, write_archive
from arcfold.runs.joining import found_by_others, joined, read_entries
from arcfold.runs.predictions import read_rescored, read_submission
from arcfold.runs.timeline import draw_timeline, held_by_jobs, summary

PAIR = {"input": [[1, 2], [3, 4]], "output": [[5]]}
TASK: dict[str, Any] = {"train": [PAIR, PAIR], "test": [{"input": [[6]], "output": [[7]]}, {"input": [[8, 8]]}]}
TASKS: dict[str, Any] = {"a": TASK, "b": {"train": [PAIR], "test": [{"input": [[1]], "output": [[0]]}]}}
SOLUTIONS: dict[str, Any] = {"a": [[[7]], [[9, 9]]], "b": [[[0]]]}
FOLDS = {"seed": 0, "folds": [["a"], ["b"]]}
VIEW = {"symmetry": "identity", "colours": list(range(10)), "order": [0, 1]}
PROVENANCE = {
    "started": "2026-11-27T13:00:00.000+00:00",
    "seconds": {"import": 1.0, "wait for a device": 0.5, "total": 3.25},
    "device": {"kind": "cpu"},
    "peak_host_mib": 100,
}
FOUND = {"grid": [[1, 2], [3, 4]], "found": [{"view": 1, "log_prob": -0.5}]}
COUNTS = {"dropped": 0, "prompt_tokens": [20, 20], "margin": 0.25}
CANDIDATES: dict[str, Any] = {
    "fold": 0,
    "min_prob": 0.1,
    "tasks": {
        "a": {"views": [VIEW, VIEW], "test": [{"candidates": [FOUND], **COUNTS}, {"candidates": [], **COUNTS}]},
    },
    "provenance": PROVENANCE,
}
RESCORED: dict[str, Any] = {
    "fold": 0,
    "tasks": {
        "a": {
            "scoring_views": [VIEW, VIEW],
            "test": [{"candidates": [{**FOUND, "scored": [-1.0, -2.0]}]}, {"candidates": []}],
        },
        "b": {"scoring_views": [{**VIEW, "order": [0]}], "test": [{"candidates": []}]},
    },
    "provenance": PROVENANCE,
}
ATTEMPTS = {"attempt_1": [[7]], "attempt_2": [[1, 2]]}
SUBMISSION = {"a": [ATTEMPTS, ATTEMPTS], "b": [ATTEMPTS]}
SCORE: dict[str, Any] = {
    "score": 75.0,
    "score_outputs": 66.6667,
    "oracle": 100.0,
    "n_tasks": 2,
    "n_outputs": 3,
    "n_fallback": 0,
    "complete": True,
    "data": {"name": "mine", "source": "mine.json", "sha256": "0" * 64, "n_outputs": 3},
    "scorer": "5" * 64,
    "code": "mixed",
    "steps": {"adapters": "results/store/adapters/mine/1folds-seed0/0123456789ab"},
    "leakage": [],
    "failed": [],
    "folds": [{"fold": 0, "first_loss": 2.0, "last_loss": 1.0, "tokens": 100}],
    "misses": {
        "n_outputs": 3,
        "n_correct": 2,
        "reasons": {"ranked_later": {"n": 1, "percent": 33.3333}},
        "by_cells": [{"cells": [1, 25], "n_outputs": 3, "n_correct": 2, "reasons": {}}],
    },
    "tasks": {
        name: {
            "score": score,
            "outputs": [
                {"correct": right, "rank": 1 if right else 3, "n_candidates": 3, "source": "candidates"}
                | ({} if right else {"reason": "ranked_later"})
                for right in rights
            ],
        }
        for name, score, rights in (("a", 0.5, (True, False)), ("b", 1.0, (True,)))
    },
    "provenance": {
        "run": {
            "name": "x",
            "dataset": "mine",
            "folds": 1,
            "seed": 0,
            "model": "m",
            "settings": {"training": {"rank": 2}},
        },
        "model": {"name": "m", "hash": "5" * 64},
        "git_commit": None,
        "versions": {"python": "3.11.7"},
        "seconds_of_folds": {"train_adapter": [{"wait for a device": 0.5, "total": 3.25}]},
        "devices_of_folds": {"train_adapter": [{"kind": "cpu"}]},
        "peak_host_mib": {"train_adapter": 100},
    },
}
JOB: dict[str, Any] = {
    "rule": "make_folds",
    "script": "make_folds.py",
    "input": {"tasks": "tasks.json"},
    "output": ["folds.json"],
    "params": {"split": [2, 0], "settings": {"split": "balanced"}},
    "wildcards": {"dataset": "mine"},
    "resources": {},
    "threads": 1,
    "config": {},
    "log": ["folds.log"],
}
SETTINGS_IN_TIME = {"training": {"epochs": 2, "views": 2}, "search": {"views": 2}, "rescoring": {"views": 2}}
RUNGS = rungs_of(SETTINGS_IN_TIME, [{"training": {"epochs": 0.5}}])
RUN_IN_TIME: dict[str, Any] = {
    "name": "2folds",
    "dataset": "mine",
    "folds": 2,
    "seed": 0,
    "model": "m",
    "settings": {**SETTINGS_IN_TIME, "selection": {"method": "product_of_experts"}},
}
BUDGET: dict[str, Any] = {
    **budgets.new_budget(RUN_IN_TIME, RUNGS, 1, {"began": 0.0, "deadline": 60.0, "stop": 50.0}),
    "predicted": [[[3.0, 1.0, 1.0]] * len(RUNGS)] * 2,
    "measured_rates": True,
    "folds": {
        "0": {
            "steps": {
                step: {"rung": 1, "cut": {}, "predicted": 1.0, "seconds": 1.5, "measured": True, "store": "there"}
                for step in budgets.STEPS
            }
        },
        "1": {"steps": {"training": {"rung": 0, "cut": {}, "predicted": 2.0}}, "dropped": "3 s are left"},
    },
}
MODEL_CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "vocab_size": 16,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "eos_token_id": 13,
}
BASE = {"name": "small", "hash": "5" * 64}
ADAPTER_CONFIG = {
    "peft_type": "LORA",
    "r": 2,
    "lora_alpha": 4,
    "lora_dropout": 0.0,
    "use_rslora": True,
    "bias": "none",
    "target_modules": ["q_proj"],
    "modules_to_save": None,
}


@dataclass(frozen=True)
class Reader:
    """A reader, and the files that it starts from."""

    write: Callable[[Path], None]
    """Writes the files into a folder; they are valid."""
    read: Callable[[Path], Any]
    """Reads them, as the pipeline does."""
    files: tuple[str, ...]
    """What may be broken, by its path in the folder."""


def _json(**contents: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name, content in contents.items():
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")

    return write


def model_tensors(keys: int = 4) -> dict[str, np.ndarray]:
    """The weights of MODEL_CONFIG, float32; keys: rows of the projections to keys and values."""
    draws = np.random.default_rng(0)
    shapes = {"model.embed_tokens.weight": (16, 8), "lm_head.weight": (16, 8), "model.norm.weight": (8,)}
    for layer in range(2):
        of_layer = {
            "self_attn.q_proj": (8, 8), "self_attn.k_proj": (keys, 8), "self_attn.v_proj": (keys, 8),
            "self_attn.o_proj": (8, 8), "self_attn.q_norm": (4,), "self_attn.k_norm": (4,),
            "mlp.gate_proj": (12, 8), "mlp.up_proj": (12, 8), "mlp.down_proj": (8, 12),
            "input_layernorm": (8,), "post_attention_layernorm": (8,),
        }  # fmt: skip
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in of_layer.items()}
    return {name: draws.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write_model(folder: Path) -> None:
    from safetensors.numpy import save_file

    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(ROOT / "resources" / "base-15m" / name, folder)
    (folder / "config.json").write_text(json.dumps(MODEL_CONFIG), encoding="utf-8")
    save_file(model_tensors(), folder / "model.safetensors")


def write_model_in_parts(folder: Path) -> None:
    from safetensors.numpy import save_file

    write_model(folder)
    (folder / "model.safetensors").unlink()
    tensors, index = model_tensors(), {}
    for number, layer in enumerate(("layers.0", "layers.1", "")):
        part = {name: tensors.pop(name) for name in list(tensors) if layer in name}
        save_file(part, folder / f"part-{number}.safetensors")
        index |= dict.fromkeys(part, f"part-{number}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}), encoding="utf-8")


def write_base_to_train(folder: Path) -> None:
    """A base model of the kind that is trained here, with the state of its training."""
    from safetensors.numpy import save_file

    write_model(folder)
    config = MODEL_CONFIG | {"num_key_value_heads": 2, "attention_bias": False}
    state = {"progress": {"steps": 3, "tokens": 100, "seconds": 1.5, "curve": [{"step": 3, "loss": 2.0}]}}
    _json(config=config, state=state)(folder)
    save_file(model_tensors(keys=8), folder / "model.safetensors")
    save_file({"momentum": np.ones(4, np.float32)}, folder / "optimizer.safetensors")


def read_base_to_train(folder: Path) -> Any:
    from arcfold.jobs.files import read_json
    from arcfold.pretraining.base_folder import load_network, load_optimizer
    from arcfold.pretraining.loop import Progress

    progress = Progress.from_json(read_json(folder / "state.json", "base_state")["progress"])
    return load_network(folder, compiled=False), load_optimizer(folder), progress


def read_model(folder: Path) -> Any:
    """Described, opened, and loaded where that takes no transformers."""
    import torch

    from arcfold.models.plain import is_plain, load_plain

    record = model_record("small", folder, "embedded")
    base = BaseModel.open(folder, record, dtype="float32")
    return base.codec, load_plain(base, torch.device("cpu")) if is_plain(base) else None


@cache
def small_model() -> Any:
    """The layers of MODEL_CONFIG, without numbers."""
    from arcfold.models.plain import PlainModel

    return PlainModel(MODEL_CONFIG)


def write_adapter(folder: Path) -> None:
    from safetensors.numpy import save_file

    _json(base=BASE, adapter_config=ADAPTER_CONFIG)(folder)
    draws, path = np.random.default_rng(1), "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    shapes = {path.format(layer, side): (2, 8) if side == "A" else (8, 2) for layer in range(2) for side in "AB"}
    tensors = {name: draws.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "adapter_model.safetensors")


def read_adapter(folder: Path) -> Any:
    from arcfold.models.lora import load_adapter

    return load_adapter(folder, small_model(), BASE)


def write_run_archive(folder: Path) -> None:
    _json(tasks=TASKS)(folder)
    run = {"name": "2folds", "dataset": "mine", "folds": 2, "seed": 0, "model": "m"}
    write_archive(folder / "run.zip", run, {"tasks.json": f"{folder}/tasks.json"})


def open_run_archive(folder: Path) -> None:
    """Into a place of its own, which goes again, since fuzzers read a file more than once."""
    with tempfile.TemporaryDirectory() as place:
        open_archive(folder / "run.zip", place)


def write_zip(path: Path, files: Mapping[str, Any]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes) else json.dumps(content))


def read_corpus(layout: str) -> Callable[[Path], Any]:
    return lambda folder: list(read_archive(folder / "corpus.zip", layout, lambda _: True))


@cache
def packed_shard() -> dict[str, bytes]:
    """The files of a shard, and `shard.gz` of it packed."""
    import tempfile

    from arcfold.pretraining.corpora import CorpusTask, Example

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "shard"
        example = Example(np.array([[1, 2], [3, 4]], np.uint8), np.array([[5]], np.uint8))
        write_shard(folder, "small", [CorpusTask(name, (example, example)) for name in "ab"], dict)
        pack(folder, folder / "shard.gz")
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_shard_files(*names: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name in names:
            (folder / name).write_bytes(packed_shard()[name])

    return write


def read_packed(folder: Path) -> Any:
    unpack(folder / "shard.gz", folder / "made")
    made = read_shard(folder / "made")
    shutil.rmtree(folder / "made")
    return made


def read_parts_of_a_shard(folder: Path) -> Any:
    shard = read_shard(folder)
    return [shard.grid(index) for index in range(len(shard.shapes))]


def read_cut(folder: Path) -> None:
    cut_vocabulary(folder, "embedded", folder / "made")
    shutil.rmtree(folder / "made")


def read_timeline(folder: Path) -> Any:
    jobs = held_by_jobs({"train_adapter": [read_provenance(str(folder / "training.json"))]})
    hash_inputs(training=str(folder / "training.json"))
    return summary(jobs), draw_timeline("x", jobs)


def read_scores(folder: Path) -> str:
    """A comparison with a score that is whole."""
    scores = {"x-seed1": read_score(folder / "score.json"), "x": SCORE}
    study = {"name": "s", "base": "x", "notes": "", "pairs": [["x-seed1", "x"]]}
    made = compare({**study, "configurations": [{"name": name, "runs": [name]} for name in scores]}, scores, [])
    return as_csv(made)


def read_members(folder: Path) -> Any:
    """An ensemble with a member that is whole."""
    tasks, folds = folder / "tasks.json", folder / "folds.json"
    found, _ = read_entries(folds, [str(folder / "candidates.json")], ["a"], "candidates", tasks)
    scored, _ = read_entries(folds, [str(folder / "rescored.json")], ["a", "b"], "rescored", tasks)
    for of in (0, 1):
        found_by_others([found["a"], CANDIDATES["tasks"]["a"]], of)
    whole: Any = RESCORED["tasks"]
    nothing = {
        task_id: {**entry, "test": [{"candidates": []} for _ in entry["test"]]} for task_id, entry in whole.items()
    }
    return [joined([scored[name], whole[name]], [nothing[name]] * 2, [2, 2], f"task {name}") for name in ("a", "b")]


def read_budget(folder: Path) -> Any:
    """Replayed, then gone on with, as a second command of the same run would."""
    found, tasks = budgets.Ledger(folder / "budget.json").read(), read_tasks(folder / "tasks.json")
    made = []
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "budget.json"
        shutil.copy(folder / "budget.json", run)
        for clock, replayed in ((None, found), ({"began": 0.0, "deadline": 1e12, "stop": 1e12}, None)):
            budgets.begin(run, RUN_IN_TIME, RUNGS, tasks, devices=1, folds=(0, 1), clock=clock, replayed=replayed)
            ledger = budgets.Ledger(run)
            for fold in range(2):
                for step in budgets.STEPS:
                    with contextlib.suppress(budgets.OutOfTime):
                        made.append(ledger.decide(fold, step))
            made += said_of(run, 0.0)
    return made


def write_task_folder(folder: Path) -> None:
    (folder / "tasks").mkdir()
    _json(**TASKS)(folder / "tasks")


def npy(array: np.ndarray) -> bytes:
    """The array as numpy saves it."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


_MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
_PARTS = ("model.safetensors.index.json", "part-0.safetensors", "part-2.safetensors")

READERS: dict[str, Reader] = {
    "tasks": Reader(_json(tasks=TASKS), lambda folder: read_tasks(folder / "tasks.json"), ("tasks.json",)),
    "task folder": Reader(write_task_folder, lambda folder: read_tasks(folder / "tasks"), ("tasks/a.json",)),
    "kaggle": Reader(
        _json(challenges=TASKS, solutions=SOLUTIONS),
        lambda folder: read_kaggle(folder / "challenges.json", folder / "solutions.json"),
        ("solutions.json", "challenges.json"),
    ),
    "folds": Reader(_json(folds=FOLDS), lambda folder: read_fold(folder / "folds.json", 1), ("folds.json",)),
    "model": Reader(write_model, read_model, (*_MODEL_FILES, "model.safetensors")),
    "model in parts": Reader(write_model_in_parts, read_model, _PARTS),
    "base to train": Reader(
        write_base_to_train,
        read_base_to_train,
        ("config.json", "state.json", "model.safetensors", "optimizer.safetensors"),
    ),
    "cut": Reader(write_model, read_cut, (*_MODEL_FILES, "model.safetensors")),
    "record": Reader(
        lambda folder: _json(record=model_record("m", _written_model(folder), "embedded"))(folder),
        lambda folder: read_record(folder),
        ("record.json",),
    ),
    "adapter": Reader(write_adapter, read_adapter, ("base.json", "adapter_config.json", "adapter_model.safetensors")),
    "training": Reader(_json(training={"provenance": PROVENANCE, "losses": [1.5]}), read_timeline, ("training.json",)),
    "candidates": Reader(
        _json(tasks=TASKS, candidates=CANDIDATES),
        lambda folder: read_candidates(folder / "candidates.json", 0, folder / "tasks.json"),
        ("candidates.json",),
    ),
    "rescored": Reader(
        _json(tasks=TASKS, rescored=RESCORED),
        lambda folder: read_rescored([str(folder / "rescored.json")], read_tasks(folder / "tasks.json")),
        ("rescored.json",),
    ),
    "submission": Reader(
        _json(tasks=TASKS, submission=SUBMISSION),
        lambda folder: read_submission(str(folder / "submission.json"), read_tasks(folder / "tasks.json")),
        ("submission.json",),
    ),
    "score": Reader(_json(score=SCORE), read_scores, ("score.json",)),
    "members": Reader(
        _json(tasks=TASKS, candidates=CANDIDATES, rescored=RESCORED, folds={"seed": 0, "folds": [["a", "b"]]}),
        read_members,
        ("folds.json", "rescored.json", "candidates.json"),
    ),
    "budget": Reader(_json(tasks=TASKS, budget=BUDGET), read_budget, ("budget.json",)),
    "job": Reader(_json(job=JOB), lambda folder: read_request(folder / "job.json"), ("job.json",)),
    "corpus of pairs": Reader(
        lambda folder: write_zip(folder / "corpus.zip", {"x/tasks/a.json": [PAIR] * 3, "x/metadata.json": {}}),
        read_corpus("pairs"),
        ("corpus.zip",),
    ),
    "corpus of tasks": Reader(
        lambda folder: write_zip(folder / "corpus.zip", {"x/a.json": {"train": [PAIR, PAIR], "test": [PAIR]}}),
        read_corpus("tasks"),
        ("corpus.zip",),
    ),
    "shard": Reader(
        write_shard_files("shard.json", "grids.npy", "cells.bin"),
        read_parts_of_a_shard,
        ("shard.json", "grids.npy", "cells.bin"),
    ),
    "packed shard": Reader(write_shard_files("shard.gz"), read_packed, ("shard.gz",)),
    "archive of a run": Reader(write_run_archive, open_run_archive, ("run.zip",)),
}


def _written_model(folder: Path) -> Path:
    write_model(folder)
    return folder


def read_record(folder: Path) -> Any:
    from arcfold.jobs.files import read_json

    base = BaseModel.open(folder, read_json(folder / "record.json", "model"))
    base.check_length(100, "search/longest")
    return base.codec, base.identity

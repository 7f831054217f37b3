"""Malformed files: each reader's small valid input is broken in one way and must be refused with this one line.

In a line … stands for anything, and paths are relative to the folder of the files. Nothing may be written.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readers import CANDIDATES, FOUND, PAIR, READERS, TASK, VIEW, model_tensors, npy, write_zip

from arcfold.jobs.files import InputError

Break = Callable[[Path], None]


def text(name: str, content: str | bytes) -> Break:
    """The file says this."""
    return lambda folder: (
        Path(folder, name).write_bytes(content.encode() if isinstance(content, str) else content) and None
    )


def cut(name: str, size: int) -> Break:
    """The file ends after so many bytes, or so many before its end."""
    return lambda folder: Path(folder, name).write_bytes(Path(folder, name).read_bytes()[:size]) and None


def gone(name: str) -> Break:
    return lambda folder: Path(folder, name).unlink()


GONE = object()


def _key(inner: Any, part: str) -> Any:
    return int(part) if isinstance(inner, list) else part


def put(name: str, place: str, value: Any) -> Break:
    """The JSON file has another value at a place such as `a/train/0/output`; GONE takes the key out."""

    def break_it(folder: Path) -> None:
        content = json.loads(Path(folder, name).read_text())
        inner: Any = content
        *way, last = place.split("/")
        for part in way:
            inner = inner[_key(inner, part)]
        if value is GONE:
            del inner[_key(inner, last)]
        else:
            inner[_key(inner, last)] = value
        Path(folder, name).write_text(json.dumps(content))

    return break_it


def whole(name: str, value: Any) -> Break:
    """The JSON file has another value altogether."""
    return text(name, json.dumps(value))


def both(*breaks: Break) -> Break:
    """One thing after the other."""

    def break_it(folder: Path) -> None:
        for one in breaks:
            one(folder)

    return break_it


def tensors(change: Callable[[dict[str, np.ndarray]], Any], name: str = "model.safetensors") -> Break:
    """The model's weights changed, in a file that is whole."""

    def break_it(folder: Path) -> None:
        from safetensors.numpy import save_file

        made = model_tensors()
        change(made)
        save_file(made, folder / name)

    return break_it


def header(change: Callable[[dict[str, Any]], Any]) -> Break:
    """The header of the weights changed, their numbers as they were."""

    def break_it(folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        told = json.loads(content[8 : 8 + length])
        change(told)
        new = json.dumps(told).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(new)) + new + content[8 + length :])

    return break_it


def archive(**files: Any) -> Break:
    return lambda folder: write_zip(
        folder / "corpus.zip", {name.replace("__", "/"): file for name, file in files.items()}
    )


def bomb(folder: Path) -> None:
    """A file of 129 MiB in 129 KiB."""
    with zipfile.ZipFile(folder / "corpus.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("tasks/a.json", b" " * (2**27 + 2**20))


def packed(name: str, content: bytes = b"", link: str | None = None) -> Break:
    """A packed shard with a further entry, or another one of that name."""

    def break_it(folder: Path) -> None:
        import gzip
        import io
        import tarfile

        stream = io.BytesIO()
        with (
            tarfile.open(fileobj=io.BytesIO(gzip.decompress((folder / "shard.gz").read_bytes()))) as old,
            tarfile.open(fileobj=stream, mode="w") as new,
        ):
            for entry in old.getmembers():
                if entry.name != name:
                    new.addfile(entry, old.extractfile(entry))
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            if link is not None:
                entry.type, entry.linkname = tarfile.SYMTYPE, link
            new.addfile(entry, io.BytesIO(content))
        (folder / "shard.gz").write_bytes(gzip.compress(stream.getvalue()))

    return break_it


Q_PROJ = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"
NAN = np.array([1, np.nan, 1, 1, 1, 1, 1, 1], np.float32)

CASES: list[tuple[str, Break, str]] = [
    ("tasks", gone("tasks.json"), "tasks.json: no such file"),
    (
        "tasks",
        text("tasks.json", ""),
        "tasks.json: line 1, column 1: the file is empty, expected JSON; write or fetch it again",
    ),
    (
        "tasks",
        cut("tasks.json", -20),
        "tasks.json: line 1, column 266: the JSON ends here in the middle …; fetch it again",
    ),
    ("tasks", text("tasks.json", b"\xff\xfe{\0}\0"), "tasks.json: byte 0: not UTF-8, expected JSON in UTF-8"),
    (
        "tasks",
        text("tasks.json", '{"a": 1,}'),
        "tasks.json: line 1, column 9: not JSON (Expecting property name enclosed in double quotes)",
    ),
    ("tasks", text("tasks.json", b"PK\3\4 a zip"), "tasks.json: line 1, column 1: not JSON (Expecting value)"),
    (
        "tasks",
        text("tasks.json", "[" * 200_000 + "]" * 200_000),
        "tasks.json: nested too deep, expected at most 64 levels",
    ),
    (
        "tasks",
        text("tasks.json", '{"a": ' + "7" * 5000 + "}"),
        "tasks.json: a number of hundreds of digits, expected one of ordinary size",
    ),
    ("tasks", text("tasks.json", '{"a": NaN}'), "tasks.json: NaN is no number that JSON knows, expected a finite one"),
    (
        "tasks",
        text("tasks.json", '{"a": 1e999}'),
        "tasks.json: 1e999 is no number that JSON knows, expected a finite one",
    ),
    (
        "tasks",
        text("tasks.json", '{"\\ud800": 1}'),
        "tasks.json: '\\ud800' has half a surrogate pair, expected whole characters",
    ),
    ("tasks", text("tasks.json", '{"a": 1, "a": 2}'), "tasks.json: the key 'a' stands twice, expected once"),
    ("tasks", whole("tasks.json", {}), "tasks.json: expected an object with one task or more"),
    ("tasks", whole("tasks.json", "a"), "tasks.json: expected an object with one task or more"),
    (
        "tasks",
        whole("tasks.json", [PAIR, PAIR]),
        "tasks.json: a list of pairs, as RE-ARC has them, expected tasks with…el on: corpora, layout: pairs)",
    ),
    (
        "tasks",
        whole("tasks.json", {"": TASK}),
        "tasks.json: the task id '', expected 1 to 100 bytes without slashes and …",
    ),
    (
        "tasks",
        whole("tasks.json", {"../../x": TASK}),
        "tasks.json: the task id '../../x', expected 1 to 100 bytes without slashes and …",
    ),
    (
        "tasks",
        whole("tasks.json", {".x": TASK}),
        "tasks.json: the task id '.x', expected 1 to 100 bytes without slashes and …",
    ),
    (
        "tasks",
        whole("tasks.json", {"a\nb": TASK}),
        "tasks.json: the task id 'a\\nb', expected 1 to 100 bytes without slashes and …",
    ),
    (
        "tasks",
        whole("tasks.json", {"x" * 300: TASK}),
        "tasks.json: the task id 'xxxxxxxxxxxx...xxxxxxxxxxxxx', expected 1 to 100 bytes without slashes and …",
    ),
    (
        "tasks",
        put("tasks.json", "a", None),
        "tasks.json: task a has null, expected an object with the keys 'train' and 'test'",
    ),
    (
        "tasks",
        put("tasks.json", "a/test", GONE),
        "tasks.json: task a has train, expected an object with the keys 'train' and 'test'",
    ),
    ("tasks", put("tasks.json", "a/train", []), "tasks.json: task a, train: expected a list with one pair or more"),
    (
        "tasks",
        put("tasks.json", "a/train/1/output", None),
        "tasks.json: task a, train[1]: no 'output', expected one in every demonstration pair",
    ),
    (
        "tasks",
        put("tasks.json", "a/train/1/ouput", [[1]]),
        "tasks.json: task a, train[1]: expected the keys 'input' and 'output'",
    ),
    (
        "tasks",
        put("tasks.json", "b/test/0/input", [[1, 2], [3]]),
        "tasks.json: task b, test[0], input: row 1 has 1 cells where row 0 has 2, expected a rectangle",
    ),
    (
        "tasks",
        put("tasks.json", "b/test/0/input", [[10]]),
        "tasks.json: task b, test[0], input: row 0, column 0 is 10, expected a colour from 0 to 9",
    ),
    (
        "tasks",
        put("tasks.json", "b/test/0/input", [[10**300]]),
        "tasks.json: task b, test[0], input: row 0, column 0 is 1000000000000… expected a colour from 0 to 9",
    ),
    (
        "tasks",
        put("tasks.json", "b/test/0/input", [[1.0]]),
        "tasks.json: task b, test[0], input: row 0, column 0 is 1.0, expected a colour from 0 to 9",
    ),
    (
        "tasks",
        put("tasks.json", "b/test/0/input", [[0] * 31]),
        "tasks.json: task b, test[0], input: row 0 has 31 cells, expected 1 to 30",
    ),
    (
        "tasks",
        put("tasks.json", "b/test/0/input", []),
        "tasks.json: task b, test[0], input: is no grid, expected a list of rows",
    ),
    (
        "task folder",
        cut("tasks/a.json", 30),
        "tasks/a.json: line 1, column 31: the JSON ends here in the middle …; fetch it again",
    ),
    (
        "task folder",
        whole("tasks/a.json", {"x": TASK}),
        "tasks/a.json: expected one task in each file of a folder, an object with 'train' and 'test'",
    ),
    (
        "task folder",
        whole("tasks/a.json", [PAIR]),
        "tasks/a.json: a list of pairs, as RE-ARC has them, expected tasks wi…el on: corpora, layout: pairs)",
    ),
    (
        "task folder",
        lambda folder: [path.rename(folder / path.name) for path in (folder / "tasks").iterdir()] and None,
        "tasks: no task files, expected a folder of {id}.json",
    ),
    (
        "kaggle",
        put("solutions.json", "b", GONE),
        "solutions.json: task b is missing, expected the same tasks in challenges and solutions",
    ),
    (
        "kaggle",
        put("solutions.json", "c", [[[1]]]),
        "challenges.json: task c is missing, expected the same tasks in challenges and solutions",
    ),
    ("kaggle", put("solutions.json", "a", [[[7]]]), "solutions.json: task a: expected a list of 2 grids"),
    (
        "kaggle",
        put("solutions.json", "a/0", [[6]]),
        "solutions.json: task a, output 0 differs from test[0] in challenges.json, expected the same",
    ),
    (
        "kaggle",
        put("solutions.json", "a/1", [[9], [9, 9]]),
        "solutions.json: task a, output 1: row 1 has 2 cells where row 0 has 1, expected a rectangle",
    ),
    ("kaggle", whole("solutions.json", []), "solutions.json: expected an object of lists of grids"),
    ("folds", put("folds.json", "folds", [["a", "b"]]), "folds.json: 1 folds, expected one of number 1"),
    ("folds", put("folds.json", "folds/1/0", "a"), "folds.json: fold 1: task a stands twice, expected it once"),
    (
        "folds",
        put("folds.json", "folds/1", []),
        "folds.json: folds/1: [] should be non-empty (expected: ids of tasks, one or more)",
    ),
    (
        "folds",
        put("folds.json", "folds/1/0", 7),
        "folds.json: folds/1/0: 7 is not of type 'string' (expected: the id of a task; write it in quotes: \"…\")",
    ),
    (
        "folds",
        put("folds.json", "seed", -1),
        "folds.json: seed: -1 is less than the minimum of 0 (expected: a whole number, 0 or more)",
    ),
    (
        "folds",
        put("folds.json", "flods", []),
        "folds.json: top level: unknown key 'flods' (did you mean 'folds'? expected one of seed, folds)",
    ),
    (
        "folds",
        cut("folds.json", 12),
        "folds.json: line 1, column 13: the JSON ends here in the middle …; fetch it again",
    ),
    (
        "model",
        gone("config.json"),
        "FOLDER: no config.json, expected a model folder with config.json, tokenizer.json, model.safetensors",
    ),
    (
        "model",
        cut("config.json", 40),
        "config.json: line 1, column 41: the JSON ends here in the middle …; fetch it again",
    ),
    (
        "model",
        whole("config.json", []),
        "config.json: no vocab_size, expected the configuration of a causal language model",
    ),
    (
        "model",
        put("config.json", "vocab_size", GONE),
        "config.json: no vocab_size, expected the configuration of a causal language model",
    ),
    (
        "model",
        put("config.json", "vocab_size", "16"),
        "config.json: vocab_size: '16' is not of type 'integer' (expected…1 or more; write it without quotes)",
    ),
    ("model", put("config.json", "vocab_size", 12), "FOLDER: token id 13 with a vocabulary of 12"),
    (
        "model",
        put("config.json", "hidden_size", "32"),
        "config.json: hidden_size: '32' is not of type 'integer' (expected…1 or more; write it without quotes)",
    ),
    (
        "model",
        put("config.json", "hidden_size", 9),
        "FOLDER: config.json has vocab_size and hidden_size (16, 9), the weig…), expected those of one model",
    ),
    (
        "model",
        put("config.json", "num_hidden_layers", 1),
        "FOLDER: config.json has num_hidden_layers 1, the weights have 2 (up …), expected those of one model",
    ),
    (
        "model",
        put("config.json", "num_hidden_layers", 3),
        "FOLDER: config.json has num_hidden_layers 3, the weights have 2 (up …), expected those of one model",
    ),
    (
        "model",
        put("config.json", "num_hidden_layers", 10**12),
        "config.json: num_hidden_layers: 1000000000000 is greater than the ma…(expected: a number of layers)",
    ),
    (
        "model",
        put("config.json", "num_attention_heads", 0),
        "config.json: num_attention_heads: 0 is less than the minimum of 1 (expected: a whole number, 1 or more)",
    ),
    (
        "model",
        put("config.json", "rope_parameters/rope_theta", 2**64),
        "config.json: rope_parameters/rope_theta: 18446744073709551616 is…(expected: a number above 0, up to 1e15)",
    ),
    (
        "model",
        put("config.json", "architectures", []),
        'config.json: architectures: [] should be non-empty (expected: names of classes, as in ["Qwen3ForCausalLM"])',
    ),
    (
        "model",
        put("config.json", "max_position_embeddings", "long"),
        "config.json: max_position_embeddings: 'long' is not of type 'integer…pected: a number of positions)",
    ),
    (
        "model",
        put("config.json", "rope_parameters", [1]),
        "config.json: rope_parameters: [1] is not of type 'object', 'null' (expected: how positions are rotated)",
    ),
    (
        "model",
        put("config.json", "rope_parameters/rope_theta", -1),
        "config.json: rope_parameters/rope_theta: -1 is less than or equal…(expected: a number above 0, up to 1e15)",
    ),
    (
        "model",
        cut("tokenizer.json", 100),
        "tokenizer.json: no readable tokenizer (EOF while parsing a string at line 5 column 37)",
    ),
    ("model", whole("tokenizer.json", {}), "tokenizer.json: no readable tokenizer (Model missing. at line 1 column 2)"),
    (
        "model",
        put("tokenizer.json", "model/vocab/O", GONE),
        "tokenizer.json: no single token for 'O', which the text format embedded needs",
    ),
    ("model", whole("tokenizer_config.json", []), "tokenizer_config.json: expected an object with settings"),
    (
        "model",
        gone("model.safetensors"),
        "FOLDER: no model.safetensors, expected a model folder with config.js…enizer.json, model.safetensors",
    ),
    (
        "model",
        text("model.safetensors", ""),
        "model.safetensors: no readable safetensors (0 bytes); fetch or write it again",
    ),
    (
        "model",
        text("model.safetensors", "version https://git-lfs.github.com/spec/v1"),
        "model.safetensors: a pointer of git-lfs, not the weights, expected them (run 'git lfs pull')",
    ),
    (
        "model",
        text("model.safetensors", b"PK\3\4" + b"0" * 400),
        "model.safetensors: no readable safetensors (its header is longer than the file); fetch or write it again",
    ),
    (
        "model",
        cut("model.safetensors", 60),
        "model.safetensors: no readable safetensors (its header is longer than the file); fetch or write it again",
    ),
    (
        "model",
        cut("model.safetensors", -60),
        "model.safetensors: 7412 bytes, expected 7472 (a broken download?); fetch it again",
    ),
    (
        "model",
        header(lambda told: told.update({NORM: 7})),
        "model.safetensors: header: model.norm.weight: 7 is not of type 'obje… and data_offsets of a tensor)",
    ),
    (
        "model",
        header(lambda told: told[NORM].update(shape=[4])),
        "model.safetensors: header: 'model.norm.weight' has shape [4] and byt… fits; fetch or write it again",
    ),
    (
        "model",
        header(lambda told: told[NORM].update(dtype="F99")),
        "model.safetensors: header: model.norm.weight/dtype: 'F99' is not one…pe of its numbers, as in BF16)",
    ),
    (
        "model",
        header(lambda told: told[NORM].update(data_offsets=[0, 32])),
        "model.safetensors: header: 'lm_head.weight' has shape [16, 8] and by… fits; fetch or write it again",
    ),
    (
        "model",
        header(lambda told: told[NORM].update(shape=[-8])),
        "model.safetensors: header: model.norm.weight/shape/0: -8 is less than the minimum of 0",
    ),
    (
        "model",
        tensors(lambda made: made.update({NORM: NAN})),
        "model.safetensors: 'model.norm.weight' has numbers that are NaN or i…fetch or train the model again",
    ),
    (
        "model",
        tensors(lambda made: made.update({Q_PROJ: np.full((8, 8), np.inf, np.float16)})),
        "model.safetensors: 'model.layers.0.self_attn.q_proj.weight' has numb…fetch or train the model again",
    ),
    (
        "model in parts",
        cut("model.safetensors.index.json", 60),
        "model.safetensors.index.json: line 1, column 59: the JSON ends here in the middle …; fetch it again",
    ),
    (
        "model in parts",
        whole("model.safetensors.index.json", {}),
        "model.safetensors.index.json: no weight_map, expected the name of a file for each tensor",
    ),
    (
        "model in parts",
        put("model.safetensors.index.json", "weight_map", {"a": "../b"}),
        "model.safetensors.index.json: no weight_map, expected the name of a file for each tensor",
    ),
    (
        "model in parts",
        put("model.safetensors.index.json", f"weight_map/{NORM}", "part-0.safetensors"),
        "model.safetensors.index.json: 'model.norm.weight' is said to lie in …and lies in part-2.safetensors",
    ),
    (
        "model in parts",
        put("model.safetensors.index.json", f"weight_map/{NORM}", GONE),
        "model.safetensors.index.json: 'model.norm.weight' is said to lie in None, and lies in part-2.safetensors",
    ),
    (
        "model in parts",
        put("model.safetensors.index.json", "weight_map/more", "part-1.safetensors"),
        "model.safetensors.index.json: 'more' is said to lie in part-1.safetensors, and lies in none of the files",
    ),
    (
        "model in parts",
        gone("part-1.safetensors"),
        "FOLDER: no part-1.safetensors, expected a model folder with config.j…afetensors, part-2.safetensors",
    ),
    (
        "model in parts",
        lambda folder: (
            (folder / "part-0.safetensors").write_bytes((folder / "part-1.safetensors").read_bytes()) and None
        ),
        "part-1.safetensors: 'model.layers.1.input_layernorm.weight' lies in …etensors too, expected it once",
    ),
    (
        "cut",
        put("generation_config.json", "eos_token_id", [[13]]),
        "generation_config.json: eos_token_id: expected the id of a token, or a list of them",
    ),
    (
        "cut",
        tensors(lambda made: made.pop("lm_head.weight")),
        "FOLDER: no tensor lm_head.weight, expected it as config.json has tie_word_embeddings false",
    ),
    (
        "record",
        put("record.json", "format", "klingon"),
        "base model m: text format 'klingon', expected one of embedded, architects, nvarc",
    ),
    (
        "record",
        put("record.json", "token_ids/I", GONE),
        "the tokenizer has no single token for 'I', which the text format needs",
    ),
    ("record", put("record.json", "hash", "abc"), "record.json: hash: 'abc' does not match '^[0-9a-f]{64}$'"),
    (
        "record",
        put("record.json", "positions", 50),
        "config: settings/search/longest: 100, expected at most 50, the positions of m",
    ),
    (
        "base to train",
        put("state.json", "progress/tokens", None),
        "state.json: progress/tokens: None is not of type 'integer' (expected: a number of tokens)",
    ),
    (
        "base to train",
        put("state.json", "progress", GONE),
        "state.json: top level: 'progress' is a required property (…)",
    ),
    (
        "base to train",
        put("config.json", "num_key_value_heads", 1),
        "config.json: base model: num_key_value_heads is 1, expected 2 to train it further",
    ),
    (
        "base to train",
        put("config.json", "head_dim", 2),
        "FOLDER: model.layers.0.self_attn.q_proj.weight has shape (8, 8), config.json asks for (4, 8)",
    ),
    (
        "base to train",
        both(put("config.json", "num_key_value_heads", GONE), put("config.json", "num_attention_heads", GONE)),
        "config.json: base model: num_attention_heads is None, expected a whole number",
    ),
    (
        "base to train",
        put("config.json", "intermediate_size", None),
        "config.json: base model: intermediate_size is None, expected a whole number",
    ),
    (
        "base to train",
        cut("optimizer.safetensors", -3),
        "optimizer.safetensors: 85 bytes, expected 88 (a broken download?); fetch it again",
    ),
    (
        "base to train",
        tensors(lambda made: made.pop("lm_head.weight")),
        "FOLDER: model.layers.0.self_attn.k_proj.weight has shape (4, 8), config.json asks for (8, 8)",
    ),
    ("adapter", gone("base.json"), "base.json: no such file"),
    (
        "adapter",
        put("base.json", "hash", "6" * 64),
        "FOLDER: trained on the base small with hash 6…, expected small with hash 5…",
    ),
    (
        "adapter",
        whole("base.json", []),
        "base.json: top level: [] is not of type 'object' (expected: base.jso… model that it was trained on)",
    ),
    (
        "adapter",
        whole("adapter_config.json", []),
        "adapter_config.json: top level: [] is not of type 'object' (expected… of a LoRA, as PEFT writes it)",
    ),
    (
        "adapter",
        put("adapter_config.json", "r", "two"),
        "adapter_config.json: r: 'two' is not of type 'integer' (expected: the rank, a whole number, 1 or more)",
    ),
    (
        "adapter",
        put("adapter_config.json", "r", 3),
        "adapter_model.safetensors: base_model.model.model.layers.0.self_attn… shape (2, 8), expected (3, 8)",
    ),
    (
        "adapter",
        put("adapter_config.json", "lora_alpha", None),
        "adapter_config.json: lora_alpha: None is not of type 'number' (expec…s numerator, a number above 0)",
    ),
    (
        "adapter",
        put("adapter_config.json", "target_modules", "all-linear"),
        "adapter_config.json: target_modules: 'all-linear' is not of type 'array' (expected: a list of names)",
    ),
    (
        "adapter",
        put("adapter_config.json", "target_modules", ["c_attn"]),
        "adapter_config.json: targets: 'c_attn' is no linear layer of the mod…'q_proj', 'up_proj', 'v_proj']",
    ),
    ("adapter", put("adapter_config.json", "use_dora", True), "adapter_config.json: use_dora is True, expected False"),
    (
        "adapter",
        cut("adapter_model.safetensors", -1),
        "adapter_model.safetensors: 743 bytes, expected 744 (a broken download?); fetch it again",
    ),
    (
        "adapter",
        tensors(lambda made: None, "adapter_model.safetensors"),
        "adapter_model.safetensors: base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight is missing",
    ),
    (
        "training",
        put("training.json", "provenance", GONE),
        "training.json: provenance: top level: None is not of type 'object' (…training, search or rescoring)",
    ),
    (
        "training",
        put("training.json", "provenance/started", "yesterday"),
        "training.json: provenance: started: 'yesterday', expected a time",
    ),
    (
        "training",
        put("training.json", "provenance/seconds/total", GONE),
        "training.json: provenance: seconds: 'total' is a required property (…of each step, and their total)",
    ),
    (
        "training",
        put("training.json", "provenance/device", "gpu"),
        "training.json: provenance: device: 'gpu' is not of type 'object' (expected: what it was computed on)",
    ),
    (
        "training",
        cut("training.json", 50),
        "training.json: line 1, column 28: the JSON ends here in the middle …; fetch it again",
    ),
    ("archive of a run", text("run.zip", "no zip"), "run.zip: no archive that can be read (File is not a zip file)"),
    ("budget", cut("budget.json", -20), "budget.json: …the JSON ends here in the middle…"),
    (
        "budget",
        put("budget.json", "folds/1", GONE),
        "budget: its folds or rungs are not those of it…expected them",
    ),
    ("budget", put("budget.json", "folds/0/steps/search/rung", 99), "budget: its folds or rungs are not…expected them"),
    ("budget", put("budget.json", "folds/0/steps/search/rung", -1), "budget.json: folds/0/steps/search/rung: -1 is …"),
    ("budget", put("budget.json", "folds/0/steps/dreaming", {}), "budget.json: folds/0/steps: …dreaming…"),
    (
        "budget",
        put("budget.json", "key", "0" * 12),
        "budget: that of run 2folds with other settings, tasks or seed than 2folds, expected one of the same run",
    ),
    (
        "candidates",
        put("candidates.json", "fold", 1),
        "candidates.json: candidates of fold 1, expected those of fold 0",
    ),
    (
        "candidates",
        put("candidates.json", "tasks/c", CANDIDATES["tasks"]["a"]),
        "candidates.json: task c: no such task in tasks.json, expected candidates of its tasks",
    ),
    (
        "candidates",
        put("candidates.json", "tasks/a/test/1", GONE),
        "candidates.json: task a: 1 test outputs, expected 2, as many as in tasks.json",
    ),
    (
        "candidates",
        put("candidates.json", "tasks/a/test/0/candidates/0/grid", [[1, 2], [3]]),
        "candidates.json: task a, test[0], candidate 0: row 1 has 1 cells where row 0 has 2, expected a rectangle",
    ),
    (
        "candidates",
        put("candidates.json", "tasks/a/test/0/candidates", [FOUND, FOUND]),
        "candidates.json: task a, test[0], candidate 1: the same grid as one before it, expected each once",
    ),
    (
        "candidates",
        put("candidates.json", "tasks/a/test/0/candidates/0/found/0/view", 2),
        "candidates.json: task a, test[0], candidate 0: found in view 2 of 2",
    ),
    (
        "candidates",
        put("candidates.json", "tasks/a/test/0/candidates/0/found/0/log_prob", 0.5),
        "candidates.json: tasks/a/test/0/candidates/0/found/0/log_prob: 0.5 i… (expected: a log-probability)",
    ),
    (
        "candidates",
        put("candidates.json", "tasks/a/views/0/symmetry", "upside down"),
        "candidates.json: task a, view 0: view: symmetry 'upside down', expec…mns, transpose, anti_transpose",
    ),
    (
        "candidates",
        put("candidates.json", "tasks/a/views/0/order", [0, 0]),
        "candidates.json: task a, view 0: view: order [0, 0], expected a permutation of 0 to 1",
    ),
    ("candidates", put("candidates.json", "tasks", {}), "candidates.json: tasks: {} should be non-empty"),
    (
        "candidates",
        cut("candidates.json", 200),
        "candidates.json: line 1, column 201: the JSON ends here in the middle …; fetch it again",
    ),
    ("rescored", put("rescored.json", "fold", 3), "rescored.json: candidates of fold 3, expected those of fold 0"),
    (
        "rescored",
        put("rescored.json", "tasks/b", GONE),
        "rescored.json: task b is in no fold's rescored file, expected it in one",
    ),
    (
        "rescored",
        put("rescored.json", "tasks/a/test/1", GONE),
        "rescored.json: task a: 1 test outputs, expected 2, as many as in the run's tasks",
    ),
    (
        "rescored",
        put("rescored.json", "tasks/a/test/0/candidates/0/scored", [-1.0]),
        "rescored.json: task a, test[0], candidate 0: 1 scores, expected one for each of the 2 scoring views",
    ),
    (
        "rescored",
        put("rescored.json", "tasks/c", {"scoring_views": [VIEW], "test": [{"candidates": []}]}),
        "rescored.json: task c: no such task in the run's tasks, expected candidates of its tasks",
    ),
    (
        "members",
        put("rescored.json", "tasks/a/test/1", GONE),
        "rescored.json: task a: 1 test outputs, expected 2, as many as in tasks.json",
    ),
    ("members", put("candidates.json", "tasks/a", GONE), "candidates.json: tasks: {} should be non-empty"),
    ("members", put("folds.json", "folds/0", ["a"]), "folds.json: no task b, expected the tasks of the other members"),
    (
        "members",
        put("rescored.json", "tasks/b/test/0/skipped", "too long"),
        "task b, test[0]: not searched by every member (too long), expected it of all",
    ),
    (
        "score",
        put("score.json", "provenance/run", GONE),
        "score.json: provenance: top level: 'run' is a required property …",
    ),
    (
        "score",
        put("score.json", "provenance/seconds_of_folds/train_adapter/0/total", "3 s"),
        "score.json: provenance: seconds_of_folds/train_adapter/0/total: '3 s' is not of type 'number'…",
    ),
    (
        "score",
        put("score.json", "data/sha256", "1" * 64),
        "results/score_x…json: scored on mine (mine.json, 3 outputs, …), results/score_x…json on mine …",
    ),
    (
        "score",
        put("score.json", "tasks/b", GONE),
        "results/score_x.json: other tasks than in results/score_x-seed1.json, and both name the same data …",
    ),
    ("score", put("score.json", "tasks/a/score", 7), "score.json: tasks/a/score: 7 is greater than the maximum of 1"),
    (
        "submission",
        put("submission.json", "b", GONE),
        "submission.json: b: missing, expected every task of the dataset",
    ),
    (
        "submission",
        put("submission.json", "c", [{"attempt_1": [[1]], "attempt_2": [[1]]}]),
        "submission.json: c: unknown, expected the 2 tasks of the dataset",
    ),
    (
        "submission",
        put("submission.json", "a/1", GONE),
        "submission.json: a: attempts for 1 outputs, expected 2, one for each test input",
    ),
    (
        "submission",
        put("submission.json", "a/0/attempt_2", GONE),
        "submission.json: a/0: 'attempt_2' is a required property",
    ),
    (
        "submission",
        put("submission.json", "a/0/attempt_2", [[1], [2, 3]]),
        "submission.json: a/0/attempt_2: row 1 has 2 cells where row 0 has 1, expected a rectangle",
    ),
    (
        "submission",
        put("submission.json", "a/0/attempt_2", [[11]]),
        "submission.json: a/0/attempt_2/0/0: 11 is greater than the maximum of 9 (expected: a colour from 0 to 9)",
    ),
    (
        "submission",
        whole("submission.json", []),
        "submission.json: top level: [] is not of type 'object' (expected: Submission)",
    ),
    (
        "job",
        put("job.json", "script", "../../x.py"),
        "job.json: script: '../../x.py', expected the name of a script in workflow_scripts/",
    ),
    (
        "job",
        put("job.json", "script", "nothing.py"),
        "job.json: script: no nothing.py in …workflow_scripts, expected the name of a rule's script",
    ),
    ("job", put("job.json", "log", []), "job.json: log: [] should be non-empty (expected: the path of the log)"),
    (
        "job",
        put("job.json", "threads", 0),
        "job.json: threads: 0 is less than the minimum of 1 (expected: threads that Snakemake counts for the job)",
    ),
    (
        "job",
        put("job.json", "input", GONE),
        "job.json: top level: 'input' is a required property (expected: All that one job is given)",
    ),
    (
        "job",
        whole("job.json", 7),
        "job.json: top level: 7 is not of type 'object' (expected: All that one job is given)",
    ),
    (
        "corpus of pairs",
        text("corpus.zip", "no zip"),
        "corpus.zip: no readable zip archive (File is not a zip file; a broke…, expected one; fetch it again",
    ),
    (
        "corpus of pairs",
        cut("corpus.zip", -30),
        "corpus.zip: no readable zip archive (File is not a zip file; a broke…, expected one; fetch it again",
    ),
    (
        "corpus of pairs",
        archive(**{"readme.txt": b"x"}),
        "corpus.zip: no task files, expected JSON files in the layout 'pairs'",
    ),
    (
        "corpus of pairs",
        archive(**{"tasks/a.json": b"{"}),
        "corpus.zip: tasks/a.json: line 1, column 2: the JSON ends here in the middle …; fetch it again",
    ),
    (
        "corpus of pairs",
        archive(**{"tasks/a.json": {"train": []}}),
        "corpus.zip: tasks/a.json: not in the layout 'pairs', expected one of pairs, tasks",
    ),
    (
        "corpus of pairs",
        archive(**{"tasks/a.json": [PAIR, {"input": [[1, 2], [3]], "output": [[1]]}]}),
        "corpus.zip: tasks/a.json: pair 1, input: row 1 has 1 cells where row 0 has 2, expected a rectangle",
    ),
    (
        "corpus of pairs",
        archive(**{"tasks/a.json": [PAIR, 7]}),
        "corpus.zip: tasks/a.json: pair 1, input: is no grid, expected a list of rows",
    ),
    (
        "corpus of pairs",
        archive(**{"tasks/.json": [PAIR, PAIR]}),
        "corpus.zip: tasks/.json: the task id '.json', expected 1 to 250 bytes without slashes and …",
    ),
    ("corpus of pairs", bomb, "corpus.zip: tasks/a.json: 135266304 bytes unpacked, expected at most 134217728"),
    (
        "archive of a run",
        text("run.zip", "no zip"),
        "run.zip: no archive that can be read (File is not a zip file)",
    ),
    (
        "archive of a run",
        cut("run.zip", -30),
        "run.zip: no archive that can be read (File is not a zip file)",
    ),
    (
        "archive of a run",
        gone("run.zip"),
        "run.zip: no such file, expected the archive of a run",
    ),
    (
        "archive of a run",
        lambda folder: write_zip(folder / "run.zip", {"2folds/tasks.json": {"a": TASK}}),
        "run.zip: no SHA256SUMS in one folder, expected the archive of a run",
    ),
    (
        "corpus of tasks",
        archive(**{"a.json": {"train": [PAIR], "test": 7}}),
        "corpus.zip: a.json: not in the layout 'tasks', expected one of pairs, tasks",
    ),
    (
        "corpus of tasks",
        archive(**{"a.json": {"train": [{**PAIR, "output": [["1"]]}], "test": []}}),
        "corpus.zip: a.json: pair 0, output: row 0 has a cell that is no colour from 0 to 9",
    ),
    (
        "shard",
        put("shard.json", "tasks", [["a", 2]]),
        "FOLDER: grids.npy, cells.bin and shard.json do not belong together",
    ),
    (
        "shard",
        put("shard.json", "tasks/0/1", 10**30),
        "shard.json: tasks/0/1: 1000000000000000000000000000000 is greater than the maximum of 4294967296",
    ),
    ("shard", text("grids.npy", b""), "FOLDER: no readable shard (No data left in file); make or unpack it again"),
    (
        "shard",
        text("grids.npy", npy(np.array([object()]))),
        "FOLDER: no readable shard (Array can't be memory-mapped: Python obje…ype.); make or unpack it again",
    ),
    (
        "shard",
        text("grids.npy", npy(np.zeros((8, 3), np.uint8))),
        "FOLDER: grids.npy: expected rows and columns of each grid, 1 or more, as uint8 (grids, 2)",
    ),
    (
        "shard",
        text("grids.npy", npy(np.zeros((8, 2), np.uint8))),
        "FOLDER: grids.npy: expected rows and columns of each grid, 1 or more, as uint8 (grids, 2)",
    ),
    ("shard", cut("cells.bin", 3), "FOLDER: grids.npy, cells.bin and shard.json do not belong together"),
    (
        "shard",
        gone("cells.bin"),
        "FOLDER: no readable shard ([Errno 2] No such file or directory: 'cells.bin'); make or unpack it again",
    ),
    (
        "packed shard",
        text("shard.gz", "no archive"),
        "shard.gz: no packed shard (Not a gzipped file (b'no')); fetch it again",
    ),
    (
        "packed shard",
        cut("shard.gz", -40),
        "shard.gz: no packed shard (Compressed file ended before the end-of-s…r was reached); fetch it again",
    ),
    (
        "packed shard",
        packed("../../x", b"1"),
        "shard.gz: no packed shard ('../../x' in it, expected shard.json, …); fetch it again",
    ),
    (
        "packed shard",
        packed("/tmp/x", b"1"),
        "shard.gz: no packed shard ('/tmp/x' in it, expected shard.json, …); fetch it again",
    ),
    (
        "packed shard",
        packed("cells", link="/etc/passwd"),
        "shard.gz: no packed shard ('cells' in it, expected shard.json, …); fetch it again",
    ),
    ("packed shard", packed("cells", bytes([11]) * 20), "shard.gz: cells: a number above 9, expected colours"),
    ("packed shard", packed("grids.npy", b""), "shard.gz: no packed shard (No data left in file); fetch it again"),
    (
        "packed shard",
        packed("shard.json", b"{"),
        "shard.gz: shard.json: line 1, column 2: the JSON ends here in the middle …; fetch it again",
    ),
]


def pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split("…"))


@pytest.mark.parametrize(("reader", "break_it", "line"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
def test_a_malformed_file_is_refused_with_one_line_and_nothing_is_written(
    reader: str, break_it: Break, line: str, tmp_path: Path
) -> None:
    READERS[reader].write(tmp_path)
    break_it(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(InputError) as error:
        READERS[reader].read(tmp_path)
    said = str(error.value).replace(f"{tmp_path}/", "").replace(str(tmp_path), "FOLDER")
    assert re.fullmatch(pattern(line), said), said
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_there_are_as_many_cases_as_promised_for_every_reader() -> None:
    assert len(CASES) >= 80
    assert {reader for reader, _, _ in CASES} == set(READERS)


@pytest.mark.parametrize("reader", READERS)
def test_what_the_cases_start_from_is_read_and_nothing_is_written(reader: str, tmp_path: Path) -> None:
    READERS[reader].write(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    READERS[reader].read(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.exists()} == before

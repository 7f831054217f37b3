"""A training as its script does it: the base model is opened once, and few functions hand its settings on."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from environments import environment_of_tests, needs_trl_on_a_cpu
from made_models import bigram_model
from made_tasks import square, task
from safetensors.torch import load_file
from shipped import CONFIG
from tiny_workflow import TASKS

from arcfold.arc.tasks import Pair
from arcfold.jobs.files import read_json, write_json
from arcfold.jobs.provenance import Stopwatch
from arcfold.models.base import BaseModel
from arcfold.models.folder import model_record
from arcfold.training.adapt import adapt

WATCHED = """
import inspect, json, sys
request = json.loads(sys.argv[1])
opened, receivers, first_step = [], set(), []

def note_open(event, arguments):
    if event == "open" and str(arguments[0]).endswith("model/config.json"):
        caller = inspect.currentframe().f_back
        opened.append(caller.f_code.co_filename)

def note_settings(frame, event, _):
    code = frame.f_code
    if event == "call" and "workflow_scripts" in code.co_filename and not first_step:
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if "settings" in names and not code.co_name.startswith("<"):
            receivers.add(code.co_qualname)

from arcfold.training import job
update = job.Progress.update
job.Progress.update = lambda *arguments: (first_step.append(1), update(*arguments))[1]
import train_adapter
sys.addaudithook(note_open)
sys.setprofile(note_settings)
train_adapter.main(**request)
sys.setprofile(None)
assert first_step
print(json.dumps({"opened": opened, "receivers": sorted(receivers)}))
"""


def watched(folder: Path, backend: str) -> Any:
    """Which files opened the base model's config.json, and which functions took `settings` before the first step."""
    model = bigram_model(folder / "model")
    write_json(folder / "tasks.json", TASKS)
    write_json(folder / "folds.json", {"seed": 0, "folds": [list(TASKS)]})
    write_json(folder / "record.json", model_record("bigram", model, "embedded"))
    small = {"backend": backend, "rank": 2, "epochs": 1, "views": 2, "longest": 1000}
    request = {
        "tasks": str(folder / "tasks.json"),
        "folds": str(folder / "folds.json"),
        "fold": 0,
        "model": str(folder / "record.json"),
        "folder": str(model),
        "loading": {"dtype": "float32", "quantization": "none"},
        "init": None,
        "seed": 0,
        "settings": CONFIG["settings"]["training"] | small,
        "gpus": 0,
        "threads": 1,
        "report_to": "none",
        "log_file": str(folder / "log"),
        "output": str(folder / "adapter"),
    }
    command = [sys.executable, "-c", WATCHED, json.dumps(request)]
    done = subprocess.run(command, env=environment_of_tests(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_base_model_is_opened_once(tmp_path: Path) -> None:
    seen = watched(tmp_path, "auto")
    # its hash is taken too, once, of the file as it lies there
    read = [file for file in seen["opened"] if Path(file).name != "pathlib.py"]
    assert len(read) == 1, seen["opened"]
    assert len(seen["opened"]) <= 2, seen["opened"]
    assert len(seen["receivers"]) <= 12, seen["receivers"]


@pytest.mark.slow
@needs_trl_on_a_cpu
@pytest.mark.parametrize("backend", ["trl"])
def test_beside_transformers_own_reading_it_is_opened_once(tmp_path: Path, backend: str) -> None:
    seen = watched(tmp_path, backend)
    ours = [file for file in seen["opened"] if "transformers" not in Path(file).parts and "site-packages" not in file]
    ours = [file for file in ours if Path(file).name != "pathlib.py"]
    assert len(ours) == 1, seen["opened"]
    assert len(seen["receivers"]) <= 12, seen["receivers"]


def adapted(folder: Path, tasks: Any, **settings: Any) -> Any:
    """The report of a training on tasks, those that are too long left out."""
    model = bigram_model(folder / "model")
    adapt(
        tasks,
        base=BaseModel.open(model, model_record("bigram", model, "embedded"), dtype="float32"),
        init=None,
        seed=0,
        settings=CONFIG["settings"]["training"] | {"rank": 2, "views": 2, "backend": "packed"} | settings,
        gpus=0,
        threads=1,
        inputs={},
        watch=Stopwatch(),
        log_file=str(folder / "log"),
        output=str(folder / "adapter"),
        skips=True,
    )
    return read_json(folder / "adapter/training.json", "training")


SMALL = task("small", [("1", "2"), ("3", "4")], [("5", "6")])
LONG = replace(SMALL, id="long", train=(Pair(square(30), square(30)),))


def test_a_task_that_is_too_long_is_left_out_of_a_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = adapted(tmp_path, [SMALL, LONG], epochs=1, longest=1200)
    assert report["samples"] == 2
    (note,) = [note for note in report["notes"] if "left out" in note]
    assert note.startswith("task long is left out: a demonstration alone has 186")
    assert "task long: a demonstration alone has" in caplog.text


def test_without_any_task_that_fits_the_adapter_changes_nothing(tmp_path: Path) -> None:
    report = adapted(tmp_path, [LONG], epochs=1, longest=1200)
    assert (report["steps"], report["losses"], report["tokens"]) == (0, [], 0)
    weights = load_file(tmp_path / "adapter/adapter_model.safetensors")
    second = [tensor for name, tensor in weights.items() if "lora_B" in name]
    assert second
    assert not any(tensor.any() for tensor in second)  # W + B · A is W
    base = load_file(tmp_path / "model/model.safetensors")
    for name, tensor in weights.items():
        if "lora" not in name:
            assert any(torch.equal(tensor, other) for other in base.values() if other.shape == tensor.shape), name


def test_a_loss_that_rises_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rates = {"learning_rate": 30.0, "embedding_learning_rate": 30.0, "warmup_ratio": 0.0, "batch": 1}
    report = adapted(tmp_path, [SMALL], epochs=2, **rates)
    first, last = report["losses"][0], report["losses"][-1]
    assert last > first
    assert f"warning: the loss rose from {first:.4f} to {last:.4f}" in caplog.text
    caplog.clear()
    report = adapted(tmp_path, [SMALL], epochs=4, batch=1, learning_rate=0.01, embedding_learning_rate=0.01)
    assert report["losses"][-1] < report["losses"][0]
    assert "rose" not in caplog.text

"""A training as its script does it: the base model is opened once, and few functions hand its settings on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from environments import environment_of_tests, needs_trl_on_a_cpu
from made_models import bigram_model
from shipped import CONFIG
from tiny_workflow import TASKS

from arcfold.jobs.files import write_json
from arcfold.models.folder import model_record

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
    assert len(seen["opened"]) == 1, seen["opened"]
    assert len(seen["receivers"]) <= 12, seen["receivers"]


@needs_trl_on_a_cpu
@pytest.mark.parametrize("backend", ["trl"])
def test_beside_transformers_own_reading_it_is_opened_once(tmp_path: Path, backend: str) -> None:
    seen = watched(tmp_path, backend)
    ours = [file for file in seen["opened"] if "transformers" not in Path(file).parts and "site-packages" not in file]
    assert len(ours) == 1, seen["opened"]
    assert len(seen["receivers"]) <= 12, seen["receivers"]

"""Unsloth's backend against our own loop, in a process of its own; where Unsloth is installed (a CPU will do)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from environments import DEVICE, environment_of_tests, needs_unsloth, without_unsloth
from shipped import ROOT
from tiny_models import EMBEDDED

from arcfold.jobs.files import InputError
from arcfold.models.lora import CONFIG, WEIGHTS
from arcfold.models.stock import write_stock_model
from arcfold.training.unsloth import unsloth_libraries

ROUNDING = 1e-4 if DEVICE.type == "cpu" else 1e-2
"""Of losses, relative; Unsloth's kernels for a GPU round float32 too."""

TRAIN = """
import json, os, sys
from pathlib import Path
from arcfold.training.unsloth import load, unsloth_libraries
backend, base, folder, quantization, init = sys.argv[1:6]
def run():
    from trainings import samples_of, settings_of, train
    from arcfold.models.base import BaseModel
    from arcfold.models.transformers import load_pretrained
    from environments import DEVICE as device
    if backend == "unsloth":
        model = load(base, device, "float32", quantization, longest=24)
    else:
        model = load_pretrained(BaseModel.open(base, dtype="float32", quantization=quantization), device)
    more = {"init": Path(init)} if init else {}
    return train(Path(folder), samples_of(24, vocabulary=14), settings_of(), model, backend=backend, **more)
if backend == "unsloth":
    with unsloth_libraries():
        report = run()
        report["compiled"] = os.environ["UNSLOTH_COMPILE_LOCATION"]
else:
    report = run()
print("REPORT " + json.dumps(report))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock Qwen3 in the shapes of the embedded model, which Unsloth refuses."""
    folder = tmp_path_factory.mktemp("base") / "stock"
    write_stock_model(EMBEDDED, folder, seed=0)
    return folder


def trained(backend: str, base: Path, folder: Path, *, init: Path | None = None, quantization: str = "none") -> Any:
    """The report of a training in a new process that works in an empty folder."""
    command = [sys.executable, "-c", TRAIN, backend, str(base), str(folder), quantization, str(init or "")]
    here = folder.with_name(f"{folder.name}-here")
    here.mkdir()
    done = subprocess.run(command, env=environment_of_tests(), capture_output=True, text=True, check=False, cwd=here)
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(here.iterdir()) == []
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    return json.loads(line.removeprefix("REPORT "))


@needs_unsloth
def test_it_trains_as_the_packed_backend_does_and_goes_on_from_an_adapter(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    ours = trained("unsloth", base, tmp_path / "a")
    packed = trained("packed", base, tmp_path / "b")
    assert ours["backend"] == "unsloth"
    assert ours["losses"] == pytest.approx(packed["losses"], rel=ROUNDING)
    assert not Path(ours["compiled"]).exists()
    text = (tmp_path / "a" / CONFIG).read_text()
    assert text == (tmp_path / "b" / CONFIG).read_text()
    assert str(ROOT) not in text
    further, packed = (trained(b, base, tmp_path / f"{b}-on", init=tmp_path / "b") for b in ("unsloth", "packed"))
    assert further["lora"]["continued"] is True
    assert further["losses"] == pytest.approx(packed["losses"], rel=ROUNDING)
    assert further["losses"][0] < ours["losses"][0]
    weights, expected = (load_file(tmp_path / f"{backend}-on" / WEIGHTS) for backend in ("unsloth", "packed"))
    assert weights.keys() == expected.keys()
    for key, tensor in weights.items():
        if DEVICE.type == "cpu":
            torch.testing.assert_close(tensor, expected[key], rtol=0, atol=2e-4)
        else:
            assert torch.cosine_similarity(tensor.flatten(), expected[key].flatten(), dim=0) > 0.98


@without_unsloth
def test_without_it_one_line_says_so() -> None:
    with pytest.raises(InputError, match="unsloth cannot be imported"), unsloth_libraries():
        pass

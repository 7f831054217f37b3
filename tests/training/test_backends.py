"""Which backend is chosen, and that the choice agrees with what the packed backend itself refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from environments import environment_of_tests, without_unsloth
from shipped import ROOT
from tiny_models import ARCHITECTURES, tiny_model
from trainings import samples_of, settings_of, train

from arcfold.jobs.files import InputError
from arcfold.models.base import BaseModel
from arcfold.models.positions import MODEL_TYPE
from arcfold.training.backends import choose_backend, packed_refusal


@pytest.fixture
def unsloth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of that name can be imported."""
    (tmp_path / "site" / "unsloth").mkdir(parents=True)
    (tmp_path / "site" / "unsloth" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def folder_of(model: Any, folder: Path, **changes: Any) -> Path:
    """A folder with a model's config.json, keys changed."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(model.config.to_dict() | changes))
    return folder


COMPARED = """
import json, sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from backends_gpu_check import CHILDREN
out, facts = Path(sys.argv[1]), {"tiny": True, "tasks": None}
for what in ("inputs", "train", "predict"):
    with redirect_stdout(StringIO()) as said:
        CHILDREN[what](facts, out / ("inputs" if what == "inputs" else "row"))
    result = json.loads(said.getvalue().rpartition("RESULT ")[2])
    facts = {**facts, **result, "backend": "packed", "quantization": "none", "init": None}
print(json.dumps(facts))
"""


@pytest.mark.slow
def test_the_comparison_of_backends_runs_in_its_small_form(tmp_path: Path) -> None:
    """Training, search, rescoring and score, and the adapter merged against plain peft."""
    environment = environment_of_tests()
    environment["PYTHONPATH"] += f"{os.pathsep}{ROOT / 'benchmarks'}"
    command = [sys.executable, "-c", COMPARED, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    made = json.loads(done.stdout)
    assert 0 <= made["score"] <= made["oracle"] <= 100
    assert made["merged_apart"] < (1e-4 if made["number_type"] == "float32" else 0.1)


def choose(folder: Path, wanted: str = "auto", **more: Any) -> str:
    return choose_backend(wanted, BaseModel.open(folder, **more), gpus=1, longest=100).backend


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_the_packed_backend_computes_it_is_given(architecture: str, tmp_path: Path) -> None:
    model = tiny_model(architecture, vocabulary=16)
    folder = folder_of(model, tmp_path / "model")
    for dtype in ("auto", "float32", "bfloat16", "float16"):
        assert choose(folder, dtype=dtype) == "packed"
    assert train(tmp_path / "a", samples_of(4), settings_of(), model, backend="packed")["steps"] == 1


NOT_PACKED = pytest.mark.parametrize(
    ("architecture", "changes", "options", "said"),
    [
        ("llama", {"model_type": "gemma3"}, {}, "gemma3 models"),
        ("qwen3", {"hidden_act": "gelu"}, {}, "gelu"),
        ("llama", {"rope_parameters": {"rope_type": "longrope"}}, {}, "longrope positions"),
        ("llama", {"rope_parameters": None, "rope_scaling": {"type": "dynamic"}}, {}, "dynamic positions"),
        ("mistral", {"sliding_window": 64}, {}, "a sliding window of 64 with samples of 100 tokens"),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": True}, {}, "a sliding window of 64"),
        ("qwen3", {"partial_rotary_factor": 0.5}, {}, "a part of a head"),
        ("qwen3", {}, {"quantization": "4bit"}, "quantized weights"),
        ("qwen3", {"quantization_config": {"quant_method": "bitsandbytes"}}, {}, "quantized weights"),
    ],
)


@NOT_PACKED
@pytest.mark.usefixtures("unsloth")
def test_what_it_does_not_compute_goes_to_unsloth_if_there_is_a_gpu(
    architecture: str, changes: Any, options: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tiny_model(architecture, vocabulary=16), tmp_path / "model", **changes)
    for visible, gpus, expected in (("0", 1, "unsloth"), ("0", 0, "trl"), ("", 1, "trl")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        choice = choose_backend("auto", BaseModel.open(folder, **options), gpus=gpus, longest=100)
        assert choice.backend == expected
        assert said in choice.why


@without_unsloth
@NOT_PACKED
def test_and_to_trl_where_unsloth_is_not_installed(
    architecture: str, changes: Any, options: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tiny_model(architecture, vocabulary=16), tmp_path / "model", **changes)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    choice = choose_backend("auto", BaseModel.open(folder, **options), gpus=1, longest=100)
    assert choice.backend == "trl"
    assert said in choice.why


def test_unsloth_is_refused_for_positions_by_grids_and_auto_takes_packed_or_trl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tiny_model(MODEL_TYPE, vocabulary=16), tmp_path / "model")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(InputError, match="unsloth computes no positions by grids"):
        choose(folder, "unsloth")
    assert choose(folder) == "packed"
    assert choose(folder, quantization="4bit") == "trl"


@pytest.mark.parametrize("sliding", [{"use_sliding_window": False}, {"sliding_window": None}, {"sliding_window": 100}])
def test_a_window_that_hides_nothing_does_not_matter(sliding: dict[str, Any]) -> None:
    config = {"model_type": "qwen2", "sliding_window": 64} | sliding
    assert packed_refusal(BaseModel(Path("m"), config), longest=100) is None


def test_a_mistral_that_says_nothing_has_its_architectures_window() -> None:
    from transformers import MistralConfig

    window = MistralConfig().sliding_window
    for longest, refused in ((window, False), (window + 1, True)):
        refusal = packed_refusal(BaseModel(Path("m"), {"model_type": "mistral"}), longest=longest)
        assert (refusal is not None) == refused


@pytest.mark.usefixtures("unsloth")
def test_a_name_decides(tmp_path: Path) -> None:
    folder = folder_of(tiny_model("qwen3", vocabulary=16), tmp_path / "model")
    assert choose(folder, "trl") == "trl"
    assert choose(folder, "transformers") == "trl"
    assert choose(folder, "packed", quantization="4bit") == "packed"
    assert choose(folder, "unsloth") == "unsloth"


@without_unsloth
def test_unsloth_that_is_not_installed_is_named_with_its_remedy(tmp_path: Path) -> None:
    folder = folder_of(tiny_model("qwen3", vocabulary=16), tmp_path / "model")
    with pytest.raises(InputError, match=r"unsloth is not installed, expected the environment of envs/gpu\.lock"):
        choose(folder, "unsloth")

"""What jobs ask of a cluster."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from shipped import CONFIG, ROOT

from arcfold.runs.resources import ModelNumbers, TaskNumbers, at_attempt, needs_of, other_needs

MODEL = ModelNumbers.of(ROOT / "resources/base-15m")
STEPS = ("training", "search", "rescoring")
SETTINGS: dict[str, Any] = CONFIG["settings"]
QUICK = TaskNumbers(tasks=16, tests=16, tokens=3052, longest=274)


def test_the_embedded_model_has_15_million_parameters() -> None:
    size = (ROOT / "resources/base-15m/model.safetensors").stat().st_size
    # two bytes each, and the norms, which are left out
    assert math.isclose(MODEL.parameters, size / 2, rel_tol=0.01)
    assert MODEL.cached == 2 * 12 * 320


def test_a_fold_of_quick_is_asked_for_with_more_than_it_takes_and_not_with_much_more() -> None:
    """Measured on a SLURM that enforces memory: a fold of quick passes with 1000 MiB and is killed with 900."""
    for step in STEPS:
        needs = needs_of(step, MODEL, QUICK, 8, SETTINGS, gpu=False)
        assert 1000 < needs.memory_mib < 3000, step
        assert 10 < needs.minutes < 30


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("gpu", [False, True])
def test_needs_grow_with_model_tokens_and_views(step: str, gpu: bool) -> None:
    def needs(model: ModelNumbers = MODEL, tasks: TaskNumbers = QUICK, folds: int = 8, **changed: Any) -> Any:
        settings = SETTINGS | {step: SETTINGS[step] | changed}
        return needs_of(step, model, tasks, folds, settings, gpu=gpu)

    large = ModelNumbers(8e9, activations=1e6, cached=1.5e5)
    many = TaskNumbers(tasks=400, tests=419, tokens=686_000, longest=8384)
    assert needs(model=large).memory_mib > 2 * 8e9 / 2**20 > needs().memory_mib
    assert needs(large, many).minutes > needs(tasks=many).minutes
    assert needs(large, many).minutes > needs(large, many, folds=400).minutes
    assert needs(large, many, views=16).minutes > needs(large, many).minutes
    if not gpu:
        assert needs(tasks=many).memory_mib > needs().memory_mib


def test_an_attempt_has_twice_the_one_before() -> None:
    assert [at_attempt(700, attempt) for attempt in (1, 2, 3)] == [700, 1400, 2800]


def test_a_model_that_is_yet_to_be_fetched_counts_as_a_large_one(tmp_path: Path) -> None:
    assert other_needs(ModelNumbers.of(tmp_path)).memory_mib > 8e9 * 4 / 2**20


def test_a_dataset_is_counted_once(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from arcfold.runs import resources

    first = TaskNumbers.of(config, "quick", tmp_path)
    assert first.tasks == 16
    assert first.longest == max(108, first.longest) < 300
    monkeypatch.setattr(resources, "load_dataset", None)
    assert TaskNumbers.of(config, "quick", tmp_path) == first

"""The benchmark of training: what is slow ends early and says so."""

from __future__ import annotations

import time

import pytest
from environments import needs_trl_on_a_cpu
from shipped import ROOT
from trainings import samples_of, settings_of

from arcfold.models.base import BaseModel
from arcfold.training import benchmark


@needs_trl_on_a_cpu
@pytest.mark.parametrize(("limit", "steps"), [(0.0, 3), (1e9, 6)])
def test_a_slow_way_ends_after_its_third_step(monkeypatch: pytest.MonkeyPatch, limit: float, steps: int) -> None:
    monkeypatch.setattr(benchmark, "LIMIT", limit)
    samples = samples_of(23, vocabulary=14)  # six steps of four, the last one short
    base = BaseModel.open(ROOT / "resources" / "base-15m")
    row = benchmark.train("trl-defaults", base, samples, settings_of(), time.time())
    assert row["steps"] == len(row["losses"]) == steps
    assert row["tokens"] == sum(len(sample.input_ids) for sample in samples[: 4 * steps])
    assert row["notes"] == ([] if steps == 6 else ["ended after 3 of 6 steps"])

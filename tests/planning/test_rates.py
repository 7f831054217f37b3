"""Rates are those that the points were made with, and found by device and model."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from arcfold.jobs.files import InputError, check_schema, read_json
from arcfold.planning import rates as module
from arcfold.planning.rates import PromptRates, Rates, cpu_name, find_rates, fit_prompts, fit_training

RATES = Rates(
    device="NVIDIA L4", memory=24 * 2**30, threads=1, model="mine", parameters=1_000_000, number_type="bfloat16",
    backend="packed", start_seconds=20.0, first_step_seconds=2.0, step_seconds=0.1, training_flops=1e12,
    token_bytes=0.0, search=PromptRates(0.5, 2e12, 0.01), min_prob=0.17, rescoring=PromptRates(0.5, 2e12, 0.001),
    script_seconds=1.0,
)  # fmt: skip
MINE = {"name": "mine"}


def training(steps, flops):
    """A training that goes exactly at the rates."""
    of_step = 0.1 + flops / steps / 1e12
    return {"steps": steps, "flops": flops, "first_step": 2.0 + of_step, "later": (steps - 1) * of_step}


def test_a_fit_gives_back_the_rates():
    made = fit_training([training(10, 1e12), training(40, 2e13), training(20, 4e12)])
    assert made["step_seconds"] == pytest.approx(0.1)
    assert made["training_flops"] == pytest.approx(1e12)
    assert made["first_step_seconds"] == pytest.approx(2.0)
    points = [
        {"flops": flops, "reply_tokens": tokens, "seconds": flops / 2e12 + tokens * 0.01}
        for flops, tokens in ((1e12, 100.0), (5e12, 10.0), (2e12, 900.0))
    ]
    made = fit_prompts(points, 0.5)
    assert (made.job_seconds, made.flops, made.reply_token_seconds) == (0.5, pytest.approx(2e12), pytest.approx(0.01))


def test_no_rate_is_negative_and_one_point_is_shared():
    # the second takes longer with less of everything
    made = fit_prompts([{"flops": 2e12, "reply_tokens": 200.0, "seconds": 1.0},
                        {"flops": 1e12, "reply_tokens": 150.0, "seconds": 3.0}], 0.0)  # fmt: skip
    assert made.flops > 0
    assert made.reply_token_seconds >= 0
    (point,) = points = [{"flops": 1e12, "reply_tokens": 100.0, "seconds": 3.0}]
    made = fit_prompts(points, 0.0)
    assert point["flops"] / made.flops + 100 * made.reply_token_seconds == pytest.approx(3.0)
    with pytest.raises(InputError, match="no training of two steps"):
        fit_training([{"steps": 1, "flops": 1.0, "first_step": 1.0, "later": 0.0}])


def test_a_calibration_goes_before_shipped_rates_and_the_model_before_its_like(tmp_path, monkeypatch):
    shipped, calibration = tmp_path / "rates.json", tmp_path / "calibration.json"
    monkeypatch.setattr(module, "SHIPPED", shipped)
    other = replace(RATES, model="other", parameters=1_200_000)

    def write(path, *records):
        content = {"rates": [record.to_json() for record in records]}
        check_schema(content, "rates", path)
        path.write_text(json.dumps(content))

    assert find_rates("NVIDIA L4", MINE, 10**6, 1, calibration) is None
    write(shipped, other, RATES)
    assert find_rates("NVIDIA L4", MINE, 10**6, 1, calibration)[0] == RATES
    write(calibration, other)
    assert find_rates("NVIDIA L4", MINE, 10**6, 1, calibration)[0] == RATES
    assert find_rates("NVIDIA L4", {"name": "third"}, 10**6, 1, calibration)[0] == other
    assert find_rates("NVIDIA L4", {"name": "third"}, 10**7, 1, calibration) is None
    assert find_rates("NVIDIA T4", MINE, 10**6, 1, calibration) is None
    calibrated = replace(RATES, step_seconds=0.2)
    write(calibration, calibrated)
    assert find_rates("NVIDIA L4", MINE, 10**6, 1, calibration)[0] == calibrated


def test_shipped_rates_fit_their_schema_and_a_cpu_has_a_name():
    if module.SHIPPED.is_file():
        read_json(module.SHIPPED, "rates")
    assert cpu_name()

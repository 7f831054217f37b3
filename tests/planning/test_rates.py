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
    token_bytes=0.0, search=PromptRates(0.5, 2e12, 0.01, 0.002), min_prob=0.17,
    rescoring=PromptRates(0.5, 2e12, 0.001, 0.0), script_seconds=1.0,
)  # fmt: skip
MINE = {"name": "mine"}


def training(steps, flops):
    """A training that goes exactly at the rates."""
    return {"steps": steps, "flops": flops, "seconds": 2.0 + steps * 0.1 + flops / 1e12}


def prompts(flops, replies, *, token=0.01, step=0.002):
    """A search of prompts whose expected replies have these lengths, each in 8 views."""
    tokens, longest = 8 * sum(replies), max(replies)
    seconds = flops / 2e12 + tokens * token + longest * step
    return {"flops": flops, "reply_tokens": tokens, "longest_reply": longest, "seconds": seconds}


def test_a_fit_gives_back_the_rates():
    made = fit_training([training(3, 1e11), training(10, 1e12), training(400, 2e13), training(20, 4e12)])
    assert made["first_step_seconds"] == pytest.approx(2.0, rel=0.02)
    assert made["step_seconds"] == pytest.approx(0.1, rel=0.02)
    assert made["training_flops"] == pytest.approx(1e12, rel=0.02)
    folds = ((1e10, [30.0]), (8e10, [100.0]), (2e11, [60.0, 90.0]), (5e12, [40.0] * 40), (1e11, [9.0] * 2))
    made = fit_prompts([prompts(*fold) for fold in folds], 0.5, passes=True)
    for fold in ((2e12, [50.0] * 20), (3e12, [200.0] * 16)):
        of = prompts(*fold)
        planned = made.job_seconds + of["flops"] / made.flops
        planned += of["reply_tokens"] * made.reply_token_seconds + of["longest_reply"] * made.reply_step_seconds
        assert planned == pytest.approx(0.5 + of["seconds"], rel=0.05)


def test_many_prompts_at_once_tell_passes_from_tokens():
    """On a GPU a pass takes as long with the tokens of 50 tasks as with those of one."""
    gpu = {"token": 1e-6, "step": 0.004}
    alone = [prompts(1e10, [length], **gpu) for length in (30.0, 60.0, 100.0)]
    fold = prompts(1e12, [60.0] * 50, **gpu)

    def planned(made):
        replies = fold["reply_tokens"] * made.reply_token_seconds + fold["longest_reply"] * made.reply_step_seconds
        return made.job_seconds + fold["flops"] / made.flops + replies

    # from single tasks alone both are the same, and tokens are what is thought of first
    assert planned(fit_prompts(alone, 0.0, passes=True)) > 5 * fold["seconds"]
    assert fit_prompts(alone, 0.0, passes=False).reply_step_seconds == 0
    larger = prompts(2e11, [50.0] * 16, **gpu)
    assert planned(fit_prompts([*alone, larger], 0.0, passes=True)) == pytest.approx(fold["seconds"], rel=0.3)


def test_no_rate_is_negative_and_what_one_point_cannot_tell_is_shared():
    # the second takes longer with less of everything
    points = [
        {"flops": 2e12, "reply_tokens": 200.0, "longest_reply": 25.0, "seconds": 1.0},
        {"flops": 1e12, "reply_tokens": 150.0, "longest_reply": 20.0, "seconds": 3.0},
    ]
    made = fit_prompts(points, 0.0, passes=True)
    assert made.flops > 0
    assert min(made.job_seconds, made.reply_token_seconds, made.reply_step_seconds) >= 0
    made = fit_prompts(
        [{"flops": 1e12, "reply_tokens": 100.0, "longest_reply": 12.5, "seconds": 3.0}], 0.0, passes=True
    )
    assert 1e12 / made.flops == pytest.approx(1.5, rel=0.01)
    assert 100 * made.reply_token_seconds == pytest.approx(1.5, rel=0.01)
    with pytest.raises(InputError, match="no training of a step"):
        fit_training([{"steps": 0, "flops": 0.0, "seconds": 1.0}])


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

"""The benchmark of training as a target: every way that is installed, on the same samples."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from tiny_workflow import copied

from arcfold.jobs.files import check_schema


@pytest.mark.slow
def test_all_ways_take_the_same_steps_and_ours_the_same_losses(done, tmp_path):
    workflow = copied(done, tmp_path)
    call = workflow("results/benchmark/training.json")
    assert call.status == 0, call.said
    made = workflow.read("results/benchmark/training.json")
    check_schema(made, "training_benchmark", "training.json")
    rows = made["rows"]
    assert find_spec("unsloth") is not None or rows["unsloth"]["error"] == "not installed"
    ours = {way: rows[way] for way in ("packed", "trl", "trl-defaults")}
    assert {row["tokens"] for row in ours.values()} == {ours["trl"]["tokens"]}
    assert {row["steps"] for row in ours.values()} == {2}  # one task, 2 views, 2 epochs, 2 samples at a step
    assert ours["packed"]["losses"] == pytest.approx(ours["trl"]["losses"], rel=1e-4)
    assert ours["packed"]["padding_percent"] == 0
    speed = ours["packed"]["tokens_per_second"] / ours["trl"]["tokens_per_second"]
    assert made["comparison"]["packed"]["speed over trl"] == pytest.approx(speed)


def test_an_unknown_run_is_one_line(done):
    call = done("results/benchmark/training_nonsense.json", "-n")
    assert call.status == 1
    assert any("nonsense" in line for line in call.our_lines)

"""A calibration measures at several sizes, and gives rates that a plan can be made with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from made_models import bigram_model
from made_tasks import task
from shipped import CONFIG
from tiny_workflow import CONFIG as TINY

from arcfold.jobs.files import check_schema
from arcfold.models.base import BaseModel
from arcfold.models.folder import model_record
from arcfold.models.loading import model_loader
from arcfold.planning import calibration
from arcfold.planning.calibration import Bench, spread
from arcfold.planning.plan import Machine, Subject, make_plan

SETTINGS = {name: {**section, **TINY["settings"].get(name, {})} for name, section in CONFIG["settings"].items()}
TASKS = [task(f"{n:02}", [("1" * n, "2" * n)] * 2, [("3" * n, None)]) for n in range(1, 21)]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(calibration, "TRAINING_SECONDS", 0.3)
    folder = bigram_model(tmp_path / "bigram")
    base = BaseModel.open(folder, model_record("bigram", folder, "embedded"), dtype="float32")
    return Bench(
        base, model_loader(base), model_loader(base, plain=True), "packed", SETTINGS, 0, torch.device("cpu"), 1, None,
        tmp_path, start_seconds=2.0, script_seconds=1.0,
    )  # fmt: skip


def test_folds_grow_as_long_as_there_is_time_and_rates_make_a_plan(bench: Bench) -> None:
    rates = bench.measure(TASKS, 10)
    content = {"rates": [rates.to_json()], "points": bench.points}
    check_schema(json.loads(json.dumps(content)), "rates", "calibration")
    training, search = bench.points["training"], bench.points["search"]
    # two pairs: 12 batches of 2 one by one, as many as a fold of theirs has (2 tasks, 2 epochs of 2 views), and more
    assert [point["steps"] for point in training[:2]] == [24, 4]
    assert max(point["steps"] for point in training) > 20
    # at last all tasks: 40 steps, and a search of 40 prompts at once
    assert training[-1]["steps"] == 40
    assert len(search) > 6
    assert search[-1]["reply_tokens"] > 5 * search[0]["reply_tokens"]
    assert rates.start_seconds >= 2.0
    subject = Subject("mine", 0, [TASKS[:10], TASKS[10:]], SETTINGS, "bigram", bench.base.codec, bench.size)
    made = make_plan(subject, Machine(rates.device, 2, rates, "here", free_disk=10**12), 60)
    assert all(made["rules"][rule]["seconds"] > 0 for rule in ("train_adapter", "search_candidates"))


def test_what_is_spread_has_all_lengths() -> None:
    assert [each.id for each in spread(TASKS, 4)] == ["03", "08", "13", "18"]
    assert spread(TASKS, 20) == TASKS

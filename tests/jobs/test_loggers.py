"""Losses and learning rates reach the loggers of transformers, from every backend alike."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import both_backends, samples_of, settings_of, train
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from arcfold.jobs.files import InputError
from arcfold.jobs.loggers import reporting

CPU = torch.device("cpu")


class Lines(TrainerCallback):
    """A logger as a user may add one to transformers: it writes lines into its folder."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        Path(args.output_dir).mkdir(parents=True)
        self.file = (Path(args.output_dir) / "lines").open("w")
        self.file.write(f"{args.run_name}\n")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.file.write(f"{state.global_step} {logs['loss']!r} {logs['learning_rate']!r}\n")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.file.close()


@both_backends
def test_every_step_is_told_with_its_loss_and_rate(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import get_cosine_schedule_with_warmup

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "lines", Lines)
    folder = tmp_path / "logs" / "fold-0"
    settings = settings_of(warmup_steps=1, learning_rate=0.5)
    with reporting("lines", folder, CPU) as reporter:
        report = train(tmp_path / "a", samples_of(14), settings, backend=backend, reporter=reporter)
    name, *lines = (folder / "lines").read_text().splitlines()
    assert name == folder.as_posix()
    steps, losses, rates = zip(*(map(float, line.split()) for line in lines), strict=True)
    assert steps == (1, 2, 3, 4)
    assert list(losses) == report["losses"]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule = get_cosine_schedule_with_warmup(optimizer, 1, 4)
    for rate in rates:
        assert rate == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_none_is_no_logger(tmp_path: Path) -> None:
    with reporting("none", tmp_path / "logs", CPU) as reporter:
        assert reporter is None
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_logger_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config: report_to: 'papyrus' cannot be used \(papyrus is not supported"):
        reporting("papyrus", tmp_path / "logs", CPU).__enter__()


@pytest.mark.skipif(find_spec("tensorboard") is not None, reason="TensorBoard is installed")
def test_a_logger_that_is_not_installed_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="config: report_to: 'tensorboard' cannot be used"):
        reporting("tensorboard", tmp_path / "logs", CPU).__enter__()


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="TensorBoard is not installed")
def test_tensorboard_reads_back_what_was_told(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with reporting("tensorboard", tmp_path / "logs", CPU) as reporter:
        report = train(tmp_path / "a", samples_of(8), settings_of(), backend="packed", reporter=reporter)
    (events,) = (tmp_path / "logs").rglob("events*")
    accumulator = EventAccumulator(os.fspath(events)).Reload()
    assert [event.value for event in accumulator.Scalars("train/loss")] == pytest.approx(report["losses"])

"""A training's curves for the loggers that transformers knows: TensorBoard, W&B and others, whatever the backend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from arcfold.jobs.files import InputError

if TYPE_CHECKING:
    import torch

NONE = "none"


@contextlib.contextmanager
def reporting(report_to: str, folder: str | Path, device: torch.device) -> Iterator[Reporter | None]:
    """A reporter for the block, None for "none"; arguments as `Reporter`."""
    if report_to == NONE:
        yield None
        return
    reporter = Reporter(report_to, folder, device)
    try:
        yield reporter
    finally:
        reporter.close()


class Reporter:
    """Hands what transformers' own trainer would log to one of its loggers, after every step."""

    def __init__(self, report_to: str, folder: str | Path, device: torch.device) -> None:
        """report_to: a logger's name in transformers; folder: where it may write; its path names the training.

        Raises InputError for a logger that transformers does not know or that is not installed.
        """
        from transformers import TrainerControl, TrainerState, TrainingArguments
        from transformers.integrations import get_reporting_integration_callbacks

        name = Path(folder).as_posix()
        try:
            self._loggers = [make() for make in get_reporting_integration_callbacks(report_to)]
            arguments = TrainingArguments(
                output_dir=name, run_name=name, report_to=report_to, use_cpu=device.type == "cpu", bf16=False
            )
        except (ValueError, RuntimeError, ImportError) as error:
            raise InputError(f"config: report_to: {report_to!r} cannot be used ({error})") from None
        self._state = TrainerState()
        self._rest = (arguments, self._state, TrainerControl())
        for logger in self._loggers:
            logger.on_train_begin(*self._rest)

    def step(self, step: int, loss: float, learning_rate: float) -> None:
        """Says that `step`, counted from 1, is done."""
        self._state.global_step = step
        for logger in self._loggers:
            logger.on_log(*self._rest, logs={"loss": loss, "learning_rate": learning_rate})

    def close(self) -> None:
        """Writes out what is left."""
        for logger in self._loggers:
            logger.on_train_end(*self._rest)

"""Training an adapter on tasks: from tasks and settings to a folder with the LoRA and what happened."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arcfold.arc.lengths import untrainable
from arcfold.arc.tasks import Task
from arcfold.jobs.compute import compute_device
from arcfold.jobs.files import hash_of, new_folder, write_json
from arcfold.jobs.loggers import NONE, reporting
from arcfold.jobs.provenance import Stopwatch, provenance
from arcfold.models.base import BaseModel
from arcfold.models.loading import model_loader
from arcfold.training.backends import AUTO, choose_backend
from arcfold.training.job import TrainingSettings
from arcfold.training.samples import fold_samples
from arcfold.training.train import train_adapter

if TYPE_CHECKING:
    import torch
    from torch import nn

log = logging.getLogger(__name__)

OF_SAMPLES = frozenset({"epochs", "views", "longest", "mask_first_output", "pairs"})
"""The training settings that decide what the samples are; the others decide how they are trained on."""


def adapt(
    tasks: Sequence[Task],
    *,
    base: BaseModel,
    init: str | None,
    seed: int,
    settings: Mapping[str, Any],
    gpus: int,
    threads: int,
    inputs: Mapping[str, str],
    watch: Stopwatch,
    report_to: str = NONE,
    log_file: str,
    output: str,
    report_file: str | None = None,
    skips: bool = False,
) -> None:
    """Trains a LoRA on all demonstrations of the tasks and writes its folder, whole or not at all.

    init: the folder of an adapter to go on from, whose own configuration is then used
    settings: the config's section `training`
    inputs: the hash of each input, for the record
    report_to: a logger of transformers', which may write into a folder beside log_file, named like it
    report_file: where the report is written a second time, for an adapter that does not stay
    skips: whether a task that is too long for a sample is left out, with a note; without it that is an InputError
    """
    base.check_length(settings["longest"], "training/longest")
    too_long = _too_long(tasks, base, settings["longest"]) if skips else {}
    tasks = [task for task in tasks if task.id not in too_long]
    samples = fold_samples(tasks, base.codec, seed=seed, **{key: settings[key] for key in OF_SAMPLES & settings.keys()})
    watch.lap("samples")
    longest = max((len(sample.input_ids) for sample in samples), default=0)
    choice = choose_backend(settings["backend"], base, gpus=gpus, longest=longest)
    log.info("backend %s: %s", choice.backend, choice.why)
    # Unsloth's import already uses the device, so it waits for the lease; the others' can come before
    load = None if choice.backend == "unsloth" else model_loader(base, plain=choice.backend == "packed")
    watch.lap("libraries")
    with compute_device(gpus, threads) as device, new_folder(output) as folder:
        watch.lap("wait for a device")
        with (
            nullcontext(load(device)) if load else _loaded_by_unsloth(base, device, longest) as model,
            reporting(report_to, Path(log_file).with_suffix(""), device) as reporter,
        ):
            watch.lap("load")
            report = train_adapter(
                model,
                samples,
                training_settings(settings, seed=seed, threads=threads),
                folder=folder,
                checkpoints=_checkpoints(Path(output), settings, seed),
                base_record=base.identity,
                init=None if init is None else Path(init),
                backend=choice.backend,
                reporter=reporter,
                saved_as=settings.get("saved_as", "float32"),
            )
        watch.lap("training")
        if settings["backend"] == AUTO:
            report["notes"].insert(0, f"backend {choice.backend}: {choice.why}")
        report["notes"] += [f"task {task} is left out: {reason}" for task, reason in too_long.items()]
        _warn_if_risen(report["losses"])
        measured = report.pop("measured")
        report["provenance"] = provenance(inputs=inputs, watch=watch, settings=settings, training=measured)
        write_json(folder / "training.json", report, "training")
    if report_file is not None:
        write_json(report_file, report, "training")


def _too_long(tasks: Sequence[Task], base: BaseModel, longest: int) -> dict[str, str]:
    """Why tasks are left out of a training, by their ids."""
    reasons = {task.id: untrainable(task, base.codec, longest) for task in tasks}
    found = {task: reason for task, reason in reasons.items() if reason is not None}
    for task, reason in found.items():
        log.warning("task %s: %s: it is not trained on", task, reason)
    return found


def _warn_if_risen(losses: Sequence[float]) -> None:
    if losses and losses[-1] > losses[0]:
        log.warning("warning: the loss rose from %.4f to %.4f; lower the learning rate?", losses[0], losses[-1])


def training_settings(settings: Mapping[str, Any], *, seed: int, threads: int) -> TrainingSettings:
    """What of the config's section `training` says how samples are trained on; the rest says what they are."""
    chosen = {key: value for key, value in settings.items() if key not in {*OF_SAMPLES, "backend", "init", "saved_as"}}
    return TrainingSettings(**chosen | {"targets": tuple(chosen["targets"])}, seed=seed, threads=threads)


@contextmanager
def _loaded_by_unsloth(base: BaseModel, device: torch.device, longest: int) -> Iterator[nn.Module]:
    from arcfold.training.unsloth import load, unsloth_libraries

    with unsloth_libraries():
        yield load(base, device, longest=longest)


def _checkpoints(adapter: Path, settings: Mapping[str, Any], seed: int) -> Path:
    """Where an interrupted training of this adapter left its state.

    Outputs are deleted when a job starts again, so it lies beside them, named by the settings.
    """
    return adapter.with_name(f".{adapter.name}-{hash_of([dict(settings), seed], 12)}")

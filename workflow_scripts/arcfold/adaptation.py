"""Training an adapter on tasks: from tasks and settings to a folder with the LoRA and what happened."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arcfold.backends import AUTO, choose_backend
from arcfold.files import hash_of, new_folder, write_json
from arcfold.light_models import base_loader
from arcfold.models import check_length, codec_of, compute_device
from arcfold.provenance import Stopwatch, provenance
from arcfold.reporting import NONE, reporting
from arcfold.samples import fold_samples
from arcfold.tasks import Task
from arcfold.training import TrainingSettings, train_adapter

if TYPE_CHECKING:
    import torch
    from torch import nn

log = logging.getLogger(__name__)

OF_SAMPLES = ("epochs", "views", "longest", "mask_first_output")
"""The training settings that decide what the samples are; the others decide how they are trained on."""


def adapt(
    tasks: Sequence[Task],
    *,
    record: Mapping[str, Any],
    base: str,
    loading: Mapping[str, str],
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
) -> None:
    """Trains a LoRA on all demonstrations of the tasks and writes its folder, whole or not at all.

    record: the base model's record; base: its folder; loading: its dtype and quantization
    init: the folder of an adapter to go on from, whose own configuration is then used
    report_to: a logger of transformers', which may write into a folder beside log_file, named like it
    """
    check_length(record, settings["longest"], "training/longest")
    samples = fold_samples(tasks, codec_of(record), seed=seed, **{key: settings[key] for key in OF_SAMPLES})
    of_training = {key: value for key, value in settings.items() if key not in {*OF_SAMPLES, "backend", "init"}}
    of_training["targets"] = tuple(of_training["targets"])
    watch.lap("samples")
    longest = max(len(sample.input_ids) for sample in samples)
    choice = choose_backend(settings["backend"], base, gpus=gpus, longest=longest, **loading)
    log.info("backend %s: %s", choice.backend, choice.why)
    load_here = None
    if choice.backend != "unsloth":
        load_here = base_loader(base, loading, light=choice.backend == "packed")
    watch.lap("libraries")
    with compute_device(gpus, threads) as device, new_folder(output) as folder:
        watch.lap("wait for a device")
        with (
            _loaded(load_here, base, device, loading, longest) as model,
            reporting(report_to, Path(log_file).with_suffix(""), device) as reporter,
        ):
            watch.lap("load")
            report = train_adapter(
                model,
                samples,
                TrainingSettings(**of_training, seed=seed, threads=threads),
                folder=folder,
                checkpoints=_checkpoints(Path(output), settings, seed),
                base_record={key: record[key] for key in ("name", "hash")},
                init=None if init is None else Path(init),
                backend=choice.backend,
                reporter=reporter,
            )
        watch.lap("training")
        if settings["backend"] == AUTO:
            report["notes"].insert(0, f"backend {choice.backend}: {choice.why}")
        measured = report.pop("measured")
        report["provenance"] = provenance(inputs=inputs, watch=watch, settings=settings, training=measured)
        write_json(folder / "training.json", report, "training")


@contextlib.contextmanager
def _loaded(
    load_here: Callable[[torch.device], nn.Module] | None,
    base: str,
    device: torch.device,
    loading: Mapping[str, str],
    longest: int,
) -> Iterator[nn.Module]:
    """The base model by its loader, or by Unsloth without one; its import uses the device, so it is here."""
    if load_here is not None:
        yield load_here(device)
        return
    from arcfold.training_unsloth import load, unsloth_libraries

    with unsloth_libraries():
        yield load(base, device, **loading, longest=longest)


def _checkpoints(adapter: Path, settings: Mapping[str, Any], seed: int) -> Path:
    """Where an interrupted training of this adapter left its state.

    Outputs are deleted when a job starts again, so it lies beside them, named by the settings.
    """
    return adapter.with_name(f".{adapter.name}-{hash_of([dict(settings), seed], 12)}")

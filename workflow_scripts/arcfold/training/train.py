"""Training a LoRA on samples, whatever backend makes the steps: checks, start, checkpoints, report.

This module sees token ids only. The steps themselves are made by one of three backends, which
train the same weights on the same samples in the same order and at the same learning rates:

- `trl`: trl's SFTTrainer over transformers and peft, the reference;
- `packed`: a loop of our own, several times faster;
- `unsloth`: trl's trainer over Unsloth's layers, on models that it loaded.

What they get is a `job.Job`, with nothing left to choose; what they hand back is a `job.Outcome`.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arcfold.jobs.files import InputError, hash_of, hash_of_files
from arcfold.jobs.loggers import Reporter
from arcfold.models.base import number_type
from arcfold.models.lora import FILES, LoraSpec, fresh_weights, load_adapter, make_spec, save_adapter
from arcfold.training.checkpoints import Checkpoints
from arcfold.training.job import (
    BACKENDS,
    OPTIMIZERS,
    Job,
    Outcome,
    Progress,
    Sample,
    TrainingSettings,
    determinism,
    make_schedule,
    peak_memory,
    remedy_of_divergence,
)

log = logging.getLogger(__name__)


def train_adapter(
    base_model: nn.Module,
    samples: Sequence[Sample],
    settings: TrainingSettings,
    *,
    folder: Path,
    checkpoints: Path | None,
    base_record: Mapping[str, str],
    init: Path | None = None,
    backend: str = "trl",
    progress: bool = True,
    reporter: Reporter | None = None,
    checkpoint_seconds: float = 120.0,
    saved_as: str = "float32",
) -> dict[str, Any]:
    """Trains a LoRA of a loaded causal language model on samples in the given order; writes it to `folder`.

    A folder that is to be whole or absent comes from `new_folder`.

    base_model: float32, bfloat16 or float16, on the device that computes; the LoRA is trained in float32
    beside it. Its weights are the same after the call. For the unsloth backend, one that
    `unsloth.load` has loaded.
    samples: in training order, all epochs one after the other; without any the adapter stays as it began.
    checkpoints: a folder of this job alone, where an interrupted call left its state and the next
    one continues; removed when training is done. None saves nothing.
    base_record: `name` and content `hash` of the base model, recorded beside the adapter.
    init: an adapter folder to go on from; its rank, alpha, rsLoRA, dropout and targets are then
    used instead of those in the settings. It must have been trained on a base of the same hash.
    reporter: is told of every step.
    checkpoint_seconds: least time between two checkpoints.
    saved_as: the type of the adapter's numbers on disk, float32 or bfloat16.

    Returns the training report. All of it but `measured` depends on the arguments and the device
    alone; so does every byte of `adapter_model.safetensors`.
    Raises InputError, with one line and nothing written, for settings or samples that cannot be
    trained on, an `init` that does not fit, and a loss that is not finite (naming the step).
    """
    began = time.monotonic()
    samples = tuple(samples)
    _check(samples, settings, backend)
    spec, weights = _start(base_model, settings, init, base_record)
    schedule = make_schedule(len(samples), settings)
    if schedule.note:
        log.warning(schedule.note)
    saved = None
    if checkpoints is not None:
        saved = Checkpoints(checkpoints, _fingerprint(samples, settings, base_model, base_record, init, backend))

    def tell(step: int, loss: float) -> None:
        assert reporter is not None
        reporter.step(step, loss, settings.learning_rate * schedule.factor(step - 1))

    job = Job(
        samples=samples,
        settings=settings,
        schedule=schedule,
        spec=spec,
        weights=weights,
        checkpoints=saved,
        checkpoint_seconds=checkpoint_seconds,
        progress=Progress(schedule.steps, progress, tell if reporter is not None else None),
    )
    device = next(base_model.parameters()).device
    with determinism(settings, device, strict=backend != "unsloth"):
        _reset_peak_memory(device)
        try:
            # nothing to train on: an adapter that changes nothing, or the one that it goes on from
            outcome = _backend(backend)(base_model, job) if samples else Outcome(dict(weights), [], 0, 0.0, 0.0)
        finally:
            job.progress.close()
    _check_finite(outcome.weights, schedule.steps, next(base_model.parameters()).dtype)
    folder.mkdir(parents=True, exist_ok=True)
    save_adapter(folder, spec, outcome.weights, base_record, saved_as)
    if saved is not None:
        saved.remove()
    return _report(job, outcome, backend, base_model, base_record, init, time.monotonic() - began)


def _backend(name: str) -> Callable[[nn.Module, Job], Outcome]:
    """The backends are imported late: trl alone takes several seconds."""
    if name == "trl":
        from arcfold.training import trl

        return trl.train
    if name == "unsloth":
        from arcfold.training import unsloth

        return unsloth.train
    from arcfold.training.packed import loop

    return loop.train


def _check(samples: tuple[Sample, ...], settings: TrainingSettings, backend: str) -> None:
    if backend not in BACKENDS:
        raise InputError(f"backend: {backend!r}, expected one of {', '.join(BACKENDS)}")
    if settings.optimizer not in OPTIMIZERS:
        raise InputError(f"optimizer: {settings.optimizer!r}, expected one of {', '.join(OPTIMIZERS)}")
    if (settings.warmup_ratio is None) == (settings.warmup_steps is None):
        raise InputError("warmup_ratio, warmup_steps: expected exactly one of the two")
    for name, least in (("batch", 1), ("accumulation", 1), ("warmup_steps", 0), ("warmup_ratio", 0)):
        value = getattr(settings, name)
        if value is not None and value < least:
            raise InputError(f"{name}: {value}, expected at least {least}")
    for index, sample in enumerate(samples):
        if len(sample.input_ids) != len(sample.labels):
            raise InputError(
                f"training: sample {index} has {len(sample.input_ids)} tokens and {len(sample.labels)} labels"
            )
        if not sample.label_tokens():
            raise InputError(f"training: sample {index} has no label, expected at least one behind its first token")


def _start(
    base_model: nn.Module, settings: TrainingSettings, init: Path | None, base_record: Mapping[str, str]
) -> tuple[LoraSpec, dict[str, Tensor]]:
    if init is not None:
        return load_adapter(init, base_model, base_record)
    spec = make_spec(
        base_model,
        rank=settings.rank,
        alpha=settings.alpha,
        rslora=settings.rslora,
        targets=settings.targets,
        dropout=settings.dropout,
    )
    return spec, fresh_weights(base_model, spec, settings.seed)


def _fingerprint(
    samples: Sequence[Sample],
    settings: TrainingSettings,
    base_model: nn.Module,
    base_record: Mapping[str, str],
    init: Path | None,
    backend: str,
) -> str:
    """A hash of all that decides the result."""
    parameter = next(base_model.parameters())
    return hash_of(
        {
            "samples": _hash_of_samples(samples),
            "settings": asdict(settings),
            "base": base_record["hash"],
            "init": hash_of_files(init, FILES) if init is not None else None,
            "backend": backend,
            "device": _device_name(parameter.device),
            "number_type": str(parameter.dtype),
        }
    )


def _hash_of_samples(samples: Sequence[Sample]) -> str:
    total = hashlib.sha256()
    for sample in samples:
        total.update(b"%d:" % len(sample.input_ids))
        total.update(sample.input_ids.data)
        total.update(sample.labels.data)
    return total.hexdigest()


def _check_finite(weights: Mapping[str, Tensor], steps: int, dtype: torch.dtype) -> None:
    """A gradient that is not finite shows in the next step's loss; after the last step it shows only here."""
    for key, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"training: {key} is not finite after step {steps}; {remedy_of_divergence(dtype)}")


def _report(
    job: Job,
    outcome: Outcome,
    backend: str,
    base_model: nn.Module,
    base_record: Mapping[str, str],
    init: Path | None,
    seconds: float,
) -> dict[str, Any]:
    parameter = next(base_model.parameters())
    settings, spec, schedule = job.settings, job.spec, job.schedule
    size = settings.batch * settings.accumulation
    lengths = [len(sample.input_ids) for sample in job.samples]
    done, later = (sum(lengths[step * size :]) for step in (outcome.resumed_at, outcome.resumed_at + 1))
    return {
        "backend": backend,
        "number_type": number_type(base_model),
        "base": {"name": base_record["name"], "hash": base_record["hash"]},
        "steps": schedule.steps,
        "samples": len(job.samples),
        "samples_per_step": size,
        "tokens": sum(lengths),
        "label_tokens": sum(sample.label_tokens() for sample in job.samples),
        "longest_sample": max(lengths, default=0),
        "schedule": {
            "shape": "linear warm-up, cosine to zero",
            "warmup_steps": schedule.warmup,
            "peak_learning_rate": settings.learning_rate,
            "peak_embedding_learning_rate": settings.embedding_learning_rate,
        },
        "lora": {
            "rank": spec.rank,
            "alpha": spec.alpha,
            "rslora": spec.rslora,
            "targets": list(spec.linear),
            "full_matrices": list(spec.full),
            "tied_embeddings": spec.tied,
            "parameters": sum(tensor.numel() for tensor in outcome.weights.values()),
            "continued": init is not None,
        },
        "notes": [note for note in (schedule.note, *outcome.notes) if note],
        "losses": outcome.losses,
        "measured": {
            "seconds": seconds,
            "seconds_to_first_step": outcome.first_step_seconds,
            "tokens_per_second": done / max(seconds, 1e-9),
            "tokens_per_second_after_first_step": later / max(outcome.later_seconds, 1e-9),
            "computed_tokens": outcome.computed_tokens,
            "padding_percent": 100 * (1 - done / max(outcome.computed_tokens, 1)),
            "peak_memory_bytes": peak_memory(parameter.device),
            "resumed_at_step": outcome.resumed_at,
            "threads": settings.threads or torch.get_num_threads(),
            "device": _device_name(parameter.device),
        },
    }


def _reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"

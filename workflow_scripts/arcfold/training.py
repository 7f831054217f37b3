"""Test-time training of a LoRA: what is trained on, in which steps, at which learning rate, and what is reported.

This module sees token ids only. The steps themselves are made by one of three backends, which
train the same weights on the same samples in the same order and at the same learning rates:

- `trl`: trl's SFTTrainer over transformers and peft (`training_trl`), the reference;
- `packed`: a loop of our own (`training_packed`), several times faster;
- `unsloth`: trl's trainer over Unsloth's layers (`training_unsloth`), on models that it loaded.

A step takes the next `batch × accumulation` samples, the last step what is left. Its loss is the
sum of the cross-entropies of all label tokens of these samples over their number: every label
token of a step weighs the same, whatever sample or micro-batch it stands in.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arcfold.adapters import FILES, LoraSpec, fresh_weights, load_adapter, make_spec, save_adapter
from arcfold.files import InputError, hash_of, hash_of_files, new_folder, write_json
from arcfold.models import number_type
from arcfold.reporting import Reporter

log = logging.getLogger(__name__)

IGNORED = -100
BACKENDS = ("trl", "packed", "unsloth")
OPTIMIZERS = ("adamw", "adamw_8bit")

# torch refuses deterministic matrix products on a GPU without this, and looks once, at the first product of a process.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@dataclass(frozen=True)
class Sample:
    """One training text as token ids; both tuples have its length."""

    input_ids: tuple[int, ...]
    """The tokens."""
    labels: tuple[int, ...]
    """The token to be predicted at its own position from those before it, or -100 for no loss."""

    def label_tokens(self) -> int:
        """Number of tokens with a loss; the first has none, since nothing stands before it."""
        return len(self.labels) - 1 - self.labels[1:].count(IGNORED)


@dataclass(frozen=True)
class TrainingSettings:
    """What a run chooses about training; the samples hold the rest (tasks, views, epochs, order)."""

    rank: int
    """Rank of every LoRA."""
    alpha: float
    """LoRA scale's numerator: the scale is alpha / rank, or alpha / sqrt(rank) with rslora."""
    rslora: bool
    """Whether the scale divides by sqrt(rank)."""
    targets: tuple[str, ...]
    """Layers to train, by the last part of their name; embed_tokens and lm_head as full matrices."""
    learning_rate: float
    """Peak learning rate of the LoRA matrices."""
    embedding_learning_rate: float
    """Peak learning rate of embed_tokens and lm_head."""
    warmup_ratio: float | None = None
    """Warm-up as a share of all steps, rounded up; exactly one of this and warmup_steps is set."""
    warmup_steps: int | None = None
    """Warm-up in steps."""
    batch: int = 4
    """Samples computed at once."""
    accumulation: int = 1
    """Batches that make one step."""
    optimizer: str = "adamw"
    """adamw, or adamw_8bit with bitsandbytes' 8-bit state."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay, for every trained matrix."""
    max_grad_norm: float = 1.0
    """Gradients of a step are scaled down to this norm; 0 leaves them as they are."""
    dropout: float = 0.0
    """Probability with which an input of a LoRA is zeroed (the trl backend only)."""
    seed: int = 0
    """Draws the fresh LoRA matrices (and dropout's zeros)."""
    threads: int | None = None
    """CPU threads of the computation; None leaves torch's number."""


@dataclass(frozen=True)
class Schedule:
    """Steps and the learning rate over them: linear warm-up, then a cosine to zero."""

    steps: int
    """Optimizer steps of the whole training."""
    warmup: int
    """Steps of warm-up, at most half of `steps`."""
    note: str | None = None
    """Says so when the warm-up was cut."""

    def factor(self, step: int) -> float:
        """Share of the peak learning rate at `step`, counted from 0; `factor(steps)` is 0.

        step / warmup while step < warmup, then (1 + cos(pi (step - warmup) / (steps - warmup))) / 2,
        as in transformers' cosine schedule.
        """
        if step < self.warmup:
            return step / self.warmup
        return (1 + math.cos(math.pi * (step - self.warmup) / max(1, self.steps - self.warmup))) / 2


@dataclass(frozen=True)
class Job:
    """What a backend gets: everything decided, nothing left to choose."""

    samples: tuple[Sample, ...]
    settings: TrainingSettings
    schedule: Schedule
    spec: LoraSpec
    weights: Mapping[str, Tensor]
    """Initial weights by their keys in `adapter_model.safetensors`, float32, on the CPU."""
    checkpoints: Path | None
    """Where to resume from and to save to; exists when set."""
    checkpoint_seconds: float
    """Least time between two checkpoints."""
    progress: Progress

    def step_samples(self, step: int) -> tuple[Sample, ...]:
        """The samples of a step, counted from 0."""
        size = self.settings.batch * self.settings.accumulation
        return self.samples[step * size : (step + 1) * size]


@dataclass
class Outcome:
    """What a backend hands back."""

    weights: dict[str, Tensor]
    """Trained weights, keys as in `Job.weights`."""
    losses: list[float]
    """Loss of every step, those before a resumption included."""
    computed_tokens: int
    """Tokens that went through the model in this process, padding included."""
    first_step_seconds: float
    """From the call of the backend to the end of its first step."""
    later_seconds: float
    """From there to the end of the last step."""
    resumed_at: int = 0
    """Steps that were already done when this process began."""
    notes: list[str] = field(default_factory=list)
    """What the user should know, e.g. a micro-batch halved for lack of memory."""


class Progress:
    """The bar on standard error: step, loss, tokens/s; a line every ten seconds when that is no terminal."""

    SECONDS_BETWEEN_LINES = 10.0

    def __init__(self, steps: int, enabled: bool, tell: Callable[[int, float], None] | None = None) -> None:
        """tell: gets every step, counted from 1, and its loss"""
        self.steps = steps
        self.enabled = enabled
        self.tell = tell
        self.tokens = 0
        self.began = self.last_line = time.monotonic()
        self.bar: Any = None
        if enabled and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=steps, unit="step", file=sys.stderr)

    def update(self, step: int, loss: float, tokens: int) -> None:
        """Says that `step`, counted from 1, is done with this loss after `tokens` more tokens."""
        if self.tell is not None:
            self.tell(step, loss)
        self.tokens += tokens
        now = time.monotonic()
        rate = self.tokens / max(now - self.began, 1e-9)
        if self.bar is not None:
            self.bar.n = step
            self.bar.set_postfix_str(f"loss {loss:.4f}, {rate:,.0f} tokens/s", refresh=False)
            self.bar.update(0)
        elif self.enabled and (now - self.last_line >= self.SECONDS_BETWEEN_LINES or step == self.steps):
            self.last_line = now
            print(f"step {step}/{self.steps}, loss {loss:.4f}, {rate:,.0f} tokens/s", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the bar."""
        if self.bar is not None:
            self.bar.refresh()
            self.bar.close()


def make_schedule(n_samples: int, settings: TrainingSettings) -> Schedule:
    """Steps = ceil(samples / (batch × accumulation)) and the warm-up, cut to half of the steps."""
    steps = -(-n_samples // (settings.batch * settings.accumulation))
    if settings.warmup_steps is not None:
        wanted = settings.warmup_steps
    else:
        assert settings.warmup_ratio is not None
        wanted = math.ceil(settings.warmup_ratio * steps - 1e-9)  # 0.1 of 30 is 3, not 4
    warmup = min(wanted, steps // 2)
    note = None
    if warmup < wanted:
        note = f"warm-up cut from {wanted} to {warmup} steps: never more than half of the {steps} steps"
    return Schedule(steps, warmup, note)


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
) -> dict[str, Any]:
    """Trains a LoRA of a loaded causal language model on samples in the given order; writes it to `folder`.

    base_model: float32 or bfloat16, on the device that computes; the LoRA is trained in float32
    beside it. Its weights are the same after the call. For the unsloth backend, one that
    `training_unsloth.load` has loaded.
    samples: in training order, all epochs one after the other.
    checkpoints: a folder of this job alone, where an interrupted call left its state and the next
    one continues; removed when training is done. None saves nothing.
    base_record: `name` and content `hash` of the base model, recorded beside the adapter.
    init: an adapter folder to go on from; its rank, alpha, rsLoRA, dropout and targets are then
    used instead of those in the settings. It must have been trained on a base of the same hash.
    reporter: is told of every step.
    checkpoint_seconds: least time between two checkpoints.

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
    if checkpoints is not None:
        fingerprint = _fingerprint(samples, settings, base_model, base_record, init, backend)
        _prepare_checkpoints(checkpoints, fingerprint)

    def tell(step: int, loss: float) -> None:
        assert reporter is not None
        reporter.step(step, loss, settings.learning_rate * schedule.factor(step - 1))

    job = Job(
        samples=samples,
        settings=settings,
        schedule=schedule,
        spec=spec,
        weights=weights,
        checkpoints=checkpoints,
        checkpoint_seconds=checkpoint_seconds,
        progress=Progress(schedule.steps, progress, tell if reporter is not None else None),
    )
    device = next(base_model.parameters()).device
    with determinism(settings, device, strict=backend != "unsloth"):
        _reset_peak_memory(device)
        try:
            outcome = _backend(backend)(base_model, job)
        finally:
            job.progress.close()
    _check_finite(outcome.weights, schedule.steps)
    with new_folder(folder) as temporary:
        save_adapter(temporary, spec, outcome.weights, base_record)
    if checkpoints is not None:
        shutil.rmtree(checkpoints, ignore_errors=True)
    return _report(job, outcome, backend, base_model, base_record, init, time.monotonic() - began)


def check_loss(loss: float, step: int) -> float:
    """The loss itself; raises InputError when it is not finite. `step` counts from 1."""
    if not math.isfinite(loss):
        raise InputError(
            f"training: the loss of step {step} is {loss}, expected a finite number; lower the learning rate?"
        )
    return loss


def make_optimizer(groups: list[dict[str, Any]], settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW (betas 0.9 and 0.999, eps 1e-8) over groups that carry their own learning rate."""
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise InputError("optimizer: adamw_8bit needs bitsandbytes, which is not installed; use adamw") from None
    return AdamW8bit(groups, weight_decay=settings.weight_decay)


def _backend(name: str) -> Callable[[nn.Module, Job], Outcome]:
    """The backends are imported late: trl alone takes several seconds."""
    if name == "trl":
        from arcfold import training_trl

        return training_trl.train
    if name == "unsloth":
        from arcfold import training_unsloth

        return training_unsloth.train
    from arcfold import training_packed

    return training_packed.train


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
    if not samples:
        raise InputError("training: no samples, expected at least one")
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
            "samples": [[sample.input_ids, sample.labels] for sample in samples],
            "settings": asdict(settings),
            "base": base_record["hash"],
            "init": hash_of_files(init, FILES) if init is not None else None,
            "backend": backend,
            "device": _device_name(parameter.device),
            "number_type": str(parameter.dtype),
        }
    )


def _prepare_checkpoints(folder: Path, fingerprint: str) -> None:
    """Leaves in the folder only what an interrupted call of the same job wrote."""
    mark = folder / "job.json"
    try:
        same = json.loads(mark.read_text(encoding="utf-8")) == {"fingerprint": fingerprint}
    except (OSError, ValueError):
        same = False
    if not same:
        if folder.exists():
            log.info("%s: the checkpoints of another job are dropped", folder)
            shutil.rmtree(folder)
        write_json(mark, {"fingerprint": fingerprint})


@contextlib.contextmanager
def determinism(settings: TrainingSettings, device: torch.device, strict: bool) -> Iterator[None]:
    """Same inputs, same device, same bytes; puts torch's global switches back afterwards.

    strict: an operation that torch cannot repeat is an error; without it a warning, for foreign kernels
    """
    threads = torch.get_num_threads()
    memory: Any = torch.utils.deterministic
    mode = torch.get_deterministic_debug_mode()
    fill = memory.fill_uninitialized_memory
    torch.set_num_threads(settings.threads or threads)
    if strict:
        torch.set_deterministic_debug_mode("error")  # the other switch imports torch's compiler, which takes seconds
    else:
        torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # only guards against reading such memory
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(settings.seed)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)
        memory.fill_uninitialized_memory = fill


def _check_finite(weights: Mapping[str, Tensor], steps: int) -> None:
    """A gradient that is not finite shows in the next step's loss; after the last step it shows only here."""
    for key, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"training: {key} is not finite after step {steps}; lower the learning rate?")


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
        "longest_sample": max(lengths),
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


def peak_memory(device: torch.device) -> int:
    """Bytes: allocated on the GPU during training, or resident on the CPU since the process began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"

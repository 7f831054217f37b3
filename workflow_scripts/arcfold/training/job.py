"""What a training is made of: samples, settings, the schedule, and what a backend gets and hands back.

This module sees token ids only and imports none of the backends, so that each of them can build on it.

A step takes the next `batch × accumulation` samples, the last step what is left. Its loss is the
sum of the cross-entropies of all label tokens of these samples over their number: every label
token of a step weighs the same, whatever sample or micro-batch it stands in.

For example, 12 samples with `batch: 2` and `accumulation: 2` are 3 steps:

    step 0: samples 0-3      two forward passes of two samples, one update of the weights
    step 1: samples 4-7
    step 2: samples 8-11     with warmup_ratio 0.1 the warm-up is 1 step: factors 0, 1, 0.5
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arcfold.jobs.files import InputError
from arcfold.models.base import remedy_of_numbers
from arcfold.models.lora import LoraSpec
from arcfold.training.checkpoints import Checkpoints

IGNORED = -100
BACKENDS = ("trl", "packed", "unsloth")
OPTIMIZERS = ("adamw", "adamw_8bit")

# torch refuses deterministic matrix products on a GPU without this, and looks once, at the first product of a process.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@dataclass(frozen=True, eq=False)
class Sample:
    """One training text as token ids: two int32 arrays (T,), made of whatever sequences of numbers are given."""

    # a training has ten million tokens: as numbers of Python they would take longer than many a fold's training
    input_ids: np.ndarray
    """The tokens."""
    labels: np.ndarray
    """The token to be predicted at its own position from those before it, or -100 for no loss."""

    def __post_init__(self) -> None:
        for name in ("input_ids", "labels"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.int32))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sample)
            and np.array_equal(self.input_ids, other.input_ids)
            and np.array_equal(self.labels, other.labels)
        )

    def label_tokens(self) -> int:
        """Number of tokens with a loss; the first has none, since nothing stands before it."""
        return int(np.count_nonzero(self.labels[1:] != IGNORED))


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
    checkpoints: Checkpoints | None
    """Where to resume from and to save to."""
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


def check_loss(loss: float, step: int, dtype: torch.dtype) -> float:
    """The loss itself; raises InputError when it is not finite.

    step: counted from 1; dtype: what the model computes in, which may be the reason
    """
    if not math.isfinite(loss):
        raise InputError(
            f"training: the loss of step {step} is {loss}, expected a finite number; {remedy_of_divergence(dtype)}"
        )
    return loss


def remedy_of_divergence(dtype: torch.dtype) -> str:
    """What to do about a training whose numbers are not finite; dtype: what the model computes in."""
    remedy = remedy_of_numbers(dtype)
    return f"{remedy}, or lower the learning rate" if remedy else "lower the learning rate?"


def make_optimizer(groups: list[dict[str, Any]], settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW (betas 0.9 and 0.999, eps 1e-8) over groups that carry their own learning rate."""
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise InputError("optimizer: adamw_8bit needs bitsandbytes, which is not installed; use adamw") from None
    return AdamW8bit(groups, weight_decay=settings.weight_decay)


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


def peak_memory(device: torch.device) -> int:
    """Bytes: allocated on the GPU during training, or resident on the CPU since the process began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

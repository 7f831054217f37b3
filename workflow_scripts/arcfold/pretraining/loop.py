"""Training a base model from scratch: a loop that ends when its time, tokens or steps are used up.

The schedule needs no length known beforehand: the rate warms up, stays, and falls to zero over the last
share of the budget. A training without a fall can be taken up again later, on another machine: batches
are numbered, so it sees new ones, and the optimizer is warmed up again unless its state was kept.

Several devices: one process each (torchrun's environment variables); every process draws batches of its
own, gradients are averaged in one sum over a flat tensor, and all agree on the schedule.

A budget of 1000 steps with warmup_steps 100, decay_share 0.6 and a linear decay, all rates times

    step      0      49     99     400    700    999
    factor    0.01   0.5    1      1      0.5    0.002

With `accumulation: 2` on four devices a step takes eight batches: 8 x 131,072 = 1,048,576 tokens.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from arcfold.jobs.compute import check_capability
from arcfold.jobs.files import InputError
from arcfold.pretraining.attention import Attention
from arcfold.pretraining.batches import FIRST_OUTPUT, LATER_INPUT, LATER_OUTPUT, Batch, Batches, Store
from arcfold.pretraining.held_out import AnswerStats, Question, Score, question_batches
from arcfold.pretraining.muon import Optimizer, OptimizerSettings
from arcfold.pretraining.network import Network

SHAPES_OF_DECAY = ("linear", "sqrt")

# Reading a clock means waiting for the device, and asking the other processes.
_STEPS_BETWEEN_CLOCKS = 16


@dataclass(frozen=True)
class TrainingBudget:
    """When a training ends: at the first of what is given."""

    seconds: float | None = None
    """Wall-clock seconds of this call, from `started`: compiling and measuring included."""
    tokens: int | None = None
    """Tokens of this call, over all devices."""
    steps: int | None = None
    """Optimizer steps of this call."""


@dataclass(frozen=True)
class PretrainingSettings:
    """How a base model is trained."""

    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    warmup_steps: int = 100
    decay_share: float = 0.6
    """Share of the budget over which the rate falls to zero; 0 keeps it up, for a training that goes on."""
    decay_shape: str = "linear"
    """linear, or sqrt: 1 - √share, which falls faster at first."""
    accumulation: int = 1
    """Batches of a step on each device."""
    loss_on_first_output: bool = False
    """Whether the first output of a sample, which nothing explains, has a loss too."""
    loss_on_inputs: float = 0.0
    """Weight of the targets in inputs, where an output's is 1."""
    held_out_seconds: float = 60.0
    """Seconds between two measurements on held-out tasks."""
    report_seconds: float = 30.0
    """Seconds between two lines."""


@dataclass
class Progress:
    """How far a model has been trained, over all calls."""

    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    """Points of the training, in order: step, tokens, seconds, loss, and now and then held-out scores."""

    def to_json(self) -> dict[str, Any]:
        return {"steps": self.steps, "tokens": self.tokens, "seconds": round(self.seconds, 1), "curve": self.curve}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Progress:
        """Of what `to_json` gives, as `schemas/base_state.schema.json` has it."""
        return cls(value["steps"], value["tokens"], value["seconds"], list(value["curve"]))


def rate_scale(share: float, step: int, settings: PretrainingSettings) -> float:
    """The factor of all rates: `share` of the budget is used, `step` steps were taken in this call."""
    # by steps of this call, not by share: an optimizer without state needs them, whatever the budget
    warm = min((step + 1) / max(settings.warmup_steps, 1), 1.0)
    if settings.decay_share <= 0:
        return warm
    fallen = min(max((share - (1 - settings.decay_share)) / settings.decay_share, 0.0), 1.0)
    return warm * (1 - fallen if settings.decay_shape == "linear" else 1 - math.sqrt(fallen))


class Group:
    """The processes that train together; alone without torchrun."""

    def __init__(self, device: torch.device) -> None:
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.device = device
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")

    @classmethod
    def alone(cls, device: torch.device) -> Group:
        """A group of this process only."""
        group = cls.__new__(cls)
        group.size, group.rank, group.device = 1, 0, device
        return group

    def average(self, tensor: Tensor) -> None:
        if self.size > 1:
            dist.all_reduce(tensor)
            tensor /= self.size

    def same(self, value: float) -> float:
        """The first process's value."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, 0)
        return float(tensor)

    def share_weights(self, network: Network) -> None:
        if self.size > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, 0)

    def close(self) -> None:
        if self.size > 1:
            dist.destroy_process_group()


def training_device() -> torch.device:
    """This process's device. Raises InputError for a card that this build of torch has no code for."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    check_capability([device.index])
    return device


class Pretraining:
    """A training in this process. `run` takes steps until the budget is used."""

    def __init__(
        self,
        network: Network,
        batches: Batches,
        settings: PretrainingSettings,
        *,
        group: Group,
        attention: Attention,
        workers: int = 0,
        held_out: Mapping[str, tuple[Store, Sequence[Question]]] | None = None,
        progress: Progress | None = None,
        optimizer_state: dict[str, Tensor] | None = None,
    ) -> None:
        """network: on the device; every process's must have the same weights
        attention: for batches of this size
        workers: processes that make batches; 0 makes them here
        held_out: questions by name, measured now and then
        optimizer_state: of the call that this one continues
        """
        if settings.decay_shape not in SHAPES_OF_DECAY:
            raise InputError(f"decay: {settings.decay_shape!r}, expected one of {', '.join(SHAPES_OF_DECAY)}")
        self.network, self.batches, self.settings, self.group = network, batches, settings, group
        self.device = group.device
        self.tokens = batches.settings.tokens
        self.attention = attention
        self.workers, self.held_out = workers, dict(held_out or {})
        self.progress = progress or Progress()
        self._seconds_of_measuring = 0.0
        self._flatten_gradients()
        self.optimizer = Optimizer(network.named_parameters(), settings.optimizer)
        if optimizer_state is not None:
            self.optimizer.load_state(optimizer_state)
        # a table by kind of target, looked up for all tokens of a batch at once
        weights = {
            LATER_OUTPUT: 1.0,
            FIRST_OUTPUT: float(settings.loss_on_first_output),
            LATER_INPUT: settings.loss_on_inputs,
        }
        self._weights = torch.tensor([weights.get(kind, 0.0) for kind in range(4)], device=self.device)

    def run(self, budget: TrainingBudget, started: float, say: Callable[[str], None] | None = None) -> Progress:
        """Trains until the budget is used and measures once more.

        started: time.monotonic() when the budget's seconds began
        say: takes the table's lines; standard error on the first process if not given
        Raises InputError when the loss is not finite.
        """
        table = _Table(say if say is not None else (_say if self.group.rank == 0 else _silent))
        clock = _Clock(budget, self.group, self.tokens * self.settings.accumulation, started, self._reserve)
        loop_began = time.monotonic()
        before = self.progress.seconds
        losses = _RunningMean(self.device)
        last_line, last_held_out = loop_began, -math.inf
        for before_it, batch in enumerate(self._batches()):
            share = clock.share(before_it)
            # at least one step, so that there is a loss to report
            if share >= 1 and before_it:
                break
            losses.add(self.take_step(batch, rate_scale(share, before_it, self.settings)))
            taken = before_it + 1
            self.progress.steps += 1
            self.progress.tokens += self.tokens * self.settings.accumulation * self.group.size
            now = time.monotonic()
            self.progress.seconds = before + now - loop_began
            # all processes must come here together: what they agree on is sent from one to the others
            looks = taken == 1 or taken % _STEPS_BETWEEN_CLOCKS == 0
            if looks and (taken == 1 or self._agreed(now - last_line, self.settings.report_seconds)):
                due = self._agreed(min(now - last_held_out, 1e9), self.settings.held_out_seconds)
                self._report(table, losses, share, measure=due)
                last_line = time.monotonic()
                last_held_out = last_line if due else last_held_out
        self._report(table, losses, 1.0, measure=True)
        return self.progress

    def score(self, name: str) -> Score:
        """The score on a held-out set now. Every process computes all of it."""
        store, questions = self.held_out[name]
        stats = AnswerStats()
        for asked, batch in question_batches(store, questions, self.tokens):
            losses, right = self._answers(batch)
            stats.add(asked, batch, losses, right)
        return stats.score()

    def _answers(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        # with gradients recorded, as in training, so that nothing is compiled anew
        losses, right = self._forward(_on_device(batch, self.device))
        return losses.detach().float().cpu().numpy(), right.cpu().numpy()

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        ids, targets, _, places, by_grids, bounds = (torch.as_tensor(part) for part in batch)
        self.attention.update(places, bounds)
        positions = by_grids if self.network.shape.by_grids else places
        return self.network.losses(ids, targets, positions, self.attention)

    def take_step(self, batch: Batch, scale: float) -> Tensor:
        """One optimizer step; the loss of its last batch, on the device."""
        # zeroed, not dropped: `grad` of every parameter stays a part of the flat tensor
        self._gradients.zero_()
        for number in range(self.settings.accumulation):
            if number:
                batch = next(self._stream)
            batch = _on_device(batch, self.device)
            losses, _ = self._forward(batch)
            weights = self._weights[torch.as_tensor(batch.kinds).long()]
            # a mean over what counts, which differs from batch to batch
            loss = (losses * weights).sum() / weights.sum().clamp_min(1.0)
            (loss / self.settings.accumulation).backward()
        self.group.average(self._gradients)
        self.optimizer.step(scale)
        return loss.detach()

    def _batches(self) -> Iterator[Batch]:
        """The batches from where the training stands, made ahead by the workers."""
        first = self.progress.steps * self.settings.accumulation
        # numbered from the first step of the training, so that a resumed one sees no batch twice
        if not self.workers:
            self._stream: Iterator[Batch] = (self.batches[number] for number in _counting(first))
        else:
            loader = torch.utils.data.DataLoader(
                _Dataset(self.batches),
                batch_size=None,  # a batch is made whole; nothing is collated
                sampler=_Counting(first),
                num_workers=self.workers,
                prefetch_factor=8,
                pin_memory=self.device.type == "cuda",
            )
            self._stream = iter(loader)
        return self._stream

    def _flatten_gradients(self) -> None:
        """All gradients side by side in one tensor: cleared, averaged and read as one."""
        # autograd adds to a `grad` that is there, so the parts stay where they are
        parameters = list(self.network.parameters())
        self._gradients = torch.zeros(sum(parameter.numel() for parameter in parameters), device=self.device)
        place = 0
        for parameter in parameters:
            parameter.grad = self._gradients[place : place + parameter.numel()].view_as(parameter)
            place += parameter.numel()

    def _agreed(self, seconds: float, limit: float) -> bool:
        return self.group.same(seconds) >= limit

    def _reserve(self) -> float:
        """Seconds to keep for the last measurement."""
        return 1.3 * self._seconds_of_measuring + 1.0

    def _report(self, table: _Table, losses: _RunningMean, share: float, measure: bool) -> None:
        """Adds a point to the curve; at the end of a call that has just done so, only what is still missing."""
        if losses.count:
            loss = losses.take()
            if not math.isfinite(loss):
                raise InputError(f"training: the loss at step {self.progress.steps} is {loss}; lower the rates?")
            point: dict[str, Any] = {
                "step": self.progress.steps,
                "tokens": self.progress.tokens,
                "seconds": round(self.progress.seconds, 1),
                "loss": round(loss, 5),
            }
            self.progress.curve.append(point)
        elif measure and self.progress.curve and "held_out" not in self.progress.curve[-1]:
            point = self.progress.curve[-1]
        else:
            return
        if measure and self.held_out:
            began = time.monotonic()
            point["held_out"] = {name: self.score(name).to_json() for name in self.held_out}
            self._seconds_of_measuring = self.group.same(time.monotonic() - began)
        table.line(point, share, peak_mib(self.device))


class _Clock:
    """Tells the used share of a budget; all processes hear the same.

    Asking the device or the other processes costs time, so the share is measured every few steps and
    drawn on in between.
    """

    def __init__(
        self, budget: TrainingBudget, group: Group, tokens: int, started: float, reserve: Callable[[], float]
    ) -> None:
        if budget == TrainingBudget():
            raise InputError("training: no budget, expected seconds, tokens or steps")
        self.budget, self.group, self.reserve = budget, group, reserve
        self.tokens_of_step = tokens * group.size
        self.started = started
        self._asked: tuple[int, float] = (0, 0.0)
        self._slope = 0.0
        self._first: float | None = None

    def share(self, steps: int) -> float:
        """The share used after so many steps of this call, 1 or more when it is over."""
        # the end is at the first of the limits: the largest share counts
        shares = [0.0]
        if self.budget.steps is not None:
            shares.append(steps / self.budget.steps)
        if self.budget.tokens is not None:
            shares.append(steps * self.tokens_of_step / self.budget.tokens)
        if self.budget.seconds is not None:
            shares.append(self._timed(steps))
        return max(shares)

    def _timed(self, steps: int) -> float:
        asked, share = self._asked
        # between two looks the share goes on at the speed of the last, so that the rate falls smoothly
        if steps - asked >= _STEPS_BETWEEN_CLOCKS or steps <= 2:
            new = self.group.same(self._time_share())
            if steps > max(asked, 1):
                self._slope = max((new - share) / (steps - asked), 0.0)
            self._asked = (steps, new)
            return new
        return share + self._slope * (steps - asked)

    def _time_share(self) -> float:
        """0 until the first step is done (it compiles), 1 when only the reserve is left."""
        if self.group.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.monotonic()
        # counted from the end of the first step: minutes of compiling must not make the rate fall at once
        if self._first is None:
            self._first = now
        assert self.budget.seconds is not None
        end = self.started + self.budget.seconds - self.reserve()
        return (now - self._first) / max(end - self._first, 1e-3)


class _RunningMean:
    """The mean of losses that stay on the device until it is asked for."""

    def __init__(self, device: torch.device) -> None:
        # a number read every step would make Python wait for every step
        self._sum, self.count = torch.zeros((), device=device), 0

    def add(self, loss: Tensor) -> None:
        self._sum += loss
        self.count += 1

    def take(self) -> float:
        mean = float(self._sum) / max(self.count, 1)
        self._sum.zero_()
        self.count = 0
        return mean


class _Table:
    """Lines of step, tokens, speed, loss, held-out scores and memory."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last: tuple[float, int] | None = None

    def line(self, point: Mapping[str, Any], share: float, mib: int) -> None:
        if self._last is None:
            self._say(
                "   step    Mtokens    seconds    tokens/s budget     loss  MiB; held out: loss, accuracy % (solved %)"
            )
        seconds, tokens = self._last or (0.0, 0)
        speed = (point["tokens"] - tokens) / max(point["seconds"] - seconds, 1e-9)
        self._last = (point["seconds"], point["tokens"])
        held_out = "  ".join(
            f"{name} {score['loss']:.4f} {score['accuracy']:.1f} ({score['solved']:.1f})"
            for name, score in point.get("held_out", {}).items()
        )
        self._say(
            f"{point['step']:7d} {point['tokens'] / 1e6:10.1f} {point['seconds']:10.1f} {speed:11,.0f} {share:6.1%} "
            f"{point['loss']:8.4f}  {mib} {held_out}"
        )


class _Dataset(torch.utils.data.Dataset):
    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, number: int) -> Batch:
        return self._batches[number]


class _Counting(torch.utils.data.Sampler):
    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        return _counting(self._first)


def _counting(first: int) -> Iterator[int]:
    while True:
        yield first
        first += 1


def _on_device(batch: Batch, device: torch.device) -> Batch:
    return Batch(*(torch.as_tensor(part).to(device, non_blocking=True) for part in batch))  # type: ignore[arg-type]


def peak_mib(device: torch.device) -> int:
    """The most memory that was in use: on the GPU, or of the process."""
    # the process's own peak is in KiB on Linux, in bytes on macOS
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 1024)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    pass

"""One optimizer step over flat tensors: clipping, AdamW at each group's learning rate.

Everything that changes from step to step stands in a table on the device, a row for each step, so
that a captured step can be played again.

Three steps, one of them warm-up, at rates of 1e-4 for the LoRA and 1e-5 for full matrices: a table of
(3 steps, 2 flats, 3 numbers), where t = step + 1 counts from 1,

    step   rate, LoRA   rate, full   1 / (1 - 0.9^t)   1 / sqrt(1 - 0.999^t)
    0      0            0            10                31.62
    1      1e-4         1e-5         5.263             22.37
    2      5e-5         5e-6         3.690             18.27

Gradients of norm 3 in the LoRA and 4 in the full matrices have norm 5 together: with `max_grad_norm: 1`
both are scaled by 1 / 5 before the step.

AdamW keeps two float32 numbers for each that is trained. Where a GPU is short of memory they stand in the host's,
and each step takes them over to the GPU and back, a piece after the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from arcfold.training.job import Schedule, TrainingSettings, make_optimizer
from arcfold.training.packed.flat import Flat
from arcfold.training.packed.kernels import adamw
from arcfold.training.packed.loss_scale import LossScale

BETAS, EPS = (0.9, 0.999), 1e-8
PIECE = 2**24
"""Numbers that a step takes over from the host's memory at once: 64 MiB, as page-locked memory is dealt out in powers
of two."""


class Update(Protocol):
    """Steps the masters of some flats."""

    capturable: bool
    """Whether `apply` can be captured in a graph."""

    def begin(self, step: int) -> None:
        """Gets ready for a step, counted from 0."""

    def apply(self, gradients: Sequence[Tensor]) -> None:
        """Clips the gradients, one flat tensor for each flat, and steps."""

    def to_host(self) -> bool:
        """Leaves the device's memory to others, as far as possible; False if nothing more can be left."""

    def state(self) -> dict[str, Tensor]:
        """What a later process needs to go on."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes over what `state` gave."""


def make_update(
    flats: Sequence[Flat],
    rates: Sequence[float],
    settings: TrainingSettings,
    schedule: Schedule,
    scale: LossScale | None = None,
) -> Update:
    """AdamW of our own, or for `adamw_8bit` bitsandbytes'. rates: the peak learning rate of each flat.

    scale: what the losses are multiplied with, None if with nothing; its state is part of the update's.
    Raises InputError where bitsandbytes is asked for and missing.
    """
    made: Any = AdamW if settings.optimizer == "adamw" else LibraryOptimizer
    return made(flats, rates, settings, schedule, scale)


def share_of(gradients: Sequence[Tensor], limit: float, scale: LossScale | None) -> Tensor:
    """What the gradients are multiplied with: clipped to the norm `limit`, as torch.nn.utils.clip_grad_norm_ does.

    min(1, limit / (norm + 1e-6)), a float32 scalar on the device, 1 without a limit; the norm is that of all
    gradients together. With a scale norm and share are those of gradients S times as large, and the scale is told
    whether they are finite.
    """
    # stays on the device: reading it here would make Python wait in every step
    if limit <= 0 and scale is None:
        return torch.ones((), device=gradients[0].device)
    norms = [torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in gradients]
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    if scale is None:
        return (limit / (norm + 1e-6)).clamp(max=1.0)
    scale.judge(norm)
    share = 1 / scale.factor
    return share if limit <= 0 else share * (limit / (norm * share + 1e-6)).clamp(max=1.0)


class AdamW:
    """AdamW (betas 0.9 and 0.999, eps 1e-8) with float32 state (Loshchilov and Hutter, 2019, arXiv 1711.05101)."""

    capturable = True

    def __init__(
        self,
        flats: Sequence[Flat],
        rates: Sequence[float],
        settings: TrainingSettings,
        schedule: Schedule,
        scale: LossScale | None,
    ) -> None:
        self.scale = scale
        self.masters = [flat.master for flat in flats]
        self.decay, self.limit = settings.weight_decay, settings.max_grad_norm
        self.means = [_Numbers(master) for master in self.masters]
        self.squares = [_Numbers(master) for master in self.masters]
        # computed in Python's doubles and rounded once: 1 - 0.999^t alone loses three digits in float32
        table = [
            [
                (rate * schedule.factor(t), 1 / (1 - BETAS[0] ** (t + 1)), (1 - BETAS[1] ** (t + 1)) ** -0.5)
                for rate in rates
            ]
            for t in range(schedule.steps)
        ]
        self.table = torch.tensor(table, dtype=torch.float32, device=self.masters[0].device)
        # a captured step reads this row, wherever in the training it is played
        self.numbers = self.table[0].clone()

    def begin(self, step: int) -> None:
        self.numbers.copy_(self.table[step])

    def apply(self, gradients: Sequence[Tensor]) -> None:
        share, scale = share_of(gradients, self.limit, self.scale), self.scale
        if scale is not None:
            # t counts the steps that were taken; the rate goes on with those that were not
            self.numbers[:, 1:].copy_(self.table[:, :, 1:].index_select(0, scale.applied[None])[0])
        finite = None if scale is None else scale.finite
        for index, master in enumerate(self.masters):
            mean, square = self.means[index], self.squares[index]
            for at in mean.pieces():
                with mean.lent(at) as m, square.lent(at) as v:
                    adamw(master[at], gradients[index][at], m, v, share, self.numbers[index],
                          BETAS, EPS, self.decay, finite)  # fmt: skip
        if scale is not None:
            scale.settle()

    def to_host(self) -> bool:
        moved = [numbers.to_host() for numbers in (*self.means, *self.squares)]
        self.capturable = False  # only steps whose numbers stay where they are were ever captured
        return any(moved)

    def state(self) -> dict[str, Tensor]:
        return {key: numbers.whole() for key, numbers in self._named()} | _state_of(self.scale)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for key, numbers in self._named():
            numbers.load(state[key])
        for key, tensor in _state_of(self.scale).items():
            tensor.copy_(state[key])

    def _named(self) -> Iterator[tuple[str, _Numbers]]:
        for index, (mean, square) in enumerate(zip(self.means, self.squares, strict=True)):
            yield f"mean.{index}", mean
            yield f"square.{index}", square


class _Numbers:
    """A float32 number for each of a flat tensor's, zero at first: one tensor beside it, or pieces on the host."""

    def __init__(self, like: Tensor) -> None:
        self.device, self.size = like.device, len(like)
        self.parts = [torch.zeros_like(like)]
        self.on_host = False

    def to_host(self) -> bool:
        """Moves there; False if they are there already."""
        if self.on_host:
            return False
        pinned = self.device.type == "cuda"
        # page-locked, so that copies need no detour; allocated without a copy that is thrown away
        parts = []
        for part in self.parts[0].split(PIECE):
            parts.append(torch.empty(len(part), dtype=part.dtype, pin_memory=pinned))
            parts[-1].copy_(part)
        self.parts, self.on_host = parts, True
        return True

    def pieces(self) -> list[slice]:
        """What a step takes at once."""
        step = PIECE if self.on_host else max(self.size, 1)
        return [slice(start, min(start + step, self.size)) for start in range(0, self.size, step)]

    @contextlib.contextmanager
    def lent(self, at: slice) -> Iterator[Tensor]:
        """A piece on the device, to be changed."""
        if not self.on_host:
            yield self.parts[0]
            return
        part = self.parts[at.start // PIECE]
        # all in one stream: the kernel waits for the way there, the way back for the kernel
        piece = part.to(self.device, non_blocking=True)
        yield piece
        part.copy_(piece, non_blocking=True)

    def whole(self) -> Tensor:
        """All of them: the tensor itself, or a copy on the host."""
        if not self.on_host:
            return self.parts[0]
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return torch.cat(self.parts)

    def load(self, numbers: Tensor) -> None:
        """Takes over what `whole` gave."""
        for part, given in zip(self.parts, numbers.split([len(part) for part in self.parts]), strict=True):
            part.copy_(given)


class LibraryOptimizer:
    """An optimizer of another library, bitsandbytes' AdamW with 8-bit state."""

    # its rate and its count of steps are numbers of Python, which a capture would freeze
    capturable = False

    def __init__(
        self,
        flats: Sequence[Flat],
        rates: Sequence[float],
        settings: TrainingSettings,
        schedule: Schedule,
        scale: LossScale | None,
    ) -> None:
        self.scale = scale
        self.masters, self.rates, self.schedule = [flat.master for flat in flats], rates, schedule
        self.limit = settings.max_grad_norm
        groups = [{"params": [master], "lr": rate} for master, rate in zip(self.masters, rates, strict=True)]
        self.optimizer = make_optimizer(groups, settings)

    def begin(self, step: int) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.schedule.factor(step)

    def apply(self, gradients: Sequence[Tensor]) -> None:
        share = share_of(gradients, self.limit, self.scale)
        for master, gradient in zip(self.masters, gradients, strict=True):
            master.grad = gradient.float() * share
        # another library's step can only be called or not, so this waits for the device
        if self.scale is None or bool(self.scale.finite):
            self.optimizer.step()
        if self.scale is not None:
            self.scale.settle()
        # a flat's own `grad` is what counts; a second float32 copy would stay in memory
        for master in self.masters:
            master.grad = None

    def to_host(self) -> bool:
        return False

    def state(self) -> dict[str, Tensor]:
        return {
            f"{index}.{name}": torch.as_tensor(value)
            for index, values in self.optimizer.state_dict()["state"].items()
            for name, value in values.items()
        } | _state_of(self.scale)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        named: dict[int, dict[str, Any]] = {}
        for key, tensor in (of_scale := _state_of(self.scale)).items():
            tensor.copy_(state[key])
        for key, value in ((key, value) for key, value in state.items() if key not in of_scale):
            index, _, name = key.partition(".")
            # bitsandbytes counts steps as a number of Python; all else are tensors
            number = name == "step" and value.ndim == 0
            named.setdefault(int(index), {})[name] = int(value) if number else value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": named, "param_groups": groups})


def _state_of(scale: LossScale | None) -> dict[str, Tensor]:
    return {} if scale is None else {f"scale.{name}": tensor for name, tensor in scale.state().items()}

"""The optimizer's numbers on the host, and steps whose memory runs out, against steps that have plenty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from environments import needs_gpu
from torch import Tensor
from trainings import ALL, model_of, samples_of, settings_of

from arcfold.jobs.files import InputError
from arcfold.models.lora import fresh_weights, make_spec
from arcfold.training.job import Job, Outcome, Progress, make_schedule
from arcfold.training.packed import update
from arcfold.training.packed.flat import Flat
from arcfold.training.packed.loop import Loop
from arcfold.training.packed.network import Network

STEPS = 6


def test_numbers_on_the_host_give_the_bytes_of_those_that_stayed(monkeypatch: pytest.MonkeyPatch) -> None:
    check_moved("cpu", monkeypatch)


@needs_gpu
def test_numbers_on_the_host_give_the_bytes_of_those_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    check_moved("cuda", monkeypatch)


def check_moved(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps in one go, with numbers that move behind the second, and resumed behind the fourth from their state."""
    monkeypatch.setattr(update, "PIECE", 64)
    draws = torch.Generator().manual_seed(0)
    start = [{"a": [torch.randn(7, 40, generator=draws)]}, {"b": [torch.randn(3, 21, generator=draws)]}]
    gradients = [[torch.randn(size, generator=draws) for size in (320, 64)] for _ in range(STEPS)]

    def begun() -> tuple[list[Flat], Any]:
        flats = [Flat(tensors, torch.float32, torch.device(device)) for tensors in start]
        settings = settings_of(weight_decay=0.1)
        return flats, update.make_update(flats, [1e-2, 1e-3], settings, make_schedule(STEPS * 4, settings))

    def take(optimizer: Any, steps: range) -> None:
        for step in steps:
            optimizer.begin(step)
            optimizer.apply([gradient.to(device) for gradient in gradients[step]])

    stayed, optimizer = begun()
    take(optimizer, range(STEPS))
    moved, optimizer = begun()
    take(optimizer, range(2))
    assert optimizer.to_host()
    assert not optimizer.to_host()
    take(optimizer, range(2, 4))
    resumed, other = begun()
    for flat, before in zip(resumed, moved, strict=True):
        flat.master.copy_(before.master)
    other.load_state(optimizer.state())
    take(optimizer, range(4, STEPS))
    assert other.to_host()
    take(other, range(4, STEPS))
    for plain, *others in zip(stayed, moved, resumed, strict=True):
        assert not torch.equal(plain.master, torch.zeros_like(plain.master))
        assert all(torch.equal(plain.master, flat.master) for flat in others)


def run_short_of_memory(
    fits: Callable[[Loop], bool], device: str = "cpu", batch: int = 4
) -> tuple[Outcome, list[Tensor]]:
    """A training of 12 samples whose backward runs out of memory where `fits` says so, and its masters."""
    samples, settings = samples_of(12), settings_of(batch=batch, accumulation=4 // batch)
    model = model_of().to(device)
    spec = make_spec(model, rank=4, alpha=4, rslora=True, targets=ALL)
    schedule, start = make_schedule(len(samples), settings), fresh_weights(model, spec, seed=3)
    job = Job(tuple(samples), settings, schedule, spec, start, None, 1e9, Progress(schedule.steps, False))
    network = Network(model, spec, start)
    loop = Loop(network, job, 0.0, padded=False)
    gradients = network.loss_and_gradients

    def computed(row: Any) -> Tensor:
        if not fits(loop):
            raise torch.OutOfMemoryError("out of memory")
        return gradients(row)

    network.loss_and_gradients = computed  # type: ignore[method-assign]
    return loop.run(), [flat.master.clone() for flat in network.flats()]


def test_smaller_micro_batches_and_a_second_forward_train_the_same() -> None:
    plenty, masters = run_short_of_memory(lambda loop: True)
    little, others = run_short_of_memory(lambda loop: loop.micro == 1 and loop.network.recompute)
    assert plenty.notes == []
    rungs = ("cut to 2", "cut to 1", "computed twice")
    assert [rung in note for rung, note in zip(rungs, little.notes, strict=True)] == [True, True, True]
    assert little.losses == pytest.approx(plenty.losses, rel=1e-5)
    for ours, theirs in zip(others, masters, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_no_room_for_the_sum_of_gradients_counts_no_loss_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    plenty, _ = run_short_of_memory(lambda loop: True, batch=2)
    make_total, failures = Flat.make_total, iter([True])

    def short(self: Flat) -> None:
        if next(failures, False):
            raise torch.OutOfMemoryError("out of memory")
        make_total(self)

    monkeypatch.setattr(Flat, "make_total", short)
    little, _ = run_short_of_memory(lambda loop: True, batch=2)
    assert len(little.notes) == 1
    assert little.losses == pytest.approx(plenty.losses, rel=1e-5)


def test_what_never_fits_is_named() -> None:
    with pytest.raises(InputError, match="out of memory with one sample"):
        run_short_of_memory(lambda loop: False)


@needs_gpu
def test_the_optimizers_numbers_move_to_the_host_when_nothing_else_helps() -> None:
    recomputed, masters = run_short_of_memory(lambda loop: loop.micro == 1 and loop.network.recompute, "cuda")
    moved, others = run_short_of_memory(lambda loop: not loop.update.capturable, "cuda")
    assert ["numbers move to the host" in note for note in moved.notes] == [False, False, False, True]
    assert moved.losses == recomputed.losses
    assert all(map(torch.equal, others, masters))

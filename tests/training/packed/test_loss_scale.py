"""Packed training in float16: the loss scale, the steps that it skips, and trainings against float32."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import ALL, bytes_of, model_of, samples_of, settings_of, train

from arcfold.jobs.files import InputError
from arcfold.jobs.loggers import Reporter
from arcfold.models.lora import WEIGHTS
from arcfold.training.job import make_schedule
from arcfold.training.packed import loop
from arcfold.training.packed.flat import Flat
from arcfold.training.packed.kernels import adamw
from arcfold.training.packed.loss_scale import FIRST, LossScale
from arcfold.training.packed.update import AdamW, LibraryOptimizer, share_of

CPU = torch.device("cpu")
SKIPPED = "steps were skipped: their gradients were too large for float16"


def half(**changes: Any) -> Any:
    """The tiny model in float16, with some of its weights multiplied."""
    model = copy.deepcopy(model_of()).half()
    for name, factor in changes.items():
        getattr(model, name).weight.data.mul_(factor)
    return model


def test_the_scale_halves_where_gradients_are_not_finite_and_doubles_after_enough_that_are() -> None:
    scale = LossScale(CPU, interval=2)
    seen = []
    for norm in (torch.inf, 3.2e4, 2.9e4, 5.5e4, 5.1e4, torch.nan):
        scale.judge(torch.tensor(norm))
        scale.settle()
        seen.append((float(scale.finite), int(scale.in_a_row), int(scale.applied), float(scale.factor)))
    assert seen == [
        (0, 0, 0, 32768),
        (1, 1, 1, 32768),
        (1, 0, 2, 65536),
        (1, 1, 3, 65536),
        (1, 0, 4, 131072),
        (0, 0, 4, 65536),
    ]


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_scaled_gradients_are_divided_and_clipped_as_their_originals(limit: float) -> None:
    gradients = [torch.tensor([0.0, 3.0]), torch.tensor([4.0])]
    scale = LossScale(CPU, first=2.0**10)
    scaled = [gradient * 2**10 for gradient in gradients]
    assert float(share_of(scaled, limit, scale)) * 2**10 == pytest.approx(float(share_of(gradients, limit, None)))
    assert float(scale.finite) == 1


def test_a_step_that_is_not_finite_changes_no_number_and_another_is_that_without_a_scale() -> None:
    made = {}
    for finite in (None, 1.0, 0.0):
        tensors = [torch.full((300,), value) for value in (1.0, 0.5, 0.25)]
        gradient = torch.full((300,), 2.0 if finite != 0.0 else torch.inf)
        guard = None if finite is None else torch.tensor(finite)
        adamw(
            tensors[0], gradient, tensors[1], tensors[2], torch.tensor(0.5), torch.tensor([0.1, 2.0, 3.0]),
            (0.9, 0.999), 1e-8, 0.1, guard,
        )  # fmt: skip
        made[finite] = tensors
    assert all(torch.equal(one, other) for one, other in zip(made[None], made[1.0], strict=True))
    assert [float(tensor[0]) for tensor in made[0.0]] == [1.0, 0.5, 0.25]
    assert all((tensor == tensor[0]).all() for tensor in made[0.0])


def test_skipped_steps_do_not_count_for_adams_averages_and_state_comes_back() -> None:
    """Our AdamW and torch's behind the interface for other libraries, with a step in between that overflows."""
    settings = settings_of(max_grad_norm=1.0)
    schedule = make_schedule(24, settings)  # six steps
    masters = []
    for kind in (AdamW, LibraryOptimizer):
        torch.manual_seed(0)
        flat = Flat({"a": [torch.randn(10, 7)]}, torch.float16, CPU)
        update: Any = kind([flat], [0.01], settings, schedule, LossScale(CPU, first=2.0**12))
        for step in range(6):
            gradient = torch.randn(len(flat.master)) * 2**12
            if step in (1, 4):
                gradient[3] = torch.inf
            before = flat.master.clone()
            if step == 3:  # another process goes on
                state = {key: tensor.clone() for key, tensor in update.state().items()}
                update = kind([flat], [0.01], settings, schedule, LossScale(CPU))
                if kind is LibraryOptimizer:  # torch's makes its state in the first step
                    flat.master.grad = None
                update.load_state(state)
            update.begin(step)
            update.apply([gradient])
            assert torch.equal(flat.master, before) == (step in (1, 4))
        assert float(update.scale.factor) == 2.0**10
        masters.append(flat.master)
    torch.testing.assert_close(masters[0], masters[1], rtol=1e-5, atol=1e-6)


def trained(folder: Path, model: Any, count: int = 40, **more: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    from safetensors.torch import load_file

    report = train(folder, samples_of(count), settings_of(**more), model, backend="packed")
    return report, load_file(folder / WEIGHTS)


@pytest.mark.parametrize("targets", [ALL, ("q_proj", "down_proj")])
def test_float16_trains_as_float32_does(targets: tuple[str, ...], tmp_path: Path) -> None:
    """Ten steps: each loss within 0.2 %, and what was learned points the same way."""
    more = {"targets": targets, "learning_rate": 1e-2, "embedding_learning_rate": 1e-3}
    exact, expected = trained(tmp_path / "float32", half().float(), **more)
    report, found = trained(tmp_path / "float16", half(), **more)
    begin = trained(
        tmp_path / "begin", half().float(), 1, **more | {"learning_rate": 0.0, "embedding_learning_rate": 0}
    )[1]
    assert report["number_type"] == "float16"
    assert report["losses"] == pytest.approx(exact["losses"], rel=2e-3)
    moved = [torch.cat([(of[key] - begin[key]).flatten() for key in sorted(of)]) for of in (expected, found)]
    assert torch.cosine_similarity(*moved, dim=0) > 0.99
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}


def test_small_gradients_do_not_vanish(tmp_path: Path) -> None:
    """A head of small numbers hands gradients below float16's smallest number (6e-8) on to the layers."""
    more = {"targets": ("q_proj", "v_proj"), "learning_rate": 1e-2}
    _, expected = trained(tmp_path / "float32", half(lm_head=1e-5).float(), **more)
    report, found = trained(tmp_path / "float16", half(lm_head=1e-5), **more)
    assert not any(SKIPPED in note for note in report["notes"])
    learned = [torch.cat([of[key].flatten() for key in sorted(of) if "lora_B" in key]) for of in (expected, found)]
    assert torch.cosine_similarity(*learned, dim=0) > 0.9


def test_a_first_scale_that_is_too_large_costs_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, _ = trained(tmp_path / "usual", half())
    monkeypatch.setattr(loop, "LossScale", partial(LossScale, first=2.0**40))
    report, _ = trained(tmp_path / "large", half())
    assert report["notes"] == []
    assert report["losses"] == pytest.approx(usual["losses"], rel=1e-3)


def test_steps_that_overflow_are_skipped_and_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scale that doubles after every step meets the largest number again and again."""
    usual, _ = trained(tmp_path / "usual", half(), 160)
    monkeypatch.setattr(loop, "LossScale", partial(LossScale, interval=1))
    report, weights = trained(tmp_path / "often", half(), 160)
    (note,) = report["notes"]
    skipped = int(note.split()[0])
    assert note == f"{skipped} of 40 {SKIPPED}"
    assert 5 < skipped < 25
    assert report["losses"] == pytest.approx(usual["losses"], rel=2e-2)
    assert report["losses"] != usual["losses"]
    assert all(tensor.isfinite().all() for tensor in weights.values())


class Interrupted(Exception):
    pass


class Killer(Reporter):
    """Ends a training after a step."""

    def __init__(self) -> None:
        """Tells no logger."""

    def step(self, step: int, loss: float, learning_rate: float) -> None:
        if step == 13:
            raise Interrupted


def test_an_interrupted_training_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scale, its count and the skipped steps are part of the checkpoint."""
    monkeypatch.setattr(loop, "LossScale", partial(LossScale, interval=2))
    samples, settings = samples_of(80), settings_of()
    whole = train(tmp_path / "whole", samples, settings, half(), backend="packed")
    more = {"backend": "packed", "checkpoints": tmp_path / "checkpoints", "checkpoint_seconds": 0.0}
    with pytest.raises(Interrupted):
        train(tmp_path / "again", samples, settings, half(), reporter=Killer(), **more)
    report = train(tmp_path / "again", samples, settings, half(), **more)
    assert report.pop("measured")["resumed_at_step"] == 12
    del whole["measured"]
    assert report == whole
    assert any(SKIPPED in note for note in report["notes"])
    assert bytes_of(tmp_path / "again") == bytes_of(tmp_path / "whole")


def test_numbers_beyond_float16_end_with_one_line_that_names_dtype(tmp_path: Path) -> None:
    model = half(lm_head=1e5)
    with pytest.raises(InputError, match=r"the loss of step 1 is .*float16 .*dtype to float32 or bfloat16") as error:
        train(tmp_path / "a", samples_of(6), settings_of(), model, backend="packed")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_gradients_that_no_scale_mends_end_with_one_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SMALLEST", 2 * FIRST)
    monkeypatch.setattr(loop, "LossScale", partial(LossScale, first=2.0**40))
    with pytest.raises(InputError, match=r"gradients of step 1 are not finite; float16 .*dtype"):
        train(tmp_path / "a", samples_of(6), settings_of(), half(), backend="packed")
    assert list(tmp_path.iterdir()) == []

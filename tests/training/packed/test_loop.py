"""The packed backend: its written-out gradients against autograd, and rows against single samples."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from environments import needs_gpu, needs_trl_on_a_cpu
from reference_positions import Reference, text_of
from tiny_models import ARCHITECTURES, EMBEDDED, tiny_model
from torch import Tensor
from trainings import ALL, LINEAR, model_of, samples_of, settings_of, train

from arcfold.jobs.files import InputError
from arcfold.models.base import BaseModel
from arcfold.models.lora import fresh_weights, make_spec, save_adapter
from arcfold.models.plain import load_plain
from arcfold.models.positions import MODEL_TYPE
from arcfold.training.job import Job, Outcome, Progress, Sample, determinism, make_schedule
from arcfold.training.packed.buckets import Shape
from arcfold.training.packed.kernels import (
    adamw,
    cross_entropy,
    rms_norm,
    rms_norm_backward,
    rotate,
    rotate_backward,
    swiglu,
    swiglu_backward,
)
from arcfold.training.packed.loop import Loop, launch_bound
from arcfold.training.packed.network import Network, attend
from arcfold.training.packed.rows import Row, Rows, row_of

BASE_RECORD = {"name": "tiny", "hash": "0123"}


def network_of(model: Any, targets: tuple[str, ...] = ALL) -> tuple[Network, Any, dict[str, Tensor]]:
    """A network with random LoRA matrices, its spec and its weights."""
    spec = make_spec(model, rank=3, alpha=5, rslora=True, targets=targets)
    generator = torch.Generator().manual_seed(1)
    weights = {
        key: tensor + 0.2 * torch.randn(tensor.shape, generator=generator)
        for key, tensor in fresh_weights(model, spec, seed=1).items()
    }
    return Network(model, spec, weights), spec, weights


def row_with(network: Network, samples: list[Sample], shape: Shape | None = None, device: str = "cpu") -> Row:
    """All samples as one row for the network, as large as `shape` or as they are."""
    rows, count = Rows(samples, network.rule), len(samples)
    network.turn_by(rows.distinct)
    shape = shape or rows.shape(0, count)
    packed = torch.from_numpy(rows.pack(0, count, shape, rows.label_tokens(0, count)))
    return row_of(packed.to(device), shape, rows.pieces(0, count, shape))


def gradients_of(
    network: Network, samples: list[Sample], shape: Shape | None = None
) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of a row, by the keys of an adapter file."""
    with torch.no_grad():
        loss = network.loss_and_gradients(row_with(network, samples, shape))
        masters = [flat.master.clone() for flat in network.flats()]
        for flat in network.flats():
            flat.master.copy_(flat.grad)
        gradients = network.export()
        for flat, master in zip(network.flats(), masters, strict=True):
            flat.master.copy_(master)
    return float(loss), gradients


def gradients_of_peft(model: Any, spec: Any, weights: dict[str, Tensor], samples: list[Sample], folder: Path) -> Any:
    """The same from plain PEFT and autograd, one sample at a time."""
    from peft import PeftModel

    folder.mkdir()
    save_adapter(folder, spec, weights, BASE_RECORD)
    adapted = PeftModel.from_pretrained(copy.deepcopy(model), folder, is_trainable=True)
    total = torch.zeros(())
    for sample in samples:
        logits = adapted(input_ids=torch.from_numpy(sample.input_ids)[None]).logits[0, :-1]
        total = total + F.cross_entropy(
            logits, torch.from_numpy(sample.labels)[1:].long(), ignore_index=-100, reduction="sum"
        )
    loss = total / sum(sample.label_tokens() for sample in samples)
    loss.backward()
    named = {name: parameter.grad for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    clean = {name.replace(".default", "").replace(".modules_to_save", ""): grad for name, grad in named.items()}
    return loss.item(), clean


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_those_of_autograd(architecture: str, tied: bool, tmp_path: Path) -> None:
    """Grouped queries, biases (Qwen2), norms of the heads (Qwen3); several samples in a row."""
    options = {"attention_bias": True} if architecture == "llama" else {}
    model = tiny_model(architecture, seed=14, vocabulary=16, tied=tied, **options)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # norms and biases are ones and zeros in a fresh model
            parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    network, spec, weights = network_of(model)
    samples = samples_of(5)
    loss, ours = gradients_of(network, samples)
    network.release()
    expected, theirs = gradients_of_peft(model, spec, weights, samples, tmp_path / "a")
    assert loss == pytest.approx(expected, rel=1e-5)
    assert ours.keys() == theirs.keys()
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-3, atol=1e-5)


def test_gradients_by_grids_are_those_of_the_vision_models_text_model(tmp_path: Path) -> None:
    model = tiny_model(MODEL_TYPE, seed=14, vocabulary=16, kv_heads=2)
    texts = [text_of(seed, 20 + 7 * seed, model.config.grid_tokens, 16) for seed in range(4)]
    samples = [Sample(tuple(text), (-100, *text[1:])) for text in texts]
    network, spec, weights = network_of(model)
    loss, ours = gradients_of(network, samples)
    network.release()
    expected, theirs = gradients_of_peft(Reference(model), spec, weights, samples, tmp_path / "a")
    assert loss == pytest.approx(expected, rel=1e-5)
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("targets", [("q_proj",), ("k_proj", "v_proj", "up_proj"), ("down_proj", "lm_head"), LINEAR])
def test_gradients_of_some_targets(targets: tuple[str, ...], tmp_path: Path) -> None:
    model = tiny_model("qwen3", seed=15, vocabulary=16, kv_heads=2)
    network, spec, weights = network_of(model, targets)
    samples = samples_of(3)
    loss, ours = gradients_of(network, samples)
    network.release()
    expected, theirs = gradients_of_peft(model, spec, weights, samples, tmp_path / "a")
    assert loss == pytest.approx(expected, rel=1e-5)
    assert ours.keys() == theirs.keys()
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-3, atol=1e-5)


def variants() -> dict[str, Callable[[Network], None]]:
    def batch_the_products(network: Network) -> None:
        for layer in network.layers:
            for projections in (layer.qkv, layer.gate_up):
                projections.batched = True

    def recompute(network: Network) -> None:
        network.recompute = True

    def cut_the_logits(network: Network) -> None:
        network.logits_at_once = 5 * 16

    return {"batched": batch_the_products, "recompute": recompute, "logits in pieces": cut_the_logits}


@pytest.mark.parametrize("variant", variants())
def test_every_way_of_computing_gives_the_same(variant: str) -> None:
    network, _, _ = network_of(tiny_model("qwen3", seed=15, vocabulary=16, kv_heads=2))
    samples = samples_of(4)
    loss, gradients = gradients_of(network, samples)
    variants()[variant](network)
    again, others = gradients_of(network, samples)
    assert again == pytest.approx(loss, rel=1e-6)
    for key in gradients:
        torch.testing.assert_close(others[key], gradients[key], rtol=1e-4, atol=1e-6)


def test_a_sample_does_not_see_its_neighbours() -> None:
    network, _, _ = network_of(tiny_model("qwen3", seed=15, vocabulary=16, kv_heads=2))
    samples = samples_of(3)
    together, _ = gradients_of(network, samples)
    alone = [gradients_of(network, [sample])[0] * sample.label_tokens() for sample in samples]
    assert together == pytest.approx(sum(alone) / sum(s.label_tokens() for s in samples), rel=1e-5)


def test_a_large_vocabulary(tmp_path: Path) -> None:
    model = tiny_model("llama", seed=16, vocabulary=3000)
    network, spec, weights = network_of(model, ("q_proj", "embed_tokens", "lm_head"))
    samples = samples_of(3, vocabulary=3000)
    _, ours = gradients_of(network, samples)
    network.release()
    _, theirs = gradients_of_peft(model, spec, weights, samples, tmp_path / "a")
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-3, atol=1e-5)


def test_bfloat16_stays_close_to_float32() -> None:
    samples = samples_of(4)
    losses, gradients = [], []
    for dtype in (torch.float32, torch.bfloat16):
        model = copy.deepcopy(tiny_model("qwen3", seed=20, vocabulary=16)).to(dtype)
        network, _, _ = network_of(model, ("q_proj", "down_proj"))
        loss, of = gradients_of(network, samples)
        losses.append(loss)
        gradients.append(torch.cat([of[key].flatten() for key in sorted(of)]))
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98


def test_rows_are_slices_of_all_samples() -> None:
    samples = [Sample((1, 2, 3), (1, -100, 3)), Sample((4, 5), (-100, 5)), Sample((6, 7, 8, 9), (-100, 7, -100, 9))]
    rows = Rows(samples)
    shape = rows.shape(1, 3)
    assert shape == Shape(tokens=6, scored=3, samples=2, longest=4)
    row = row_of(torch.from_numpy(rows.pack(1, 3, shape, 3)), shape, rows.pieces(1, 3, shape))
    assert row.ids.tolist() == [4, 5, 6, 7, 8, 9]
    assert row.positions.tolist() == [0, 1, 0, 1, 2, 3]
    assert row.bounds.tolist() == [0, 2, 6, 6]
    assert row.lengths == (2, 4)
    assert row.scored.tolist() == [0, 2, 4]
    assert row.targets.tolist() == [5, 7, 9]
    assert row.weights.tolist() == [torch.tensor(1 / 3)] * 3
    assert row.place.tolist() == [0, 3, 1, 3, 2, 3]


def test_a_padded_row_has_its_padding_behind_the_samples() -> None:
    samples = [Sample((4, 5), (-100, 5)), Sample((6, 7, 8), (-100, 7, 8))]
    rows, shape = Rows(samples), Shape(tokens=8, scored=5, samples=3, longest=3)
    row = row_of(torch.from_numpy(rows.pack(0, 2, shape, 4)), shape, rows.pieces(0, 2, shape))
    assert row.ids.tolist() == [4, 5, 6, 7, 8, 0, 0, 0]
    assert row.bounds.tolist() == [0, 2, 5, 5, 8]
    assert row.lengths == (2, 3, 3)
    assert row.weights.tolist() == [0.25, 0.25, 0.25, 0, 0]
    assert row.place.tolist() == [0, 5, 1, 2, 5, 5, 5, 5]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_changes_nothing(architecture: str) -> None:
    network, _, _ = network_of(tiny_model(architecture, seed=21, vocabulary=16, kv_heads=2))
    samples = samples_of(4)
    exact = Rows(samples).shape(0, 4)
    wider = Shape(exact.tokens + 19, exact.scored + 7, samples=6, longest=exact.longest)
    loss, gradients = gradients_of(network, samples)
    again, others = gradients_of(network, samples, wider)
    assert again == pytest.approx(loss, rel=1e-6)
    for key in gradients:
        torch.testing.assert_close(others[key], gradients[key], rtol=1e-5, atol=1e-7)


def test_rms_norm() -> None:
    x = torch.randn(5, 12, dtype=torch.float64).float().requires_grad_()
    weight, d, residual = torch.randn(12), torch.randn(5, 12), torch.randn(5, 12)
    expected = F.rms_norm(x, (12,), weight, 1e-6)
    out, wide = torch.empty(5, 12), torch.empty(5, 15)
    first = torch.randn(5, 12)
    for parts in ((x.detach(), None), (first, x.detach() - first)):
        total, rstd = rms_norm(*parts, weight, 1e-6, out)
        torch.testing.assert_close(total, x.detach())
        torch.testing.assert_close(out, expected)
    (gradient,) = torch.autograd.grad(expected, x, d)
    for other, result in ((None, gradient), (residual, gradient + residual)):
        rms_norm_backward(d, x.detach(), rstd, weight, other, wide[:, :12])
        torch.testing.assert_close(wide[:, :12], result)


@pytest.mark.parametrize("normed", [False, True])
def test_rotate(normed: bool) -> None:
    long, norm = torch.randn(5, 4, 6), torch.randn(3, 6) if normed else None
    heads = long[:, :3].detach().requires_grad_()
    angles, positions, d = torch.randn(9, 3), torch.tensor([0, 1, 2, 0, 8]), torch.randn(5, 3, 6)
    cos, sin = angles.cos(), angles.sin()
    x = heads if norm is None else F.rms_norm(heads, (6,), None, 1e-6) * norm
    turned = torch.complex(x[..., :3], x[..., 3:]) * torch.complex(cos, sin)[positions][:, None]
    expected = torch.cat([turned.real, turned.imag], -1)
    torch.testing.assert_close(rotate(long[:, :3], norm, 1e-6, cos, sin, positions), expected)
    dq, dk, dv = d[:, :2].contiguous(), d[:, 2:].contiguous(), torch.randn(5, 1, 6)
    out = torch.zeros(5, 5, 6)
    rotate_backward(dq, dk, dv, long, norm, 1e-6, cos, sin, positions, out[:, :4])
    torch.testing.assert_close(out[:, :3], torch.autograd.grad(expected, heads, d)[0])
    assert torch.equal(out[:, 3:4], dv)
    assert not out[:, 4].any()


def test_swiglu() -> None:
    x, d = torch.randn(5, 14, requires_grad=True), torch.randn(5, 7)
    expected = F.silu(x[:, :7]) * x[:, 7:]
    out, gradient = torch.empty(5, 9), torch.empty(5, 17)
    swiglu(x.detach(), out[:, :7])
    torch.testing.assert_close(out[:, :7], expected)
    swiglu_backward(d, x.detach(), gradient[:, :14])
    torch.testing.assert_close(gradient[:, :14], torch.autograd.grad(expected, x, d)[0])


def test_cross_entropy() -> None:
    logits, targets = torch.randn(6, 11, requires_grad=True), torch.tensor([0, 10, 3, 3, 5, 1])
    weights = torch.tensor([0.5, 0.25, 1, 0, 0.125, 1])
    expected = F.cross_entropy(logits, targets, reduction="none") * weights
    losses, gradient = cross_entropy(logits.detach(), targets.int(), weights)
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), logits)[0])


def test_adamw() -> None:
    """Against torch's, over a few steps with a share of the gradient and a changing rate."""
    master = torch.randn(300, dtype=torch.float64).float()
    theirs = torch.nn.Parameter(master.clone())
    optimizer = torch.optim.AdamW([theirs], weight_decay=0.1)
    mean, square = torch.zeros(300), torch.zeros(300)
    for step in range(1, 6):
        gradient, rate = torch.randn(300), 0.1 / step
        numbers = torch.tensor([rate, 1 / (1 - 0.9**step), (1 - 0.999**step) ** -0.5])
        adamw(master, gradient, mean, square, torch.tensor(0.5), numbers, (0.9, 0.999), 1e-8, 0.1)
        optimizer.param_groups[0]["lr"], theirs.grad = rate, gradient * 0.5
        optimizer.step()
        torch.testing.assert_close(master, theirs.detach(), rtol=1e-5, atol=1e-6)


def test_attention_stays_inside_a_sample() -> None:
    rows = Rows([Sample((1,) * n, (-100,) * (n - 1) + (1,)) for n in (2, 5, 3)])
    shape = rows.shape(0, 3)
    row = row_of(torch.from_numpy(rows.pack(0, 3, shape, 3)), shape, rows.pieces(0, 3, shape))
    q, k, v = torch.randn(10, 4, 8), torch.randn(10, 2, 8), torch.randn(10, 2, 8)
    sample = torch.repeat_interleave(torch.arange(3), torch.tensor(row.lengths))
    allowed = (sample[:, None] == sample) & torch.ones(10, 10).tril().bool()
    k_wide, v_wide = (x.repeat_interleave(2, dim=1).transpose(0, 1) for x in (k, v))
    scores = (q.transpose(0, 1) @ k_wide.transpose(1, 2) * 0.3).masked_fill(~allowed, -torch.inf)
    out = torch.empty_like(q)
    attend(q, k, v, row, 0.3, out)
    torch.testing.assert_close(out, (scores.softmax(-1) @ v_wide).transpose(0, 1))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"model_type": "gpt2"}, {}, "gpt2"),
        ({"hidden_act": "gelu"}, {}, "gelu"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, {}, "dynamic"),
        ({"sliding_window": 8, "use_sliding_window": True}, {}, "sliding window 8"),
        ({}, {"dropout": 0.1}, "dropout"),
    ],
)
def test_what_it_does_not_compute_is_refused(change: Any, options: Any, message: str, tmp_path: Path) -> None:
    model = copy.deepcopy(tiny_model("qwen3", seed=18, vocabulary=16))
    for name, value in change.items():
        setattr(model.config, name, value)
    with pytest.raises(InputError, match=message) as error:
        train(tmp_path / "a", samples_of(6), settings_of(**options), model, backend="packed")
    assert "use the trl backend" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_double_precision_is_refused(tmp_path: Path) -> None:
    model = copy.deepcopy(tiny_model("qwen3", seed=18, vocabulary=16)).double()
    with pytest.raises(InputError, match="float64"):
        train(tmp_path / "a", samples_of(3), settings_of(), model, backend="packed")


def run_loop(samples: list[Sample], settings: Any, padded: bool) -> Outcome:
    """A whole training, in the form that is chosen."""
    model = model_of()
    spec = make_spec(model, rank=4, alpha=4, rslora=True, targets=ALL)
    schedule, start = make_schedule(len(samples), settings), fresh_weights(model, spec, seed=3)
    job = Job(tuple(samples), settings, schedule, spec, start, None, 1e9, Progress(schedule.steps, False))
    network = Network(model, spec, start)
    try:
        return Loop(network, job, 0.0, padded).run()
    finally:
        network.release()


@pytest.mark.parametrize("changes", [{}, {"accumulation": 1, "batch": 4}, {"batch": 3}])
def test_padded_steps_train_the_same(changes: Any) -> None:
    """The rows that a GPU captures, of few shapes, against rows as long as their samples: 1e-5 of each loss."""
    samples, settings = samples_of(14), settings_of(**changes)
    losses, weights, computed = [], [], []
    for padded in (False, True):
        outcome = run_loop(samples, settings, padded)
        losses.append(outcome.losses)
        weights.append(outcome.weights)
        computed.append(outcome.computed_tokens)
    assert computed[0] == sum(len(sample.input_ids) for sample in samples) < computed[1]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for key in weights[0]:
        torch.testing.assert_close(weights[1][key], weights[0][key], rtol=1e-4, atol=1e-5)


@needs_trl_on_a_cpu
def test_the_padded_form_agrees_with_trl(tmp_path: Path) -> None:
    """Loss curves within 1e-4, as those of exact rows."""
    samples, settings = samples_of(12), settings_of()
    report = train(tmp_path / "a", samples, settings, backend="trl")
    outcome = run_loop(samples, settings, padded=True)
    assert outcome.losses == pytest.approx(report["losses"], rel=1e-4)


@needs_trl_on_a_cpu
def test_positions_by_grids_are_trained_as_by_trl(tmp_path: Path) -> None:
    model = tiny_model(MODEL_TYPE, seed=12, vocabulary=16)
    reports = [
        train(tmp_path / backend, samples_of(12), settings_of(), copy.deepcopy(model), backend=backend)
        for backend in ("trl", "packed")
    ]
    assert reports[1]["losses"] == pytest.approx(reports[0]["losses"], rel=1e-4)


BITS_16 = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


@needs_gpu
@BITS_16
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_gpu_computes_what_the_cpu_computes(architecture: str, dtype: torch.dtype) -> None:
    """Triton's kernels, flash attention and batched products, in 16 bits against float32."""
    samples = samples_of(5, longest=60)
    model = tiny_model(architecture, seed=19, vocabulary=16, kv_heads=2)
    network, _, _ = network_of(copy.deepcopy(model), ("q_proj", "up_proj", "down_proj"))
    loss, expected = gradients_of(network, samples)
    on_gpu, _, _ = network_of(copy.deepcopy(model).to("cuda", dtype), ("q_proj", "up_proj", "down_proj"))
    with torch.no_grad():
        again = on_gpu.loss_and_gradients(row_with(on_gpu, samples, device="cuda"))
        on_gpu.lora.master.copy_(on_gpu.lora.grad)
    ours = on_gpu.export()
    assert float(again) == pytest.approx(loss, rel=3e-2)
    flat = [torch.cat([of[key].flatten() for key in sorted(of)]) for of in (expected, ours)]
    assert torch.cosine_similarity(*flat, dim=0) > 0.98


@needs_gpu
@BITS_16
def test_graphs_give_the_bytes_of_kernels_launched_one_by_one(dtype: torch.dtype) -> None:
    """In float16 with a scale that overflows now and then: skipped steps are played from graphs too."""
    name = str(dtype).removeprefix("torch.")
    samples, settings = samples_of(60, longest=400), settings_of(accumulation=1)
    outcomes = []
    for captured in (True, True, False):
        model = load_plain(BaseModel.open(EMBEDDED, dtype=name), torch.device("cuda"))
        spec = make_spec(model, rank=8, alpha=8, rslora=True, targets=ALL)
        schedule, start = make_schedule(len(samples), settings), fresh_weights(model, spec, seed=3)
        job = Job(tuple(samples), settings, schedule, spec, start, None, 1e9, Progress(schedule.steps, False))
        network = Network(model, spec, start)
        assert launch_bound(network, job)
        loop = Loop(network, job, 0.0, padded=True)
        if loop.scale is not None:
            loop.scale.interval = 1
        assert loop.graphs is not None
        loop.graphs.failed = not captured
        with determinism(settings, torch.device("cuda"), strict=True):
            outcomes.append(loop.run())
        assert bool(loop.graphs.graphs) is captured
        assert any("were skipped" in note for note in outcomes[-1].notes) is (dtype == torch.float16)
    for other in outcomes[1:]:
        assert other.losses == outcomes[0].losses
        assert all(torch.equal(other.weights[key], outcomes[0].weights[key]) for key in start)

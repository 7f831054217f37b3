"""Training: steps and schedule by their formulas, and what both backends must hold alike."""

from __future__ import annotations

import copy
import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from environments import environment_of_tests, needs_trl_on_a_cpu
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import embedded_model
from trainings import (
    BASE_RECORD,
    BOTH,
    both_backends,
    bytes_of,
    model_of,
    plain_loss,
    samples_of,
    settings_of,
    train,
)

from arcfold.jobs.files import InputError
from arcfold.models.lora import BASE, CONFIG, load_adapter
from arcfold.training.job import Sample, make_schedule


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """The same bytes need the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@given(
    samples=st.integers(1, 5000),
    batch=st.integers(1, 9),
    accumulation=st.integers(1, 5),
    warmup=st.one_of(st.integers(0, 200), st.sampled_from([0.0, 0.03, 0.1, 0.5, 1.0])),
)
def test_schedule(samples: int, batch: int, accumulation: int, warmup: int | float) -> None:
    which = "warmup_steps" if isinstance(warmup, int) else "warmup_ratio"
    settings = settings_of(batch=batch, accumulation=accumulation, **{"warmup_steps": None, which: warmup})
    schedule = make_schedule(samples, settings)
    assert schedule.steps == math.ceil(samples / (batch * accumulation))
    wanted = warmup if isinstance(warmup, int) else math.ceil(round(warmup * schedule.steps, 6))
    assert schedule.warmup == min(wanted, schedule.steps // 2)
    assert (schedule.note is not None) == (wanted > schedule.warmup)
    assert schedule.factor(schedule.steps) == pytest.approx(0, abs=1e-12)
    assert schedule.factor(schedule.warmup) == 1
    for step in range(schedule.warmup):
        assert schedule.factor(step) == step / schedule.warmup
    middle = (schedule.steps + schedule.warmup) // 2
    if 2 * middle == schedule.steps + schedule.warmup:
        assert schedule.factor(middle) == pytest.approx(0.5)


def test_the_schedule_is_that_of_transformers() -> None:
    from transformers import get_cosine_schedule_with_warmup

    schedule = make_schedule(37, settings_of(batch=1, accumulation=1, warmup_steps=5))
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = get_cosine_schedule_with_warmup(optimizer, schedule.warmup, schedule.steps)
    for step in range(37):
        assert theirs.get_last_lr()[0] == pytest.approx(schedule.factor(step))
        optimizer.step()
        theirs.step()


def test_steps_of_the_notes() -> None:
    assert make_schedule(100 // 2 * 8 * 4, settings_of(batch=2, accumulation=2)).steps == 400
    assert make_schedule(120 // 8 * 8 * 4, settings_of(batch=4, accumulation=1)).steps == 120


@both_backends
def test_the_first_loss_is_that_of_a_plain_computation(backend: str, tmp_path: Path) -> None:
    samples = samples_of(7)
    report = train(tmp_path / "a", samples, settings_of(), backend=backend)
    assert report["steps"] == len(report["losses"]) == 2
    assert report["losses"][0] == pytest.approx(plain_loss(model_of(), samples[:4]), rel=1e-5)


@both_backends
def test_the_last_step_may_be_smaller_and_weighs_its_own_tokens(backend: str, tmp_path: Path) -> None:
    samples = samples_of(5)
    report = train(
        tmp_path / "a", samples, settings_of(learning_rate=0.0, embedding_learning_rate=0.0), backend=backend
    )
    assert report["losses"][1] == pytest.approx(plain_loss(model_of(), samples[4:]), rel=1e-5)


@both_backends
def test_each_group_has_its_learning_rate(backend: str, tmp_path: Path) -> None:
    """Adam's first step moves every number that has a gradient by its learning rate."""
    settings = settings_of(learning_rate=2e-3, embedding_learning_rate=5e-5, max_grad_norm=0.0)
    train(tmp_path / "a", samples_of(4), settings, backend=backend)
    _, weights = load_adapter(tmp_path / "a", model_of(), BASE_RECORD)
    lora = torch.cat([tensor.abs().flatten() for key, tensor in weights.items() if "lora_B" in key])
    assert lora.max().item() == pytest.approx(2e-3, rel=1e-3)
    for path, before in (("model.embed_tokens", model_of().model.embed_tokens), ("lm_head", model_of().lm_head)):
        moved = (weights[f"base_model.model.{path}.weight"] - before.weight).abs().max().item()
        assert moved == pytest.approx(5e-5, rel=1e-2)


@both_backends
def test_weight_decay_shrinks_every_group_at_its_rate(backend: str, tmp_path: Path) -> None:
    """A token that never occurs has no gradient in the input embedding: AdamW only decays it."""
    settings = settings_of(embedding_learning_rate=1e-2, weight_decay=0.5)
    train(tmp_path / "a", samples_of(4, vocabulary=15), settings, backend=backend)
    _, weights = load_adapter(tmp_path / "a", model_of(), BASE_RECORD)
    before = model_of().model.embed_tokens.weight[15]
    torch.testing.assert_close(weights["base_model.model.model.embed_tokens.weight"][15], before * (1 - 1e-2 * 0.5))


@needs_trl_on_a_cpu
@pytest.mark.parametrize("tied", [False, True])
def test_the_backends_agree(tied: bool, tmp_path: Path) -> None:
    """Same samples, order and seed: losses and weights within float32 rounding."""
    samples = samples_of(30, longest=40)
    settings = settings_of(warmup_ratio=0.2, warmup_steps=None, learning_rate=3e-3)
    reports = {b: train(tmp_path / b, samples, settings, model_of(tied), backend=b) for b in BOTH}
    assert reports["packed"]["losses"] == pytest.approx(reports["trl"]["losses"], rel=1e-4)
    assert reports["trl"]["losses"][-1] != pytest.approx(reports["trl"]["losses"][0], rel=1e-2)
    _, ours = load_adapter(tmp_path / "packed", model_of(tied), BASE_RECORD)
    _, theirs = load_adapter(tmp_path / "trl", model_of(tied), BASE_RECORD)
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-2, atol=2e-5)
    same = ("steps", "samples", "tokens", "label_tokens", "schedule", "lora", "notes")
    assert {key: reports["trl"][key] for key in same} == {key: reports["packed"][key] for key in same}


@needs_trl_on_a_cpu
def test_the_backends_agree_on_the_embedded_model(tmp_path: Path) -> None:
    samples = samples_of(8, longest=60, vocabulary=14)
    settings = settings_of(rank=32, alpha=16, batch=2, accumulation=1)
    losses = [train(tmp_path / b, samples, settings, embedded_model(), backend=b)["losses"] for b in BOTH]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][0] == pytest.approx(plain_loss(embedded_model(), samples[:2]), rel=1e-5)


@both_backends
@pytest.mark.parametrize("tied", [False, True])
def test_the_adapter_means_the_same_in_plain_peft(backend: str, tied: bool, tmp_path: Path) -> None:
    """A training of one more step starts at the loss that plain PEFT sees."""
    from peft import PeftModel

    samples = samples_of(12)
    train(tmp_path / "a", samples[:8], settings_of(learning_rate=1e-2), model_of(tied), backend=backend)
    more = train(tmp_path / "b", samples[8:], settings_of(), model_of(tied), backend=backend, init=tmp_path / "a")
    adapted = PeftModel.from_pretrained(copy.deepcopy(model_of(tied)), tmp_path / "a").eval()
    assert more["losses"][0] == pytest.approx(plain_loss(adapted, samples[8:]), rel=1e-5)
    assert more["losses"][0] != pytest.approx(plain_loss(model_of(tied), samples[8:]), rel=1e-3)
    merged = adapted.merge_and_unload()
    assert more["losses"][0] == pytest.approx(plain_loss(merged, samples[8:]), rel=1e-5)


@both_backends
def test_same_inputs_same_bytes(backend: str, tmp_path: Path) -> None:
    samples = samples_of(8)
    for name in ("a", "b"):
        torch.manual_seed(len(name) + ord(name))  # what torch's own generator holds does not matter
        train(tmp_path / name, samples, settings_of(), backend=backend)
    train(tmp_path / "c", samples, settings_of(seed=4), backend=backend)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b") != bytes_of(tmp_path / "c")
    assert (tmp_path / "a" / CONFIG).read_bytes() == (tmp_path / "b" / CONFIG).read_bytes()
    assert json.loads((tmp_path / "a" / BASE).read_text()) == BASE_RECORD


@both_backends
@pytest.mark.parametrize("tied", [False, True])
def test_the_base_model_is_left_as_it_was(backend: str, tied: bool, tmp_path: Path) -> None:
    model = copy.deepcopy(model_of(tied))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = model.config.to_dict()
    modules = [(name, type(module)) for name, module in model.named_modules()]
    logits = model(torch.arange(16)[None]).logits
    train(tmp_path / "a", samples_of(4), settings_of(), model, backend=backend)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert modules == [(name, type(module)) for name, module in model.named_modules()]
    assert model.config.to_dict() == config
    assert torch.equal(model(torch.arange(16)[None]).logits, logits)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    own_storage = {p.untyped_storage().data_ptr() for p in model.parameters()}
    assert len(own_storage) == len(list(model.parameters()))


@both_backends
def test_a_loss_that_is_not_finite_ends_with_one_line_and_nothing_written(backend: str, tmp_path: Path) -> None:
    broken = copy.deepcopy(model_of())
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    with pytest.raises(InputError, match=r"step 1 is nan") as error:
        train(tmp_path / "a", samples_of(4), settings_of(), broken, backend=backend)
    assert "\n" not in str(error.value)
    settings = settings_of(learning_rate=1e25, embedding_learning_rate=1e25, max_grad_norm=0.0)
    with pytest.raises(InputError, match=r"step 2 is|step 3 is"):
        train(tmp_path / "a", samples_of(20), settings, backend=backend)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, re, signal, sys
from pathlib import Path
from trainings import samples_of, settings_of, train
import torch
torch.set_num_threads(1)
backend, folder, checkpoints = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
finished = []
def die_while_the_fourth_checkpoint_is_written(event, arguments):
    # a checkpoint is complete when its folder gets its name
    if event == "os.rename" and re.search("step-[0-9]+$", str(arguments[1])):
        finished.append(event)
        if len(finished) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(die_while_the_fourth_checkpoint_is_written)
train(folder, samples_of(24), settings_of(), backend=backend, checkpoints=checkpoints, checkpoint_seconds=0.0)
"""


@both_backends
def test_after_a_kill_training_goes_on_from_the_last_checkpoint(backend: str, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    command = [sys.executable, "-c", KILLED, backend, str(tmp_path / "a"), str(checkpoints)]
    done = subprocess.run(command, env=environment_of_tests(), capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert not (tmp_path / "a").exists()
    samples = samples_of(24)
    whole = train(tmp_path / "whole", samples, settings_of(), backend=backend)
    resumed = train(tmp_path / "a", samples, settings_of(), backend=backend, checkpoints=checkpoints)
    assert resumed["measured"]["resumed_at_step"] == 3
    assert resumed["losses"] == whole["losses"]
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "whole")
    assert not checkpoints.exists()


@needs_trl_on_a_cpu
@both_backends
def test_checkpoints_of_another_job_are_not_used(backend: str, tmp_path: Path) -> None:
    """A failed job leaves its checkpoints; the same folder with other settings begins anew."""
    samples = [*samples_of(8), Sample((1, 2, 3), (-100, 2, 3))]
    bad = copy.deepcopy(model_of())

    class Stop(Exception):
        pass

    def stop_at_the_third(module: Any, inputs: Any) -> None:
        calls.append(1)
        if len(calls) > 4:
            raise Stop

    calls: list[int] = []
    bad.model.rotary_emb.register_forward_pre_hook(stop_at_the_third)
    more = {"backend": "trl", "checkpoints": tmp_path / "checkpoints", "checkpoint_seconds": 0.0}
    with pytest.raises(Stop):
        train(tmp_path / "a", samples, settings_of(), bad, **more)
    assert list((tmp_path / "checkpoints").glob("step-*"))
    report = train(tmp_path / "a", samples, settings_of(seed=9), **more | {"backend": backend})
    assert report["measured"]["resumed_at_step"] == 0
    train(tmp_path / "b", samples, settings_of(seed=9), backend=backend)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


LITTLE_MEMORY = """
import json, resource, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
torch.manual_seed(0)
from arcfold.jobs.files import InputError
from trainings import LINEAR, Sample, samples_of, settings_of, train
from transformers import Qwen3Config, Qwen3ForCausalLM
shape = dict(hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4, head_dim=32)
model = Qwen3ForCausalLM(Qwen3Config(vocab_size=16, num_key_value_heads=4, **shape)).eval()
folder = Path(sys.argv[1])
# a small run first, so that what is left below goes to the samples alone
backend = sys.argv[2]
train(folder / "small", samples_of(2), settings_of(), model, backend=backend)
samples = [Sample((1, 2, 3, 4) * 250, (-100, 2, 3, 4) * 250) for _ in range(8)]
settings = settings_of(batch=8, accumulation=1, targets=LINEAR)
for mebibytes in map(int, sys.argv[3:]):
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + mebibytes * 2**20, resource.RLIM_INFINITY))
    try:
        report = train(folder / str(mebibytes), samples, settings, model, backend=backend)
        print(json.dumps([report["losses"], report["notes"]]))
    except InputError as error:
        print(json.dumps(str(error)))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits its own memory by Linux' means")
@pytest.mark.parametrize(
    ("backend", "limits", "none_left", "halved"),
    [
        (
            "packed",
            (8, 100, 8000),
            "out of memory with one sample of 1000 tokens",
            "out of memory with 8 samples (8000 tokens) at once: micro-batch cut to 4",
        ),
        pytest.param(
            "trl",
            (8, 300, 8000),
            "out of memory with a batch of 1",
            "batch cut to 4, accumulation raised to 2",
            marks=(needs_trl_on_a_cpu, pytest.mark.slow),
        ),
    ],
)
def test_too_little_memory_halves_the_batch_and_sees_the_same_samples(
    backend: str, limits: tuple[int, ...], none_left: str, halved: str, tmp_path: Path
) -> None:
    # large blocks go back to the system when they are freed
    environment = environment_of_tests(MALLOC_MMAP_THRESHOLD_="65536", MALLOC_ARENA_MAX="1")
    command = [sys.executable, "-c", LITTLE_MEMORY, str(tmp_path), backend, *map(str, limits)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    none, (little, notes), (plenty, no_notes) = map(json.loads, done.stdout.splitlines())
    assert none_left in none
    assert any(halved in note for note in notes)
    assert little == pytest.approx(plenty, rel=1e-5)
    assert no_notes == []


@both_backends
def test_init_brings_its_own_configuration_and_refuses_another_base(backend: str, tmp_path: Path) -> None:
    samples = samples_of(8)
    few = settings_of(rank=2, alpha=1, rslora=False, targets=("v_proj", "lm_head"), learning_rate=1e-2)
    train(tmp_path / "a", samples, few, backend=backend)
    report = train(tmp_path / "b", samples, settings_of(), backend=backend, init=tmp_path / "a")
    assert report["lora"]["continued"] is True
    assert (report["lora"]["rank"], report["lora"]["alpha"], report["lora"]["targets"]) == (2, 1, ["v_proj"])
    assert json.loads((tmp_path / "b" / CONFIG).read_text()) == json.loads((tmp_path / "a" / CONFIG).read_text())
    assert report["losses"][0] < plain_loss(model_of(), samples[:4])
    with pytest.raises(InputError, match="hash ffff"):
        train(
            tmp_path / "c", samples, settings_of(), backend=backend, init=tmp_path / "a",
            base_record={"name": "tiny", "hash": "ffff"},
        )  # fmt: skip
    assert not (tmp_path / "c").exists()


@both_backends
def test_some_targets_only(backend: str, tmp_path: Path) -> None:
    samples = samples_of(8)
    report = train(tmp_path / "a", samples, settings_of(targets=("k_proj", "down_proj")), backend=backend)
    assert report["lora"]["full_matrices"] == []
    assert report["losses"][0] == pytest.approx(plain_loss(model_of(), samples[:4]), rel=1e-5)
    _, weights = load_adapter(tmp_path / "a", model_of(), BASE_RECORD)
    assert len(weights) == 2 * 2 * 2
    assert all(tensor.any() for tensor in weights.values())


@both_backends
def test_the_report(backend: str, tmp_path: Path) -> None:
    samples = samples_of(9)
    report = train(tmp_path / "a", samples, settings_of(warmup_steps=2), backend=backend)
    assert report["backend"] == backend
    assert report["number_type"] == "float32"
    assert report["base"] == BASE_RECORD
    assert (report["steps"], report["samples"], report["samples_per_step"]) == (3, 9, 4)
    assert report["tokens"] == sum(len(sample.input_ids) for sample in samples)
    assert report["label_tokens"] == sum(sum(t != -100 for t in sample.labels[1:]) for sample in samples)
    assert report["schedule"]["warmup_steps"] == 1
    assert report["notes"] == ["warm-up cut from 2 to 1 steps: never more than half of the 3 steps"]
    measured = report["measured"]
    assert 0 < measured["seconds_to_first_step"] < measured["seconds"]
    padded = [samples[i : i + 2] for i in range(0, 9, 2)]
    rows = {"trl": [max(len(s.input_ids) for s in pair) * len(pair) for pair in padded], "packed": [report["tokens"]]}
    assert measured["computed_tokens"] == sum(rows[backend])
    json.dumps(report)


@pytest.mark.parametrize(
    ("settings", "samples", "message"),
    [
        ({"warmup_ratio": 0.1}, None, "exactly one"),
        ({"warmup_steps": None}, None, "exactly one"),
        ({"optimizer": "sgd"}, None, "optimizer"),
        ({"batch": 0}, None, "batch"),
        ({"warmup_steps": -1}, None, "warmup_steps"),
        ({"targets": ("nothing",)}, None, "nothing"),
        ({}, [Sample((1, 2), (1,))], "sample 0"),
        ({}, [Sample((1, 2), (1, -100))], "no label"),
    ],
)
def test_what_cannot_be_trained_is_refused(settings: Any, samples: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        train(tmp_path / "a", samples_of(3) if samples is None else samples, settings_of(**settings), backend="packed")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_backend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trl, packed"):
        train(tmp_path / "a", samples_of(3), settings_of(), backend="fast")


def test_the_packed_backend_imports_neither_trl_nor_datasets(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainings import samples_of, settings_of, train;"
        " train(Path(sys.argv[1]), samples_of(3), settings_of(), backend='packed');"
        " print([name for name in ('trl', 'datasets', 'peft') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    done = subprocess.run(command, env=environment_of_tests(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

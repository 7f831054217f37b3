"""The trl backend's own parts: padding, optimizer groups, fewer activations."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from environments import needs_gpu, needs_trl_on_a_cpu
from tiny_models import tiny_model
from trainings import ALL, bytes_of, model_of, samples_of, settings_of, train

from arcfold.models.lora import fresh_weights, make_spec
from arcfold.training.job import Job, Progress, make_schedule
from arcfold.training.trl import _adapt, _train, collate, optimizer_groups


def test_samples_are_padded_at_the_right_and_the_first_label_dropped() -> None:
    batch = collate(
        [{"input_ids": [5, 6, 7], "labels": [5, -100, 7]}, {"input_ids": [8, 9], "labels": [-100, 9]}],
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 7], [-100, 9, -100]]


def test_every_trained_matrix_is_in_one_group() -> None:
    from peft import LoraConfig, get_peft_model

    for tied in (False, True):
        model = tiny_model("qwen3", seed=13, vocabulary=16, tied=tied)
        spec = make_spec(model, rank=2, alpha=2, rslora=True, targets=ALL)
        config = spec.peft_config()
        names = ("r", "target_modules", "modules_to_save", "ensure_weight_tying")
        adapted = get_peft_model(model, LoraConfig(**{name: config[name] for name in names}))
        groups = optimizer_groups(adapted, settings_of(learning_rate=0.5, embedding_learning_rate=0.25))
        assert [group["lr"] for group in groups] == [0.5, 0.25]
        assert [len(group["params"]) for group in groups] == [2 * 7 * 2, 1 if tied else 2]
        held = [id(parameter) for group in groups for parameter in group["params"]]
        trained = [id(parameter) for parameter in adapted.parameters() if parameter.requires_grad]
        assert sorted(held) == sorted(trained)
        assert torch.is_grad_enabled()


@needs_trl_on_a_cpu
def test_keeping_fewer_activations_changes_no_loss() -> None:
    losses = []
    for recompute in (False, True):
        # gradient checkpointing leaves hooks behind: not in the model that other tests share
        model, settings, samples = copy.deepcopy(model_of()), settings_of(), tuple(samples_of(8))
        spec = make_spec(model, rank=4, alpha=4, rslora=True, targets=ALL)
        schedule, weights = make_schedule(len(samples), settings), fresh_weights(model, spec, 0)
        job = Job(samples, settings, schedule, spec, weights, None, 1e9, Progress(schedule.steps, False))
        losses.append(_train(model, job, _adapt, recompute, 0.0).losses)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert len(losses[0]) == 2


@needs_trl_on_a_cpu
@pytest.mark.parametrize("tied", [False, True])
def test_on_a_cpu_float16_weights_are_trained_on_in_float32(tied: bool, tmp_path: Path) -> None:
    """As if they had been float32 all along, and the report says so; the model is float16 again afterwards."""
    model = copy.deepcopy(model_of(tied)).half()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    exact = train(tmp_path / "exact", samples_of(8), settings_of(), copy.deepcopy(model).float(), backend="trl")
    report = train(tmp_path / "half", samples_of(8), settings_of(), model, backend="trl")
    assert report["losses"] == exact["losses"]
    assert bytes_of(tmp_path / "half") == bytes_of(tmp_path / "exact")
    assert report["notes"] == ["float16 weights, computed with in float32: the trl backend scales losses on a GPU only"]
    after = model.state_dict()
    assert all(tensor.dtype == torch.float16 for tensor in model.parameters())
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied


@needs_gpu
@pytest.mark.parametrize("backend", ["trl", "packed"])
def test_on_a_gpu_float16_is_trained_on_as_float32_is(backend: str, tmp_path: Path) -> None:
    """Losses and directions; every byte again, with an adapter in float32."""
    from safetensors.torch import load_file

    more = {"targets": ("q_proj", "v_proj", "down_proj"), "learning_rate": 1e-2}
    found = {}
    for name, dtype in (("exact", torch.float32), ("half", torch.float16), ("again", torch.float16)):
        model = copy.deepcopy(model_of()).half().to("cuda", dtype)
        report = train(tmp_path / name, samples_of(80), settings_of(**more), model, backend=backend)
        weights = load_file(tmp_path / name / "adapter_model.safetensors")
        assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
        learned = torch.cat([weights[key].flatten() for key in sorted(weights) if "lora_B" in key])
        found[name] = report["losses"], learned
        assert not any("nothing was trained" in note for note in report["notes"])
    assert found["half"][0] == pytest.approx(found["exact"][0], rel=1e-2)
    assert torch.cosine_similarity(found["half"][1], found["exact"][1], dim=0) > 0.9
    assert found["again"][0] == found["half"][0]
    assert bytes_of(tmp_path / "again") == bytes_of(tmp_path / "half")

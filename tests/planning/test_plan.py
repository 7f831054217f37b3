"""A plan counts, times and weighs a run; each figure against one worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_tasks import task
from shipped import CONFIG, ROOT

from arcfold.arc.text import codec_with_own_ids
from arcfold.jobs.files import InputError, check_schema, read_json
from arcfold.models.sizes import ModelSize
from arcfold.models.weights import read_header
from arcfold.planning.costs import fold_seconds, prompt_bytes, prompt_seconds, training_bytes, training_flops
from arcfold.planning.plan import Machine, Subject, check_disk, make_plan, plan_lines, span
from arcfold.planning.rates import PromptRates, Rates
from arcfold.planning.work import PromptWork, TrainingWork

BASE = read_json(ROOT / "resources/base-15m/config.json")
TARGETS = CONFIG["settings"]["training"]["targets"]
RATES = Rates(
    device="one", memory=2**30, threads=1, model="base-15m", parameters=15_000_000, number_type="bfloat16",
    backend="packed", start_seconds=10.0, first_step_seconds=1.0, step_seconds=0.5, training_flops=1e30,
    token_bytes=0.0, search=PromptRates(2.0, 1e30, 0.0, 0.0), min_prob=0.17, rescoring=PromptRates(1.0, 1e30, 0.0, 0.0),
    script_seconds=1.0,
)  # fmt: skip


def subject(**changes):
    tasks = [task(name, [("1", "2")] * 2, [("1", None)]) for name in "abcd"]
    folds = [tasks[:2], tasks[2:]]
    settings = {**CONFIG["settings"], "training": {**CONFIG["settings"]["training"], "epochs": 2}}
    return replace(
        Subject("mine", 0, folds, settings, "base-15m", codec_with_own_ids("embedded"), ModelSize.of(BASE)), **changes
    )


def machine(**changes):
    return replace(Machine("one", 1, RATES, "rates.json", free_disk=10**12), **changes)


def test_the_size_of_a_model_is_that_of_its_weights():
    header = read_header(ROOT / "resources/base-15m/model.safetensors")
    matrices = {name: tensor["shape"] for name, tensor in header.items() if len(tensor.get("shape", ())) == 2}
    size = ModelSize.of(BASE)
    assert size.parameters == sum(rows * columns for rows, columns in matrices.values())
    # a LoRA on q, k, v, o (320 × 320) and the three of 320 × 896, in 12 layers; two full matrices of 16 × 320
    assert size.trained(2, TARGETS) == (12 * 2 * (4 * 640 + 3 * 1216), 2 * 16 * 320)
    assert size.cache_bytes() == 12 * 2 * 320 * 2


def test_joined_layers_are_adapted_as_what_they_join():
    size = ModelSize.of({**BASE, "tie_word_embeddings": True})
    assert size.trained(1, ["qkv_proj", "gate_up_proj"]) == size.trained(
        1, ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"]
    )
    assert size.trained(1, ["embed_tokens", "lm_head"]) == (0, 16 * 320)


def test_a_plan_says_steps_seconds_and_the_schedule():
    made = make_plan(subject(), machine(), limit=60)
    check_schema({**made, "provenance": {}}, "plan", "plan")
    # 2 tasks × 8 views × 2 epochs in steps of 4: 8 a fold, each 1 + 8 × 0.5 s; a sample is 8 + 7 tokens less one start
    training = made["rules"]["train_adapter"]
    assert (training["jobs"], training["steps"], training["seconds"]) == (2, 16, 10.0)
    assert training["tokens"] == 4 * 16 * 2 * len("I1\nO2\n.")
    search = made["rules"]["search_candidates"]
    assert (search["prompts"], search["prompt_tokens"]) == (32, 32 * (2 * len("I1\nO2\n.") + len("I1\nO")))
    assert (search["reply_tokens"], search["seconds"]) == (32 * len("2\n."), 4.0)
    # one device: its start, 2 × (5 + 2 + 1), 6 jobs of 0.15 s, 8 scripts
    assert made["seconds"] == pytest.approx(10 + 16 + 0.9 + 8)
    assert made["limit"] == {"seconds": 60, "fits": True}
    assert made["epoch"]["steps"] == 8
    assert made["epoch"]["one_more_seconds"] == pytest.approx(4.0)
    two = make_plan(subject(), machine(devices=2), limit=26)
    assert two["seconds"] == pytest.approx(10 + 8 + 0.45 + 8)
    assert two["limit"]["fits"] is False
    said = "\n".join(plan_lines(two))
    assert "mine: 4 tasks, 4 test inputs, 2 folds; 2 × one" in said
    assert "does not fit into 26 s" in said


def test_without_rates_there_are_counts_and_no_seconds():
    made = make_plan(subject(), machine(rates=None, source=None), limit=60)
    check_schema({**made, "provenance": {}}, "plan", "plan")
    assert (made["seconds"], made["limit"]["fits"], made["rules"]["train_adapter"]["steps"]) == (None, None, 16)
    assert any("make results/calibration.json there" in line for line in plan_lines(made))


def test_what_does_not_fit_on_the_disk_is_refused_and_temporary_adapters_may():
    bytes_of_one = 4 * sum(ModelSize.of(BASE).trained(32, TARGETS))
    tight = machine(free_disk=bytes_of_one * 2 - 1)
    many = subject(folds=[[fold[0]] for fold in subject().folds] * 3)
    with pytest.raises(InputError, match=r"run mine: 55\.0 MiB of disk at its peak \(6 folds.*keep_adapters: false"):
        check_disk(make_plan(many, tight, 60), keep_adapters=True)
    training = {**many.settings["training"], "saved_as": "bfloat16"}
    small = replace(many, settings={**many.settings, "training": training}, keep_adapters=False)
    made = make_plan(small, tight, 60)
    check_disk(made, keep_adapters=False)
    assert made["disk"]["adapters_mib"] == round(2 * bytes_of_one / 2 / 2**20)
    # what is there already takes no more room
    assert make_plan(many, machine(present=5 * bytes_of_one), 60)["disk"]["adapters_mib"] == round(bytes_of_one / 2**20)


def test_a_training_of_minutes_has_checkpoints_on_the_disk():
    slow = replace(RATES, step_seconds=60.0)
    disk = make_plan(subject(), machine(rates=slow), 60)["disk"]
    assert disk["checkpoints_mib"] == round(3 * 12 * sum(ModelSize.of(BASE).trained(32, TARGETS)) / 2**20)


def test_seconds_grow_with_what_they_are_of():
    size, settings = ModelSize.of(BASE), subject().settings
    work = subject().works()[0]
    rates = replace(RATES, training_flops=1e9, search=PromptRates(0.0, 1e9, 0.1, 0.0))
    seconds = fold_seconds(work, size, settings, rates)
    more = TrainingWork(2 * work.training.steps, 64, 2 * work.training.tokens, 2 * work.training.squares, 20)
    assert fold_seconds(replace(work, training=more), size, settings, rates).training == pytest.approx(
        2 * seconds.training - rates.first_step_seconds
    )
    # four times as deep: half of the threshold's square root
    prompts = PromptWork(1, 8, 0, 0, 100.0, longest=10)
    slow, fast = (prompt_seconds(prompts, 0.0, p, rates.search, rates.min_prob) for p in (0.17 / 4, 0.17))
    assert slow == pytest.approx(2 * fast)
    # 4 a frozen parameter and token, 6 a trained one, and attention's causal half of 14
    low, full = size.trained(2, ["q_proj"])
    expected = 10 * (4 * (size.in_layers + 16 * 320) + 6 * low + 2 * full) + 7 * 100 * 320 * 12
    assert training_flops(TrainingWork(1, 1, 10, 100, 10), size, 2, ["q_proj"]) == expected


def test_memory_is_weights_states_and_activations_and_caches_stay_in_their_budget():
    size, training = ModelSize.of(BASE), subject().settings["training"]
    work = TrainingWork(1, 4, 4000, 0, 1000)
    measured = replace(RATES, token_bytes=1000.0)
    trained = sum(size.trained(32, TARGETS))
    expected = 2 * size.parameters + 18 * trained + 4 * 1000 * 1000.0
    assert training_bytes(work, size, training, "bfloat16", "none", measured) == expected
    assert training_bytes(work, size, training, "bfloat16", "none", RATES) > expected  # counted, where not measured
    prompts = PromptWork(1, 8, 8000, 0, 100.0, longest=1000)
    weights, wanted = 2 * size.parameters, (8000 + 8 * 931) * size.cache_bytes()
    assert prompt_bytes(prompts, size, 931, "bfloat16", None, "auto") == weights + wanted
    assert prompt_bytes(prompts, size, 931, "bfloat16", None, 0.01) == weights + 0.01 * 2**30
    assert prompt_bytes(prompts, size, 931, "bfloat16", 2 * weights, "auto") == weights + 0.8 * weights


@pytest.mark.parametrize(
    ("seconds", "said"), [(1.24, "1.2 s"), (48, "48 s"), (200, "3 min 20 s"), (25500, "7 h 05 min"), (59.7, "60 s")]
)
def test_a_span_is_said_as_a_person_says_it(seconds, said):
    assert span(seconds) == said

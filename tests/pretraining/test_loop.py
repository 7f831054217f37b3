"""Pretraining: the network is Qwen3, the loss falls, a training can stop and go on, models load as they are."""

import json
import random
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from environments import needs_gpu
from reference_positions import Reference

from arcfold.jobs.files import InputError
from arcfold.models.folder import model_record
from arcfold.pretraining.adapting_score import AdaptingSettings, adapted_scores
from arcfold.pretraining.attention import make_attention
from arcfold.pretraining.base_folder import load_network, load_optimizer, save_model
from arcfold.pretraining.batches import LATER_OUTPUT, Batches, BatchSettings, Store
from arcfold.pretraining.corpora import CorpusTask, Example
from arcfold.pretraining.held_out import make_questions, question_batches
from arcfold.pretraining.loop import Group, Pretraining, PretrainingSettings, Progress, TrainingBudget, rate_scale
from arcfold.pretraining.muon import Optimizer, OptimizerSettings, orthogonal
from arcfold.pretraining.network import Network, Shape
from arcfold.pretraining.run import Plan, probe, save, train
from arcfold.pretraining.shards import pack, read_shard, write_shard

CPU = torch.device("cpu")
SHAPE = Shape(layers=2, width=32, hidden=64, heads=2, head_size=16, positions=512)
TOKENS, LONGEST = 1024, 512


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A shard of tasks whose rule is to copy or to mirror small grids, and one of the same kind to be held out."""
    folder = tmp_path_factory.mktemp("shards")
    for name, seed in (("easy", 0), ("asked", 1)):
        draws = random.Random(seed)
        tasks = []
        for number in range(12):
            grids = [np.array([[draws.randrange(3) for _ in range(4)] for _ in range(6)], np.uint8) for _ in range(5)]
            tasks.append(
                CorpusTask(f"{name}{number}", tuple(Example(g, g[:, ::-1] if number % 2 else g) for g in grids))
            )
        write_shard(folder / name, name, tasks, dict)
    return folder


@pytest.fixture(scope="module")
def store(folder):
    return Store([read_shard(folder / "easy")], {"easy": 1.0})


def new_network(seed=0, **shape):
    network = Network(replace(SHAPE, **shape))
    network.initialize(seed)
    return network


def livened(network):
    """Random weights where a fresh network has zeros, so that every part of it matters."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(1))
    return network


def training(network, store, progress=None, state=None, **settings):
    settings.setdefault("warmup_steps", 5)
    settings.setdefault("optimizer", OptimizerSettings(matrix_rate=0.05, other_rate=0.02, momentum_steps=0))
    batches = Batches(store, BatchSettings(tokens=TOKENS, longest=LONGEST))
    return Pretraining(
        network, batches, PretrainingSettings(**settings), group=Group.alone(CPU),
        attention=make_attention("samples", TOKENS, LONGEST, CPU), progress=progress, optimizer_state=state,
    )  # fmt: skip


def quiet(line):
    pass


# --- the network --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions_by", ["places", "grids"])
def test_the_network_computes_what_transformers_computes(tmp_path, store, positions_by):
    from transformers import AutoModelForCausalLM

    network = livened(new_network(positions_by=positions_by))
    save_model(tmp_path / "model", network, dtype=torch.float32)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert load_network(tmp_path / "model").shape == network.shape
    batch = Batches(store, BatchSettings(tokens=TOKENS, longest=LONGEST))[0]
    ids, places = torch.as_tensor(batch.ids), torch.as_tensor(batch.positions)
    attention = make_attention("samples", TOKENS, LONGEST, CPU)
    attention.update(places, torch.as_tensor(batch.bounds))
    with torch.no_grad():
        ours = network.logits(ids, places if positions_by == "places" else torch.as_tensor(batch.by_grids), attention)
        for start, stop in zip(batch.bounds[:3].tolist(), batch.bounds[1:4].tolist(), strict=True):
            theirs = stock(ids[None, start:stop].long()).logits[0]
            assert (theirs - ours[start:stop]).abs().max() < 1e-4
    assert {name: value.shape for name, value in stock.state_dict().items()} == {
        name: value.shape for name, value in network.state_dict().items()
    }


def test_gradients_by_grids_are_those_of_the_vision_models_text_model(tmp_path, store):
    from transformers import AutoModelForCausalLM

    network = livened(new_network(positions_by="grids"))
    save_model(tmp_path / "model", network, dtype=torch.float32)
    reference = Reference(AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32))
    batch = Batches(store, BatchSettings(tokens=TOKENS, longest=LONGEST))[0]
    attention = make_attention("samples", TOKENS, LONGEST, CPU)
    attention.update(torch.as_tensor(batch.positions), torch.as_tensor(batch.bounds))
    ids, targets = (torch.as_tensor(part).long() for part in (batch.ids, batch.targets))
    losses, _ = network.losses(ids, targets, torch.as_tensor(batch.by_grids), attention)
    counted = torch.as_tensor(batch.kinds) == LATER_OUTPUT
    losses[counted].sum().backward()
    for start, stop in zip(batch.bounds[:-1].tolist(), batch.bounds[1:].tolist(), strict=True):
        if counted[start:stop].any():
            logits = reference(ids[None, start:stop]).logits[0][counted[start:stop]]
            torch.nn.functional.cross_entropy(
                logits, targets[start:stop][counted[start:stop]], reduction="sum"
            ).backward()
    theirs = dict(reference.named_parameters())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-3, atol=1e-4)


def test_the_layers_of_a_sample_see_nothing_of_its_neighbours(store):
    network = livened(new_network())
    batch = Batches(store, BatchSettings(tokens=TOKENS, longest=LONGEST))[0]
    ids, positions = torch.as_tensor(batch.ids), torch.as_tensor(batch.positions)
    attention = make_attention("samples", TOKENS, LONGEST, CPU)
    attention.update(positions, torch.as_tensor(batch.bounds))
    cut = int(batch.bounds[1])
    other = ids.clone()
    other[:cut] = (other[:cut] + 1) % 10
    with torch.no_grad():
        first, second = (network.logits(one, positions, attention) for one in (ids, other))
    assert torch.equal(first[cut:], second[cut:])
    assert not torch.equal(first[:cut], second[:cut])


def test_flex_attention_masks_the_same_pairs_of_tokens(store):
    """The blocks that flex attention is told to compute are exactly those that hold a pair of one sample."""
    batch = Batches(store, BatchSettings(tokens=TOKENS, longest=LONGEST))[0]
    positions = torch.as_tensor(batch.positions)
    attention = make_attention("flex", TOKENS, LONGEST, CPU)
    attention.update(positions, torch.as_tensor(batch.bounds))
    index = torch.arange(TOKENS)
    allowed = (index[None] <= index[:, None]) & (index[None] >= (index - positions)[:, None])
    blocks = allowed.view(TOKENS // 128, 128, TOKENS // 128, 128).permute(0, 2, 1, 3).flatten(2)
    mask = attention.mask
    partial, whole = (
        _named_blocks(count, indices)
        for count, indices in ((mask.kv_num_blocks, mask.kv_indices), (mask.full_kv_num_blocks, mask.full_kv_indices))
    )
    assert torch.equal(partial | whole, blocks.any(-1))
    assert torch.equal(whole, blocks.all(-1))
    assert torch.equal(mask.mask_mod(0, 0, index[:, None], index[None]), allowed)


def _named_blocks(count, indices):
    made = torch.zeros(indices.shape[-2:], dtype=torch.bool)
    for row, number in enumerate(count[0, 0].tolist()):
        made[row, indices[0, 0, row, :number].long()] = True
    return made


def test_what_the_network_does_not_compute_is_refused():
    config = SHAPE.to_config()
    assert Shape.from_config(config) == SHAPE
    for key, value in (
        ("model_type", "llama"),
        ("tie_word_embeddings", True),
        ("vocab_size", 64),
        ("num_key_value_heads", 1),
    ):
        with pytest.raises(InputError, match=key):
            Shape.from_config(config | {key: value})


# --- the optimizer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 16, 16), (3, 24, 8), (1, 8, 24)])
def test_muon_steps_along_the_nearest_orthogonal_matrix(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    made = orthogonal(matrices).float()
    assert made.shape == matrices.shape
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.4
    assert values.max() < 1.3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(made.flatten(1), (u @ v).flatten(1)).min() > 0.9


def test_the_optimizers_state_is_complete():
    networks = [livened(new_network()), livened(new_network())]
    optimizers = [Optimizer(network.named_parameters(), OptimizerSettings(momentum_steps=4)) for network in networks]

    def step(number, which):
        draws = torch.Generator().manual_seed(number)
        for parameter in networks[which].parameters():
            parameter.grad = torch.randn(parameter.shape, generator=draws)
        optimizers[which].step(0.5)

    step(0, 0)
    networks[1].load_state_dict(networks[0].state_dict())
    optimizers[1].load_state(optimizers[0].state())
    for which in (0, 1):
        step(1, which)
    for a, b in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(a, b)


# --- the schedule -------------------------------------------------------------------------------------------


def test_the_rate_warms_up_stays_and_falls_to_zero():
    settings = PretrainingSettings(warmup_steps=10, decay_share=0.5)
    assert rate_scale(0.0, 0, settings) == pytest.approx(0.1)
    assert rate_scale(0.1, 10, settings) == rate_scale(0.5, 100, settings) == 1
    assert rate_scale(0.75, 100, settings) == pytest.approx(0.5)
    assert rate_scale(1.0, 100, settings) == 0
    assert rate_scale(2.0, 100, settings) == 0
    rooted = PretrainingSettings(warmup_steps=0, decay_share=0.5, decay_shape="sqrt")
    assert rate_scale(0.625, 100, rooted) == pytest.approx(0.5)
    assert rate_scale(0.99, 100, PretrainingSettings(warmup_steps=0, decay_share=0)) == 1


# --- training -----------------------------------------------------------------------------------------------


def test_a_tiny_training_learns_and_tells_its_curve(store, folder):
    network = new_network()
    asked = Store([read_shard(folder / "asked")], {"asked": 1.0})
    made = training(network, store, decay_share=0.3, held_out_seconds=0, report_seconds=0)
    made.held_out = {"asked": (asked, make_questions(asked, 2, LONGEST))}
    lines = []
    progress = made.run(TrainingBudget(steps=128), time.monotonic(), say=lines.append)
    curve = progress.curve
    assert progress.steps == 128
    assert progress.tokens == 128 * TOKENS
    assert curve[0]["loss"] > 2.5  # ln 16 before the first step
    assert curve[-1]["loss"] < 2
    first, last = curve[0]["held_out"]["asked"], curve[-1]["held_out"]["asked"]
    assert last["loss"] < first["loss"] - 0.7
    assert len(lines) == len(curve) + 1
    assert [point["step"] for point in curve] == sorted(point["step"] for point in curve)


def test_a_training_that_is_taken_up_again_ends_where_an_uninterrupted_one_does(store, tmp_path):
    whole, first = new_network(), new_network()
    options = {"decay_share": 0, "warmup_steps": 0}
    training(whole, store, **options).run(TrainingBudget(steps=8), time.monotonic(), say=quiet)
    half = training(first, store, **options)
    progress = half.run(TrainingBudget(steps=4), time.monotonic(), say=quiet)
    save_model(
        tmp_path / "checkpoint", first, dtype=torch.float32, state={"progress": progress.to_json()},
        optimizer=half.optimizer.state(), part_mib=0.02,
    )  # fmt: skip
    assert len(list((tmp_path / "checkpoint").glob("model-*.safetensors"))) > 2
    second = load_network(tmp_path / "checkpoint")
    state = json.loads((tmp_path / "checkpoint" / "state.json").read_text())
    again = training(
        second, store, Progress.from_json(state["progress"]), load_optimizer(tmp_path / "checkpoint"), **options
    )
    assert again.run(TrainingBudget(steps=4), time.monotonic(), say=quiet).steps == 8
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert (a - b).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_named_and_not_trained_on(name, tmp_path):
    state, optimizer = {"progress": Progress().to_json()}, {"momentum": torch.ones(8)}
    save_model(tmp_path / "checkpoint", new_network(), state=state, optimizer=optimizer)
    load_network(tmp_path / "checkpoint")
    path = tmp_path / "checkpoint" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for load in (load_network, load_optimizer):
        with pytest.raises(InputError, match=f"^{path}: does not match its hash in"):
            load(tmp_path / "checkpoint")


def test_a_bfloat16_checkpoint_without_optimizer_goes_on_nearly_as_well(store, tmp_path):
    """What travels between machines: half the bytes of the weights and no state; the optimizer is warmed up again."""
    losses = {}
    for kept in (True, False):
        network = new_network()
        half = training(network, store, decay_share=0)
        progress = half.run(TrainingBudget(steps=40), time.monotonic(), say=quiet)
        if not kept:
            save_model(tmp_path / "checkpoint", network)
            network = load_network(tmp_path / "checkpoint")
        state = half.optimizer.state() if kept else None
        made = training(network, store, progress, state, decay_share=0.5, report_seconds=0)
        made.run(TrainingBudget(steps=40), time.monotonic(), say=quiet)
        losses[kept] = progress.curve[-1]["loss"]
    assert losses[False] < losses[True] + 0.2


def test_loss_is_taken_on_later_outputs_alone_unless_told_otherwise(store):
    batch = Batches(store, BatchSettings(tokens=TOKENS, longest=LONGEST))[0]
    network = livened(new_network())
    for options, kinds in (({}, {LATER_OUTPUT}), ({"loss_on_first_output": True, "loss_on_inputs": 1.0}, {1, 2, 3})):
        made = training(network, store, **options)
        losses, _ = made._answers(batch)
        expected = losses[np.isin(batch.kinds, list(kinds))].mean()
        state = {name: value.clone() for name, value in network.state_dict().items()}
        assert float(made.take_step(batch, 0.0)) == pytest.approx(float(expected), rel=1e-4)
        network.load_state_dict(state)


def test_a_budget_of_seconds_is_kept(store):
    began = time.monotonic()
    made = training(new_network(), store, decay_share=0.5, report_seconds=1e9)
    made.run(TrainingBudget(seconds=4), began, say=quiet)
    assert 1 < time.monotonic() - began < 12
    with pytest.raises(InputError, match="no budget"):
        made.run(TrainingBudget(), began, say=quiet)


def test_a_loss_that_is_not_finite_ends_the_training(store):
    network = new_network()
    with torch.no_grad():
        network.model["embed_tokens"].weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="lower the rates"):
        training(network, store).run(TrainingBudget(steps=2), time.monotonic(), say=quiet)


# --- held-out answers ---------------------------------------------------------------------------------------


def test_a_right_answer_is_what_greedy_decoding_writes(store):
    """One forward pass over the solved task says whether token-by-token decoding would be right."""
    network = new_network()
    training(network, store, decay_share=0.3).run(TrainingBudget(steps=60), time.monotonic(), say=quiet)
    questions = make_questions(store, 1, LONGEST)
    made = training(network, store)
    for asked, batch in question_batches(store, questions, TOKENS):
        _, right = made._answers(batch)
        for place in range(min(len(asked), 4)):
            start = int(batch.bounds[place])
            ids = batch.ids[start : start + asked[place].sample.tokens].tolist()
            reply = len(ids) - 1 - ids[::-1].index(12)  # the last O
            written = ids[: reply + 1]
            while len(written) < len(ids):
                attention = make_attention("samples", len(written), LONGEST, CPU)
                attention.update(torch.arange(len(written)), torch.tensor([0]))
                with torch.no_grad():
                    logits = network.logits(torch.tensor(written), torch.arange(len(written)), attention)
                written.append(int(logits[-1].argmax()))
            assert bool(right[start + reply : start + len(ids) - 1].all()) == (written == ids)


def test_adapting_leaves_the_network_as_it_was(folder, store):
    network = new_network()
    training(network, store, decay_share=0.3).run(TrainingBudget(steps=30), time.monotonic(), say=quiet)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trials = [AdaptingSettings(steps=3, tokens=TOKENS, rate=rate) for rate in (0.2, 0.5)]
    asked = read_shard(folder / "asked")
    scores = adapted_scores(network, asked, trials, OptimizerSettings(), Group.alone(CPU), "samples")
    assert len(scores) == 2
    assert all(0 <= score.solved <= 100 for score in scores)
    assert scores[0] != scores[1]
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


# --- a whole run --------------------------------------------------------------------------------------------


def test_a_run_reads_packed_shards_and_writes_a_model_that_loads(folder, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    pack(folder / "easy", tmp_path / "easy.gz")
    plan = Plan(
        shape=SHAPE,
        mixture={"easy": 1.0, "absent": 1.0},
        batches=BatchSettings(tokens=TOKENS, longest=LONGEST),
        training=PretrainingSettings(warmup_steps=2),
        budget=TrainingBudget(steps=4),
    )
    outcome = train(plan, [tmp_path / "easy.gz"], [folder / "asked"], resume=None, started=time.monotonic())
    save(outcome, tmp_path / "model", part_mib=None, keep_optimizer=False, card="a card\n")
    assert (tmp_path / "model" / "README.md").read_text() == "a card\n"
    assert outcome.report["mixture"] == {"easy": 1.0}
    assert set(outcome.report["progress"]["curve"][-1]["held_out"]) == {"asked"}
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert type(model).__name__ == "Qwen3ForCausalLM"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    text = "I10\n2\nO345\n6789\n<eos>"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer(text).input_ids[:5] == [11, 1, 0, 10, 2]
    assert model_record("new", tmp_path / "model", "embedded")["positions"] == SHAPE.positions

    more = train(plan, [folder / "easy"], [], resume=tmp_path / "model", started=time.monotonic())
    assert more.progress.steps == 8
    assert more.report["resumed"]


def test_a_probe_measures_speed(folder):
    plan = Plan(
        shape=SHAPE, mixture={"easy": 1.0}, batches=BatchSettings(tokens=TOKENS, longest=LONGEST),
        training=PretrainingSettings(), budget=TrainingBudget(steps=1),
    )  # fmt: skip
    found = probe(plan, [folder / "easy"], 2)
    kinds = ("flex", "varlen") if torch.cuda.is_available() else ("samples",)
    assert set(found) == {"batches", *kinds}
    assert found["batches"] > 0
    assert all(found[kind]["tokens_per_second"] > 0 for kind in kinds)


def test_a_batch_that_cannot_hold_its_longest_sample_is_refused(store):
    with pytest.raises(InputError, match="longest sample"):
        Batches(store, BatchSettings(tokens=1024, longest=1000))


# --- on a GPU -----------------------------------------------------------------------------------------------


@needs_gpu
@pytest.mark.parametrize("kind", ["flex", "varlen"])
def test_compiled_attention_agrees_with_attention_sample_by_sample(store, kind):
    device = torch.device("cuda")
    shape = Shape(layers=2, width=128, hidden=256, heads=2, head_size=64, positions=1024)
    batches = Batches(store, BatchSettings(tokens=2048, longest=1024))
    plain = Network(shape, dtype=torch.bfloat16).to(device)
    plain.initialize(0)
    livened(plain.cpu())
    fast = Network(shape, dtype=torch.bfloat16, compiled=True)
    fast.load_state_dict(plain.state_dict())
    results = []
    for network, name in ((plain.to(device), "samples"), (fast.to(device), kind)):
        made = Pretraining(
            network, batches, PretrainingSettings(), group=Group.alone(device),
            attention=make_attention(name, 2048, 1024, device),
        )  # fmt: skip
        losses = [float(made.take_step(batches[number], 0.0)) for number in range(3)]
        results.append((losses, made._gradients.clone()))
    assert results[0][0] == pytest.approx(results[1][0], rel=2e-2)
    assert torch.nn.functional.cosine_similarity(results[0][1], results[1][1], dim=0) > 0.98

"""Shards and batches: grids come back as they were, in any view, packed without a gap, by number."""

import json
import random

import numpy as np
import pytest

from arcfold.arc.tasks import Pair
from arcfold.arc.text import FORMATS, Codec
from arcfold.jobs.files import InputError
from arcfold.models.positions import rule_of
from arcfold.pretraining.batches import (
    END,
    FIRST_OUTPUT,
    INPUT,
    LATER_INPUT,
    LATER_OUTPUT,
    NEWLINE,
    NO_LOSS,
    OUTPUT,
    PAD,
    Batches,
    BatchSettings,
    Sample,
    Store,
    assemble,
    most_samples,
)
from arcfold.pretraining.corpora import CorpusTask, Example
from arcfold.pretraining.held_out import AnswerStats, make_questions, question_batches
from arcfold.pretraining.network import Shape
from arcfold.pretraining.shards import hash_of_shard, pack, read_shard, unpack, write_shard

IDS = {str(n): n for n in range(10)} | {"\n": NEWLINE, "I": INPUT, "O": OUTPUT, "<eos>": END}


def drawn_grid(draws, longest):
    rows, columns = draws.randint(1, longest), draws.randint(1, longest)
    return np.array([[draws.randrange(10) for _ in range(columns)] for _ in range(rows)], np.uint8)


def drawn_tasks(seed, count=4, longest=7, pairs=(2, 6)):
    draws = random.Random(seed)
    return [
        CorpusTask(
            f"task{seed}{n}",
            tuple(
                Example(drawn_grid(draws, longest), drawn_grid(draws, longest)) for _ in range(draws.randint(*pairs))
            ),
        )
        for n in range(count)
    ]


@pytest.fixture
def shards(tmp_path):
    """Two shards and the tasks in them."""
    made = []
    for name, seed, longest in (("small", 1, 4), ("large", 2, 9)):
        tasks = drawn_tasks(seed, longest=longest)
        write_shard(tmp_path / name, name, tasks, dict)
        made.append((read_shard(tmp_path / name), tasks))
    return made


def test_grids_come_back_as_they_were(shards):
    for shard, tasks in shards:
        assert shard.tasks == tuple(task.id for task in tasks)
        for number, task in enumerate(tasks):
            for place, example in enumerate(task.examples):
                pair = int(shard.first_pair[number]) + place
                assert (shard.grid(2 * pair) == example.input).all()
                assert (shard.grid(2 * pair + 1) == example.output).all()


def test_a_packed_shard_is_the_same_shard(shards, tmp_path):
    pack(tmp_path / "small", tmp_path / "small.gz")
    unpack(tmp_path / "small.gz", tmp_path / "again")
    assert hash_of_shard(tmp_path / "again") == hash_of_shard(tmp_path / "small")
    before = (tmp_path / "small.gz").read_bytes()
    pack(tmp_path / "again", tmp_path / "small.gz")
    assert (tmp_path / "small.gz").read_bytes() == before


def test_what_is_no_shard_is_refused(shards, tmp_path):
    (tmp_path / "broken.gz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no packed shard"):
        unpack(tmp_path / "broken.gz", tmp_path / "x")
    with pytest.raises(InputError, match="no such file"):
        read_shard(tmp_path / "x")
    (tmp_path / "small" / "cells.bin").write_bytes(b"12")
    with pytest.raises(InputError, match="do not belong together"):
        read_shard(tmp_path / "small")
    with pytest.raises(InputError, match="no tasks"):
        write_shard(tmp_path / "y", "y", [], dict)
    assert not (tmp_path / "y").exists()


def test_the_facts_of_a_shard_are_asked_for_when_all_is_written(tmp_path):
    seen = []

    def tasks():
        yield from drawn_tasks(3)
        seen.append("end")

    write_shard(tmp_path / "a", "a", tasks(), lambda: {"left_out": list(seen)})
    facts = json.loads((tmp_path / "a" / "shard.json").read_text())
    assert facts["left_out"] == ["end"]
    assert facts["n_tasks"] == 4


# --- batches ----------------------------------------------------------------------------------------------


def expected_tokens(examples, sample):
    """The tokens of a sample by the project's own codec, grids turned by numpy."""

    def turned(grid, number):
        for bit, move in ((1, np.fliplr), (2, np.flipud), (4, np.transpose)):
            grid = move(grid) if number & bit else grid
        return grid

    def seen(grid, own):
        grid = turned(turned(grid, own), sample.symmetry)
        grid = np.kron(grid, np.ones((sample.scale, sample.scale), np.uint8))
        return tuple(map(tuple, sample.colours[grid].tolist()))

    codec = Codec(FORMATS["embedded"], IDS)
    pairs = [Pair(seen(e.input, 0), seen(e.output, sample.output_symmetry)) for e in examples]
    return codec.demonstrations(pairs)


@pytest.mark.parametrize("symmetry", range(8))
@pytest.mark.parametrize(("own", "scale"), [(0, 1), (3, 1), (5, 1), (0, 3)])
def test_samples_are_written_as_the_codec_writes_them(shards, symmetry, own, scale):
    store = Store([shard for shard, _ in shards], {"small": 1, "large": 1})
    tasks = [task for _, made in shards for task in made]
    draws = np.random.default_rng([symmetry, own])
    samples, expected, pair = [], [], 0
    for task in tasks:
        pairs = pair + draws.permutation(len(task.examples))
        grids = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
        sample = Sample(grids, symmetry, draws.permutation(10).astype(np.uint8), own, scale)
        samples.append(sample)
        expected.append(expected_tokens([task.examples[n - pair] for n in pairs], sample))
        pair += len(task.examples)
    total = sum(len(one.ids) for one in expected)
    by_grids = rule_of(Shape(positions_by="grids").to_config())
    batch = assemble(store, samples, 3 * 8192)
    start = 0
    for one, sample in zip(expected, samples, strict=True):
        stop = start + len(one.ids)
        assert batch.ids[start:stop].tolist() == list(one.ids)
        assert batch.positions[start:stop].tolist() == list(range(stop - start))
        assert batch.by_grids[start:stop].tolist() == by_grids.of_text(one.ids).tolist()
        assert batch.targets[start : stop - 1].tolist() == list(one.ids[1:])
        kinds = batch.kinds[start : stop - 1]
        in_output = {place for output in one.outputs for place in range(output.start, output.stop)}
        assert {1 + n for n, kind in enumerate(kinds) if kind in (LATER_OUTPUT, FIRST_OUTPUT)} == in_output
        first = 1 + one.ids.index(END)
        assert set(kinds[: first - 1]) == {NO_LOSS, FIRST_OUTPUT}
        assert set(kinds[first - 1 :]) <= {LATER_INPUT, LATER_OUTPUT}
        assert kinds[first - 1] == LATER_INPUT  # the marker of the next input
        assert batch.kinds[stop - 1] == NO_LOSS
        assert len(sample.grids) >= 4
        start = stop
    assert (batch.ids[total:] == PAD).all()
    assert not batch.kinds[total - 1 :].any()
    assert batch.positions[total:].max() < 512
    assert not batch.by_grids[total:].any()
    with pytest.raises(InputError, match="for a batch"):
        assemble(store, samples, total - 1)


def test_bounds_part_a_batch_into_samples_and_padding(shards):
    store = Store([shard for shard, _ in shards], {"small": 1, "large": 1})
    batch = Batches(store, BatchSettings(tokens=4096, longest=1024, seed=3))[0]
    bounds = batch.bounds
    assert len(bounds) == 2 * most_samples(4096) + 2
    begins = bounds[bounds < 4096]
    assert (np.diff(bounds) >= 0).all()
    assert (batch.positions[begins] == 0).all()
    assert (batch.positions == 0).sum() == len(begins)
    assert (bounds[len(begins) :] == 4096).all()


def test_a_batch_depends_on_seed_rank_and_number_alone(shards):
    store = Store([shard for shard, _ in shards], {"small": 1, "large": 1})

    def ids(number, seed=0, rank=0):
        settings = BatchSettings(tokens=2048, longest=1024, seed=seed, output_symmetry=0.3, upscale=0.3)
        return Batches(store, settings, rank=rank)[number].ids.tobytes()

    assert ids(5) == ids(5)
    assert len({ids(5), ids(6), ids(5, seed=1), ids(5, rank=1)}) == 4


def test_no_sample_is_longer_than_allowed_and_batches_are_nearly_full(shards):
    store = Store([shard for shard, _ in shards], {"small": 1, "large": 1})
    batches = Batches(store, BatchSettings(tokens=8192, longest=600))
    for number in range(5):
        batch = batches[number]
        assert batch.positions.max() < 600
        assert (batch.ids == PAD).mean() < 0.1 or (batch.positions == 0).sum() >= most_samples(8192)


def test_corpora_are_drawn_by_weight(shards):
    parts = [shard for shard, _ in shards]
    draws = np.random.default_rng(0)
    only = Batches(Store(parts, {"small": 0, "large": 2}), BatchSettings(tokens=2048, longest=1024))
    first_large = 2 * int(parts[0].first_pair[-1])
    for _ in range(20):
        sample = only.draw(draws, 1024)
        assert sample is None or sample.grids.min() >= first_large
    with pytest.raises(InputError, match="no weight"):
        Store(parts, {"small": 1})
    with pytest.raises(InputError, match="weights"):
        Store(parts, {"small": 0, "large": 0})


def test_hidden_pairs_are_never_drawn(shards):
    shard = shards[1][0]
    batches = Batches(Store([shard], {"large": 1}, last_pairs_hidden=1), BatchSettings(tokens=4096, longest=2048))
    draws, last = np.random.default_rng(0), set((shard.first_pair[1:] - 1).tolist())
    seen = [batches.draw(draws, 2048) for _ in range(60)]
    used = {int(grid) // 2 for sample in seen if sample is not None for grid in sample.grids}
    assert used
    assert not used & last


# --- held-out questions -----------------------------------------------------------------------------------


def test_questions_ask_for_the_last_output_and_are_tallied_by_task(shards):
    shard = shards[0][0]
    store = Store([shard], {"small": 1})
    questions = make_questions(store, views=2, longest=4096)
    assert len(questions) == 2 * len(shard.tasks)
    stats = AnswerStats()
    for asked, batch in question_batches(store, questions, 2048):
        right = np.ones(2048, bool)
        for place, question in enumerate(asked):
            stop = int(batch.bounds[place]) + question.sample.tokens
            if question.task == 0:
                right[stop - 2] = False  # the end of the asked reply
            else:
                right[int(batch.bounds[place])] = False  # what is not asked
        stats.add(asked, batch, np.full(2048, 0.5), right)
    score = stats.score()
    assert score.loss == pytest.approx(0.5)
    assert score.accuracy == pytest.approx(100 * (len(shard.tasks) - 1) / len(shard.tasks))
    assert score.solved == pytest.approx(score.accuracy)


def test_a_question_too_long_loses_its_first_pairs(shards):
    store = Store([shards[1][0]], {"large": 1})
    whole, short = make_questions(store, 1, 8192), make_questions(store, 1, 300)
    lengths = {question.task: len(question.sample.grids) for question in whole}
    for question in short:
        assert question.sample.tokens <= 300
        assert len(question.sample.grids) <= lengths[question.task]
        assert question.sample.grids[-1] == whole[question.task].sample.grids[-1]

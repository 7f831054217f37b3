from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_tasks import grid, task, tasks

from arcfold.arc.tasks import Pair, Task
from arcfold.arc.text import codec_with_own_ids
from arcfold.arc.views import draw_views, generator, identity_view
from arcfold.jobs.files import InputError
from arcfold.training.job import Sample
from arcfold.training.samples import Demonstrations, fold_samples

CODEC = codec_with_own_ids("embedded")
TOKENS = {number: token for token, number in CODEC.ids.items()}
MADE = task("a", [("12", "3"), ("4", "56"), ("7", "8 9")], [("0", "1")])


def sample_of(made, longest, mask):
    """The sample of a task as it is."""
    return Demonstrations(made, CODEC).sample(identity_view(made), longest, mask)


def text(ids):
    return "".join(TOKENS[number] for number in ids)


def trained_text(sample):
    """The text that has a loss, what has none as dots."""
    return "".join("." if label == -100 else TOKENS[label] for label in sample.labels)


def test_the_loss_is_on_the_outputs_and_their_ends():
    sample = sample_of(MADE, 1000, mask=False)
    assert text(sample.input_ids) == "I12\nO3\n<eos>I4\nO56\n<eos>I7\nO8\n9\n<eos>"
    assert trained_text(sample) == ".....3\n<eos>....56\n<eos>....8\n9\n<eos>"


def test_the_first_output_can_be_masked_unless_it_is_the_only_one():
    sample = sample_of(MADE, 1000, mask=True)
    assert trained_text(sample) == "." * 8 + "....56\n<eos>....8\n9\n<eos>"
    alone = sample_of(MADE, 8, mask=True)
    assert trained_text(alone) == ".....3\n<eos>"


@given(made=tasks(), longest=st.integers(1, 120), mask=st.booleans())
def test_demonstrations_are_dropped_from_the_end_and_never_cut(made, longest, mask):
    lengths = [len(CODEC.question(p.input)) + len(CODEC.reply(p.output)) for p in made.train]
    fitting = [kept for kept in range(1, len(lengths) + 1) if sum(lengths[:kept]) <= longest]
    if not fitting:
        with pytest.raises(InputError, match=rf"task {made.id}: its shortest sample has {lengths[0]} tokens"):
            sample_of(made, longest, mask)
        return
    sample = sample_of(made, longest, mask)
    whole = CODEC.demonstrations(made.train).ids
    assert tuple(sample.input_ids) == whole[: sum(lengths[: max(fitting)])]
    assert all(label in (-100, token) for label, token in zip(sample.labels, sample.input_ids, strict=True))


@pytest.mark.parametrize("name", ["embedded", "architects", "nvarc"])
@given(made=tasks(), seed=st.integers(0, 3), mask=st.booleans())
def test_a_sample_is_what_the_codec_writes_of_the_task_in_that_view(name, made, seed, mask):
    # ids as of a large vocabulary, in no order, behind a token that the tokenizer puts in front
    own = codec_with_own_ids(name)
    codec = replace(own, ids={token: (7919 * number + 13) % 130_000 for token, number in own.ids.items()}, head=(99,))
    for view in draw_views(made, 3, generator(seed, made.id, "views")):
        pairs = view.apply_to_task(made).train
        written = codec.demonstrations(pairs)
        labels = [-100] * len(written.ids)
        for output in written.outputs[1 if mask and len(pairs) > 1 else 0 :]:
            labels[output] = written.ids[output]
        assert Demonstrations(made, codec).sample(view, 10**6, mask) == Sample(written.ids, labels)


@given(made=tasks(), most=st.integers(1, 5), longest=st.integers(60, 200))
def test_of_a_view_with_at_most_so_many_pairs_the_first_ones_are_shown(made, most, longest):
    written = Demonstrations(made, CODEC)
    for view in draw_views(made, 3, generator(0, made.id, "views")):
        of_view = view.apply_to_task(made)
        first = replace(of_view, train=of_view.train[:most])
        try:
            expected = Demonstrations(first, CODEC).sample(identity_view(first), longest, False)
        except InputError:  # not even one pair fits
            continue
        assert written.sample(view, longest, False, most) == expected


def test_the_views_of_a_task_with_many_pairs_show_all_of_them():
    made = task("a", [("1" * n, "2") for n in range(1, 11)], [("0", "1")])
    options = {"seed": 0, "epochs": 12, "views": 8, "longest": 1000, "mask_first_output": False}
    samples = fold_samples([made], CODEC, pairs=3, **options)
    sizes = [[len(given) * len(given[0]) for given, _ in shown(sample)] for sample in samples]
    assert {len(of_sample) for of_sample in sizes} == {3}
    assert {size for of_sample in sizes for size in of_sample} == set(range(1, 11))


@given(made=tasks(solved=False))
def test_test_pairs_are_never_trained_on(made):
    other = Task(made.id, made.train, (Pair(grid("9"), grid("9")),))
    options = {"seed": 0, "epochs": 1, "views": 8, "longest": 10**6, "mask_first_output": False}
    assert fold_samples([made], CODEC, **options) == fold_samples([other], CODEC, **options)


def shown(sample):
    """The pairs of a sample's text, as grids."""
    pairs = []
    for piece in text(sample.input_ids).split("<eos>")[:-1]:
        question, answer = piece.removeprefix("I").split("O")
        pairs.append((grid(question), grid(answer)))
    return pairs


def test_an_epoch_has_every_view_of_every_task_in_a_drawn_order():
    fold = [MADE, task("b", [("1", "2"), ("3", "4")], [("0", "1")])]
    options = {"seed": 0, "views": 8, "longest": 1000, "mask_first_output": False}
    two = fold_samples(fold, CODEC, epochs=2, **options)
    assert len(two) == 2 * 8 * 2
    assert two[:16] == fold_samples(fold, CODEC, epochs=1, **options)
    counts = [[len(shown(sample)) for sample in epoch] for epoch in (two[:16], two[16:])]
    for epoch in counts:
        assert sorted(epoch) == [2] * 8 + [3] * 8
    assert counts[0] != counts[1]
    assert {sample.input_ids.tobytes() for sample in two[:16]} != {sample.input_ids.tobytes() for sample in two[16:]}


def test_eight_views_of_a_task_show_each_symmetry_of_it_once():
    made = task("a", [("1 2", "5"), ("678 912", "0")], [("0", "1")])
    samples = fold_samples([made], CODEC, seed=4, epochs=1, views=8, longest=1000, mask_first_output=False)
    forms = []
    for sample in samples:
        large = next(given for given, _ in shown(sample) if len(given) * len(given[0]) == 6)
        assert len({cell for row in large for cell in row}) == 6  # a permutation keeps colours apart
        forms.append((len(large), len(large[0])))
    assert sorted(forms) == [(2, 3)] * 4 + [(3, 2)] * 4


def test_samples_depend_on_the_seed_alone():
    options = {"epochs": 1, "views": 8, "longest": 1000, "mask_first_output": False}
    assert fold_samples([MADE], CODEC, seed=1, **options) == fold_samples([MADE], CODEC, seed=1, **options)
    assert fold_samples([MADE], CODEC, seed=1, **options) != fold_samples([MADE], CODEC, seed=2, **options)

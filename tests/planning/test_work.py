"""What a plan counts is what training and search then see."""

from __future__ import annotations

import pytest
from made_tasks import task

from arcfold.arc.tasks import without_solutions
from arcfold.arc.text import codec_with_own_ids
from arcfold.planning.work import Lengths, PromptWork, TrainingWork, expected_reply, prompt_work, total, training_work
from arcfold.search.candidates import draw_input_views
from arcfold.training.samples import fold_samples

SAMPLES = {"views": 5, "longest": 3000, "mask_first_output": False}


@pytest.mark.parametrize("more", [{}, {"pairs": 2}], ids=["all pairs", "two pairs"])
@pytest.mark.parametrize("text_format", ["embedded", "architects", "nvarc"])
def test_steps_and_tokens_of_a_training_are_those_of_its_samples(arc, text_format, more):
    """A length at which half of the tasks lose demonstrations, and views that are no whole group of eight."""
    tasks, codec = arc["arc2_evaluation"][:24], codec_with_own_ids(text_format)
    settings = {**SAMPLES, **more, "epochs": 2, "batch": 3, "accumulation": 2}
    lengths = [len(sample.input_ids) for sample in fold_samples(tasks, codec, seed=3, epochs=2, **SAMPLES, **more)]
    assert training_work(tasks, codec, 3, settings) == TrainingWork(
        steps=40,  # 24 tasks × 5 views × 2 epochs in steps of 6
        samples=len(lengths),
        tokens=sum(lengths),
        squares=sum(length**2 for length in lengths),
        longest=max(lengths),
    )


@pytest.mark.parametrize("purpose", ["inference views", "scoring views"])
def test_prompts_are_those_that_are_searched(arc, purpose):
    tasks, codec = arc["arc2_evaluation"][:24], codec_with_own_ids("embedded")
    prompts = draw_input_views(tasks, codec, views=3, longest=2000, seed=1, purpose=purpose).prompts
    made = prompt_work(tasks, codec, 1, views=3, longest=2000, purpose=purpose)
    assert (made.prompts, made.tokens) == (len(prompts), sum(map(len, prompts)))
    assert (made.squares, made.longest) == (sum(len(p) ** 2 for p in prompts), max(map(len, prompts)))


def test_what_does_not_fit_is_no_work(arc):
    tasks, codec = arc["arc2_evaluation"][:3], codec_with_own_ids("embedded")
    assert training_work(tasks, codec, 0, {**SAMPLES, "longest": 20, "epochs": 1, "batch": 4, "accumulation": 1}) == (
        TrainingWork()
    )
    assert prompt_work(tasks, codec, 0, views=8, longest=940, purpose="inference views").prompts == 0


def test_a_sum_of_works_has_the_largest_length():
    works = [TrainingWork(2, 8, 100, 1250, 20), TrainingWork(1, 4, 30, 300, 10)]
    assert total(works, TrainingWork) == TrainingWork(3, 12, 130, 1550, 20)
    assert total([], PromptWork) == PromptWork()


@pytest.mark.parametrize(
    ("demonstrations", "asked", "size"),
    [
        ([("12 34", "55 55"), ("1", "5")], "123", (1, 3)),  # as large as the input
        ([("12 34", "55 55"), ("1", "55 55")], "123", (2, 2)),  # always the same
        ([("12", "1122"), ("1 1", "11 11")], "123", (1, 6)),  # twice as wide
    ],
)
def test_the_size_of_a_reply_is_guessed_from_the_demonstrations(demonstrations, asked, size):
    lengths = Lengths(without_solutions(task("a", demonstrations, [(asked, "1")])), codec_with_own_ids("embedded"))
    rows, columns = size
    assert expected_reply(lengths, 0) == rows * columns + rows - 1 + 2  # newlines between rows, a newline and the end


def test_replies_of_arc_are_guessed_within_a_factor_of_two_for_nine_of_ten(arc):
    codec = codec_with_own_ids("embedded")
    ratios = []
    for known in arc["arc1_evaluation"]:
        lengths = Lengths(known, codec)
        ratios += [expected_reply(lengths, test) / lengths.reply(pair.output) for test, pair in enumerate(known.test)]
    assert sum(0.5 <= ratio <= 2 for ratio in ratios) > 0.9 * len(ratios)

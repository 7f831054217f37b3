"""What cannot fit is told as the longest of all its views tells, written out token by token."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from made_tasks import task, tasks

from arcfold.arc.lengths import misfits, unsearchable, untrainable
from arcfold.arc.text import codec_with_own_ids
from arcfold.arc.views import SYMMETRIES, View

CODEC = codec_with_own_ids("embedded")
LONGEST_REPLY = 30 * 30 + 29 + 2


def in_every_symmetry(made):
    """The task in all eight, each demonstration first once."""
    n = len(made.train)
    for symmetry in SYMMETRIES:
        for first in range(n):
            order = (first, *(place for place in range(n) if place != first))
            yield View(symmetry, tuple(range(10)), order).apply_to_task(made)


@given(made=tasks(), longest=st.integers(1, 120))
def test_a_task_can_be_trained_on_if_any_demonstration_fits_in_any_symmetry(made, longest):
    needed = max(len(CODEC.demonstrations(seen.train[:1]).ids) for seen in in_every_symmetry(made))
    assert (untrainable(made, CODEC, longest) is None) == (needed <= longest)


def test_a_pair_whose_grids_are_longest_in_different_views_is_turned_as_a_whole():
    made = task("a", [("123", "12 12 12 12 12")], [("1", "1")])
    # I 3 \n O + 14 + 2 as it is; I 5 \n O + 11 + 2 turned: 22 and 21
    assert untrainable(made, CODEC, 22) is None
    assert untrainable(made, CODEC, 21) is not None


@given(made=tasks(), longest=st.integers(930, 990))
def test_an_input_can_be_searched_if_it_fits_alone_in_any_symmetry(made, longest):
    for test in range(len(made.test)):
        needed = max(len(CODEC.question(seen.test[test].input)) for seen in in_every_symmetry(made)) + LONGEST_REPLY
        assert (unsearchable(made, test, CODEC, longest) is None) == (needed <= longest)


def test_the_line_has_the_tokens_counted_by_hand():
    # I, 3 cells and 2 newlines upright, newline and O: 8, and 4 for an output of one cell with newline and end... 3
    made = task("a", [("123", "4")], [("123", "4")])
    assert untrainable(made, CODEC, 11) is None
    assert untrainable(made, CODEC, 10) == "a demonstration alone has 11 tokens, expected at most 10 (training/longest)"
    assert unsearchable(made, 0, CODEC, 8 + LONGEST_REPLY) is None
    line = "test[0] needs 939 tokens without any demonstration, expected at most 938 (search/longest)"
    assert unsearchable(made, 0, CODEC, 938) == line
    assert misfits(made, CODEC, training=10, search=938) == [untrainable(made, CODEC, 10), line]

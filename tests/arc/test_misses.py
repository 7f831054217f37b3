"""Reasons for misses, against an independent definition in sets of cells."""

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_tasks import grid, task

from arcfold.arc.misses import SIZES, Reason, Unsearched, misses, only_size_differs, reason_of
from arcfold.arc.scoring import score_task
from arcfold.jobs.files import read_schema

RIGHT = grid("123 456 789")
WRONG = [grid("1"), grid("2"), grid("99 99")]


def cells(grid_, down=0, right=0):
    """The cells of a grid that is moved, as a set of (row, column, colour)."""
    return {
        (row + down, column + right, colour)
        for row, line in enumerate(grid_)
        for column, colour in enumerate(line)
    }  # fmt: skip


def places(some):
    return {(row, column) for row, column, _ in some}


def differs_in_size_only(one, other):
    """By laying the one over the other everywhere, and looking at what they have in common."""
    if places(cells(one)) == places(cells(other)):
        return False
    most = min(len(one), len(other)) * min(len(one[0]), len(other[0]))
    for down, right in product(range(-6, 7), repeat=2):
        below, above = cells(other), cells(one, down, right)
        common = places(below) & places(above)
        if len(common) == most and len(below & above) == most and 2 * most >= max(len(below), len(above)):
            return True
    return False


@st.composite
def grids(draw):
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    # mostly of one colour, so that parts agree often
    colour = st.sampled_from([0, 0, 0, 0, 0, 0, 1])
    return tuple(tuple(draw(colour) for _ in range(width)) for _ in range(height))


@given(grids(), grids())
def test_only_the_size_differs_where_one_laid_over_the_other_agrees(one, other):
    assert only_size_differs(one, other) is differs_in_size_only(one, other)
    assert only_size_differs(other, one) is only_size_differs(one, other)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ("123 456 789", False),  # right
        ("123 456 788", False),  # of its size
        ("123 456", True),  # a row too few
        ("456 789", True),
        ("12 45 78", True),
        ("0000 0123 0456 0789", True),  # a frame at two sides
        ("12 45 78 00", True),  # too narrow and too high
        ("00000 01230 04560 07890 00000", False),  # 9 of 25 cells are no half
        ("123", False),
        ("5", False),
    ],
)
def test_only_the_size_differs_in_cases_by_hand(made, expected):
    assert only_size_differs(grid(made), RIGHT) is expected


def test_each_reason_by_hand():
    cropped = grid("123 456")
    assert reason_of(RIGHT, [WRONG[0], RIGHT], [WRONG[0], RIGHT]) is None
    assert reason_of(RIGHT, WRONG[:2], WRONG) == "not_found"
    assert reason_of(RIGHT, WRONG[:2], [*WRONG, RIGHT]) == "ranked_later"
    assert reason_of(RIGHT, [WRONG[0], cropped], [WRONG[0], cropped]) == "only_size"
    # it is a candidate too, or only the third one has its size wrong
    assert reason_of(RIGHT, [WRONG[0], cropped], [WRONG[0], cropped, RIGHT]) == "ranked_later"
    assert reason_of(RIGHT, WRONG[:2], [*WRONG[:2], cropped]) == "not_found"
    # the second attempt is the test input
    assert reason_of(RIGHT, [WRONG[0], cropped], [WRONG[0]]) == "not_found"
    assert reason_of(RIGHT, [WRONG[0], cropped], []) == "fallback"
    assert reason_of(RIGHT, [RIGHT, cropped], []) is None
    assert reason_of(RIGHT, [RIGHT, cropped], [], Unsearched(Reason.DID_NOT_FIT, "too long")) == "did_not_fit"
    assert reason_of(RIGHT, WRONG[:2], [], Unsearched(Reason.FAILED, "fold 1: …")) == "failed"


SQUARES = [1, 5, 6, 10, 11, 15, 20, 21, 30]


@given(st.lists(st.tuples(st.sampled_from(SQUARES), st.integers(0, 3)), min_size=1, max_size=12))
def test_shares_are_those_of_a_recount(outputs):
    """Square outputs of a colour; by the second number the right grid is first, third, not there, or nothing is."""
    tasks, scores = [], {}
    kinds = [None, "ranked_later", "not_found", "fallback"]
    for number, (side, kind) in enumerate(outputs):
        right = ((1,) * side,) * side
        made = task(f"t{number}", [("1", "2")], [("5", "1")])
        made = type(made)(made.id, made.train, (type(made.test[0])(made.test[0].input, right),))
        found = [[right], [grid("2"), grid("3"), right], [grid("2"), grid("3")], []][kind]
        tried = [*found, grid("4"), grid("5")][:2]
        tasks.append(made)
        scores[made.id] = score_task(made, [tried], [found])
        assert scores[made.id]["outputs"][0].get("reason") == kinds[kind]
    told = misses(tasks, scores)
    expected = Counter(kinds[kind] for _, kind in outputs)
    assert (told["n_outputs"], told["n_correct"]) == (len(outputs), expected.pop(None, 0))
    assert {name: each["n"] for name, each in told["reasons"].items() if each["n"]} == expected
    for each in told["reasons"].values():
        assert each["percent"] == pytest.approx(100 * each["n"] / len(outputs), abs=1e-3)
    # 1 to 5 squared, 6 to 10 squared, …: each side in one class
    classes = [next(limit for limit in (5, 10, 15, 20, 30) if side <= limit) for side, _ in outputs]
    assert [part["cells"][1] for part in told["by_cells"]] == sorted({limit**2 for limit in classes})
    for part in told["by_cells"]:
        inside = [
            kinds[kind] for limit, (_, kind) in zip(classes, outputs, strict=True) if limit**2 == part["cells"][1]
        ]
        assert (part["n_outputs"], part["n_correct"]) == (len(inside), inside.count(None))
        assert {name: each["n"] for name, each in part["reasons"].items()} == {
            str(reason): inside.count(reason) for reason in Reason
        }


def test_the_schema_knows_every_reason_and_the_classes_reach_the_largest_grid():
    assert read_schema("score")["$defs"]["reason"]["enum"] == [str(reason) for reason in Reason]
    assert SIZES[-1] == 30 * 30

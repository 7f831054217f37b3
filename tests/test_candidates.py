import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_tasks import as_array, as_grid, grid, grids, task, tasks

from arcfold.candidates import (
    Drafts,
    candidate_grids,
    candidates_to_json,
    groups,
    queries,
    questions,
    rescored_to_json,
    take_looks,
)
from arcfold.files import check_schema, read_json, write_json
from arcfold.predictions import read_rescored
from arcfold.search import Found, Reply
from arcfold.selection import Candidate
from arcfold.text import codec_with_own_ids

CODEC = codec_with_own_ids("embedded")
TWO = [
    task("a", [("12", "3"), ("4", "5")], [("12 34", "5"), ("6", "7")]),
    task("b", [("1", "2")], [("3 4", None)]),
]


def looks_at(made, views=8, **options):
    return take_looks(made, CODEC, **{"views": views, "longest": 10**5, "seed": 0, "purpose": "x"} | options)


def nothing(looks):
    return [Found((), math.inf) for _ in looks.looks]


def reply_in(looks, index, cells):
    """The reply that a grid is in a look, by numpy."""
    view = looks.view_of(index)
    seen = as_array(cells)
    for name, turned in TURNS.items():
        if name == view.symmetry:
            seen = turned(seen)
    return tuple(CODEC.reply(as_grid(np.array(view.colours)[seen])))


TURNS = {
    "identity": lambda a: a,
    "rotate90": lambda a: np.rot90(a, 1),
    "rotate180": lambda a: np.rot90(a, 2),
    "rotate270": lambda a: np.rot90(a, 3),
    "flip_rows": np.flipud,
    "flip_columns": np.fliplr,
    "transpose": np.transpose,
    "anti_transpose": lambda a: np.rot90(np.transpose(a), 2),
}


def test_every_test_input_is_looked_at_in_every_view_of_its_task():
    looks = looks_at(TWO, views=3)
    assert [(look.task, look.test, look.view) for look in looks.looks] == [
        *[("a", 0, view) for view in range(3)],
        *[("a", 1, view) for view in range(3)],
        *[("b", 0, view) for view in range(3)],
    ]
    assert groups(looks) == [("a", 0)] * 3 + [("a", 1)] * 3 + [("b", 0)] * 3
    assert len(queries(looks)) == len(looks.prompts) == 9
    assert all(query.longest == 931 for query in queries(looks))


@given(made=tasks(longest=4), seed=st.integers(0, 5))
def test_a_prompt_is_the_tasks_text_in_the_looks_view(made, seed):
    looks = looks_at([made], views=2, seed=seed)
    for index, look in enumerate(looks.looks):
        seen = looks.view_of(index).apply_to_task(made)
        assert looks.prompts[index] == CODEC.prompt(seen, look.test, 10**5)


@given(made=tasks(longest=4), cells=grids(5), seed=st.integers(0, 5))
def test_a_grid_comes_back_from_the_reply_that_it_is_in_any_look(made, cells, seed):
    looks = looks_at([made], seed=seed)
    for index in range(len(looks.looks)):
        assert looks.reply(index, cells) == reply_in(looks, index, cells)
        assert looks.grid(index, looks.reply(index, cells)) == cells


def test_a_found_grid_is_a_guess_for_the_other_views_of_its_test_input_only():
    looks = looks_at(TWO)
    drafts = Drafts(looks)
    cells = grid("12 30")
    guesses = dict(drafts(9, Reply(reply_in(looks, 9, cells), -1.0)))
    assert sorted(guesses) == [8, *range(10, 16)]
    assert all(tokens == reply_in(looks, index, cells) for index, tokens in guesses.items())
    again = dict(drafts(12, Reply(reply_in(looks, 12, cells), -2.0)))
    assert again == {9: reply_in(looks, 9, cells)} | {other: guesses[other] for other in guesses if other != 12}
    assert list(drafts(9, Reply((CODEC.end,), -1.0))) == []


def test_the_same_grid_found_in_several_views_is_one_candidate():
    looks = looks_at(TWO[1:])
    common, rare, sure = grid("1"), grid("22"), grid("3")
    found = nothing(looks)
    found[0] = Found((Reply(reply_in(looks, 0, sure), -0.1), Reply(reply_in(looks, 0, common), -1.25)), 0.5)
    found[3] = Found((Reply(reply_in(looks, 3, common), -1.5), Reply((1, CODEC.end), -3.0)), 0.25)
    found[7] = Found((Reply(reply_in(looks, 7, rare), -2.0),), 4.0)
    made = candidates_to_json(looks, found)
    (output,) = made["b"]["test"]
    assert output["candidates"] == [
        {"grid": common, "found": [{"view": 0, "log_prob": -1.25}, {"view": 3, "log_prob": -1.5}]},
        {"grid": sure, "found": [{"view": 0, "log_prob": -0.1}]},
        {"grid": rare, "found": [{"view": 7, "log_prob": -2.0}]},
    ]
    assert (output["dropped"], output["margin"]) == (1, 0.25)
    assert output["prompt_tokens"] == [len(prompt) for prompt in looks.prompts]
    assert made["b"]["views"] == [view.to_json() for view in looks.views["b"]]
    assert candidate_grids(made["b"]) == [[common, sure, rare]]


def test_a_margin_of_nothing_stays_the_smallest():
    looks = looks_at(TWO[1:], views=2)
    (output,) = candidates_to_json(looks, [Found((), 0.0), Found((), 1.0)])["b"]["test"]
    assert output["margin"] == 0.0


def test_a_task_without_any_candidate_keeps_its_place(tmp_path):
    looks = looks_at(TWO)
    made = candidates_to_json(looks, nothing(looks))
    assert [len(made[name]["test"]) for name in ("a", "b")] == [2, 1]
    assert candidate_grids(made["a"]) == [[], []]
    write_json(tmp_path / "c.json", {"fold": 0, "min_prob": 0.1, "tasks": made, "provenance": {}}, "candidates")
    scored = rescored_to_json(looks, made, [[] for _ in looks.looks])
    write_json(tmp_path / "r.json", {"fold": 0, "tasks": scored, "provenance": {}}, "rescored")
    assert read_rescored([str(tmp_path / "r.json")]) == {"a": [[], []], "b": [[]]}


def test_every_candidate_is_asked_and_scored_in_every_scoring_view(tmp_path):
    looks = looks_at(TWO, views=2)
    found = nothing(looks)
    found[0] = Found((Reply(reply_in(looks, 0, grid("1")), -0.5), Reply(reply_in(looks, 0, grid("23")), -1.0)), 1.0)
    found[3] = Found((Reply(reply_in(looks, 3, grid("4 5")), -0.25),), 1.0)
    write_json(
        tmp_path / "c.json",
        {"fold": 0, "min_prob": 0.1, "tasks": candidates_to_json(looks, found), "provenance": {}},
        "candidates",
    )
    read = read_json(tmp_path / "c.json", "candidates")["tasks"]
    scoring = looks_at(TWO, views=3, purpose="scoring views")
    asked = questions(scoring, read)
    assert [len(replies) for _, replies in asked] == [2] * 3 + [1] * 3 + [0] * 3
    for index, (prompt, replies) in enumerate(asked):
        assert prompt == scoring.prompts[index]
        cells = [[grid("1"), grid("23")], [grid("4 5")], []][index // 3]
        assert replies == [reply_in(scoring, index, each) for each in cells]
    values = [[-float(index), -float(index) - 0.5][: len(replies)] for index, (_, replies) in enumerate(asked)]
    made = {"fold": 0, "tasks": rescored_to_json(scoring, read, values), "provenance": {}}
    check_schema(made | {"tasks": read_back(tmp_path, made)}, "rescored", "x")
    assert read_rescored([str(tmp_path / "r.json")]) == {
        "a": [
            [
                Candidate(grid("1"), (-0.5,), (-0.0, -1.0, -2.0)),
                Candidate(grid("23"), (-1.0,), (-0.5, -1.5, -2.5)),
            ],
            [Candidate(grid("4 5"), (-0.25,), (-3.0, -4.0, -5.0))],
        ],
        "b": [[]],
    }


def read_back(folder, made):
    write_json(folder / "r.json", made, "rescored")
    return read_json(folder / "r.json")["tasks"]


def test_views_are_drawn_for_the_task_and_do_not_depend_on_the_tasks_beside_it():
    together, alone = looks_at(TWO), looks_at(TWO[1:])
    assert together.views["b"] == alone.views["b"]
    assert looks_at(TWO, seed=1).views != together.views
    assert looks_at(TWO, purpose="y").views != together.views


def test_sixteen_views_show_every_symmetry_twice():
    views = looks_at(TWO[1:], views=16).views["b"]
    counts = {name: sum(view.symmetry == name for view in views) for name in TURNS}
    assert set(counts.values()) == {2}


def test_a_prompt_that_cannot_fit_is_refused_before_anything_runs():
    from arcfold.files import InputError

    with pytest.raises(InputError, match=r"task a, test\[0\]: the prompt needs 939 tokens without any demonstration"):
        looks_at(TWO, longest=938)

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from made_tasks import as_array, as_grid, grid, grids, task, tasks

from arcfold.arc.selection import Candidate
from arcfold.arc.text import codec_with_own_ids
from arcfold.jobs.files import check_schema, read_json, write_json
from arcfold.runs.predictions import read_rescored
from arcfold.search.candidates import (
    Drafts,
    candidate_grids,
    candidates_to_json,
    draw_input_views,
    groups,
    queries,
    questions,
    rescored_to_json,
)
from arcfold.search.search import Found, Reply

CODEC = codec_with_own_ids("embedded")
TWO = [
    task("a", [("12", "3"), ("4", "5")], [("12 34", "5"), ("6", "7")]),
    task("b", [("1", "2")], [("3 4", None)]),
]


def input_views_of(made, views=8, **options):
    return draw_input_views(made, CODEC, **{"views": views, "longest": 10**5, "seed": 0, "purpose": "x"} | options)


def nothing(input_views):
    return [Found((), math.inf) for _ in input_views.items]


def reply_in(input_views, index, cells):
    """The reply that a grid is in an item's view, by numpy."""
    view = input_views.view_of(index)
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
    input_views = input_views_of(TWO, views=3)
    assert [(input_view.task, input_view.test, input_view.view) for input_view in input_views.items] == [
        *[("a", 0, view) for view in range(3)],
        *[("a", 1, view) for view in range(3)],
        *[("b", 0, view) for view in range(3)],
    ]
    assert groups(input_views) == [("a", 0)] * 3 + [("a", 1)] * 3 + [("b", 0)] * 3
    assert len(queries(input_views)) == len(input_views.prompts) == 9
    assert all(query.longest == 931 for query in queries(input_views))


@given(made=tasks(longest=4), seed=st.integers(0, 5))
def test_a_prompt_is_the_tasks_text_in_the_looks_view(made, seed):
    input_views = input_views_of([made], views=2, seed=seed)
    for index, input_view in enumerate(input_views.items):
        seen = input_views.view_of(index).apply_to_task(made)
        assert input_views.prompts[index] == CODEC.prompt(seen, input_view.test, 10**5)


@given(made=tasks(longest=4), cells=grids(5), seed=st.integers(0, 5))
def test_a_grid_comes_back_from_the_reply_that_it_is_in_any_view(made, cells, seed):
    input_views = input_views_of([made], seed=seed)
    for index in range(len(input_views.items)):
        assert input_views.reply(index, cells) == reply_in(input_views, index, cells)
        assert input_views.grid(index, input_views.reply(index, cells)) == cells


def test_a_found_grid_is_a_guess_for_the_other_views_of_its_test_input_only():
    input_views = input_views_of(TWO)
    drafts = Drafts(input_views)
    cells = grid("12 30")
    guesses = dict(drafts(9, Reply(reply_in(input_views, 9, cells), -1.0)))
    assert sorted(guesses) == [8, *range(10, 16)]
    assert all(tokens == reply_in(input_views, index, cells) for index, tokens in guesses.items())
    again = dict(drafts(12, Reply(reply_in(input_views, 12, cells), -2.0)))
    assert again == {9: reply_in(input_views, 9, cells)} | {other: guesses[other] for other in guesses if other != 12}
    assert list(drafts(9, Reply((CODEC.end,), -1.0))) == []


def test_the_same_grid_found_in_several_views_is_one_candidate():
    input_views = input_views_of(TWO[1:])
    common, rare, sure = grid("1"), grid("22"), grid("3")
    found = nothing(input_views)
    found[0] = Found((Reply(reply_in(input_views, 0, sure), -0.1), Reply(reply_in(input_views, 0, common), -1.25)), 0.5)
    found[3] = Found((Reply(reply_in(input_views, 3, common), -1.5), Reply((1, CODEC.end), -3.0)), 0.25)
    found[7] = Found((Reply(reply_in(input_views, 7, rare), -2.0),), 4.0)
    made = candidates_to_json(input_views, found)
    (output,) = made["b"]["test"]
    assert output["candidates"] == [
        {"grid": common, "found": [{"view": 0, "log_prob": -1.25}, {"view": 3, "log_prob": -1.5}]},
        {"grid": sure, "found": [{"view": 0, "log_prob": -0.1}]},
        {"grid": rare, "found": [{"view": 7, "log_prob": -2.0}]},
    ]
    assert (output["dropped"], output["margin"]) == (1, 0.25)
    assert output["prompt_tokens"] == [len(prompt) for prompt in input_views.prompts]
    assert made["b"]["views"] == [view.to_json() for view in input_views.views["b"]]
    assert candidate_grids(made["b"]) == [[common, sure, rare]]


def test_a_margin_of_nothing_stays_the_smallest():
    input_views = input_views_of(TWO[1:], views=2)
    (output,) = candidates_to_json(input_views, [Found((), 0.0), Found((), 1.0)])["b"]["test"]
    assert output["margin"] == 0.0


def test_a_task_without_any_candidate_keeps_its_place(tmp_path):
    input_views = input_views_of(TWO)
    made = candidates_to_json(input_views, nothing(input_views))
    assert [len(made[name]["test"]) for name in ("a", "b")] == [2, 1]
    assert candidate_grids(made["a"]) == [[], []]
    write_json(tmp_path / "c.json", {"fold": 0, "min_prob": 0.1, "tasks": made, "provenance": {}}, "candidates")
    scored = rescored_to_json(input_views, made, [[] for _ in input_views.items])
    write_json(tmp_path / "r.json", {"fold": 0, "tasks": scored, "provenance": {}}, "rescored")
    assert read_rescored([str(tmp_path / "r.json")], TWO) == {"a": [[], []], "b": [[]]}


def test_every_candidate_is_asked_and_scored_in_every_scoring_view(tmp_path):
    input_views = input_views_of(TWO, views=2)
    found = nothing(input_views)
    found[0] = Found(
        (Reply(reply_in(input_views, 0, grid("1")), -0.5), Reply(reply_in(input_views, 0, grid("23")), -1.0)), 1.0
    )
    found[3] = Found((Reply(reply_in(input_views, 3, grid("4 5")), -0.25),), 1.0)
    write_json(
        tmp_path / "c.json",
        {"fold": 0, "min_prob": 0.1, "tasks": candidates_to_json(input_views, found), "provenance": {}},
        "candidates",
    )
    read = read_json(tmp_path / "c.json", "candidates")["tasks"]
    scoring = input_views_of(TWO, views=3, purpose="scoring views")
    asked = questions(scoring, read)
    assert [len(replies) for _, replies in asked] == [2] * 3 + [1] * 3 + [0] * 3
    for index, (prompt, replies) in enumerate(asked):
        assert prompt == scoring.prompts[index]
        cells = [[grid("1"), grid("23")], [grid("4 5")], []][index // 3]
        assert replies == [reply_in(scoring, index, each) for each in cells]
    values = [[-float(index), -float(index) - 0.5][: len(replies)] for index, (_, replies) in enumerate(asked)]
    made = {"fold": 0, "tasks": rescored_to_json(scoring, read, values), "provenance": {}}
    check_schema(made | {"tasks": read_back(tmp_path, made)}, "rescored", "x")
    assert read_rescored([str(tmp_path / "r.json")], TWO) == {
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
    together, alone = input_views_of(TWO), input_views_of(TWO[1:])
    assert together.views["b"] == alone.views["b"]
    assert input_views_of(TWO, seed=1).views != together.views
    assert input_views_of(TWO, purpose="y").views != together.views


def test_sixteen_views_show_every_symmetry_twice():
    views = input_views_of(TWO[1:], views=16).views["b"]
    counts = {name: sum(view.symmetry == name for view in views) for name in TURNS}
    assert set(counts.values()) == {2}


def test_an_input_that_cannot_fit_is_skipped_with_the_reason_and_the_others_are_searched(tmp_path):
    # the first test input of a needs 939 tokens (a row of 2 cells more than the second's one cell)
    input_views = input_views_of(TWO, views=2, longest=938)
    reason = "test[0] needs 939 tokens without any demonstration, expected at most 938 (search/longest)"
    assert input_views.skipped == {("a", 0): reason}
    assert list(dict.fromkeys(groups(input_views))) == [("a", 1), ("b", 0)]
    found = nothing(input_views)
    found[0] = Found((Reply(reply_in(input_views, 0, grid("7")), -0.5),), 1.0)
    made = candidates_to_json(input_views, found)
    content = {"fold": 0, "min_prob": 0.1, "tasks": made, "provenance": {}}
    check_schema(content, "candidates", "made")
    first, second = made["a"]["test"]
    assert first == {"candidates": [], "dropped": 0, "prompt_tokens": [], "margin": None, "skipped": reason}
    assert [candidate["grid"] for candidate in second["candidates"]] == [grid("7")]
    scoring = input_views_of(TWO, views=3, longest=938, purpose="y")
    replies = [[-1.0] * len(replies) for _, replies in questions(scoring, made)]
    rescored = rescored_to_json(scoring, made, replies)
    write_json(tmp_path / "r.json", {"fold": 0, "tasks": rescored, "provenance": {}}, "rescored")
    assert rescored["a"]["test"][0] == {"candidates": [], "skipped": reason}
    assert rescored["a"]["test"][1]["candidates"][0]["scored"] == [-1.0] * 3
    assert rescored["b"]["test"] == [{"candidates": []}]

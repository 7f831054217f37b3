import itertools
import subprocess
import sys

import numpy as np
import pytest
from environments import environment_of_tests
from hypothesis import given
from hypothesis import strategies as st
from made_tasks import as_array, as_grid, grid, grids, task, tasks, views

from arcfold.arc.tasks import Task
from arcfold.arc.views import SYMMETRIES, View, draw_views, generator, identity_view
from arcfold.jobs.files import InputError

NUMPY = {
    "identity": lambda a: a,
    "rotate90": lambda a: np.rot90(a, 1),
    "rotate180": lambda a: np.rot90(a, 2),
    "rotate270": lambda a: np.rot90(a, 3),
    "flip_rows": np.flipud,
    "flip_columns": np.fliplr,
    "transpose": np.transpose,
    "anti_transpose": lambda a: np.rot90(np.transpose(a), 2),
}


@given(cells=grids(), view=views())
def test_a_view_is_numpys_symmetry_and_a_table_of_colours(cells, view):
    expected = np.array(view.colours)[NUMPY[view.symmetry](as_array(cells))]
    assert view.apply(cells) == as_grid(expected)


@given(cells=grids(), view=views())
def test_invert_undoes_apply_and_apply_undoes_invert(cells, view):
    assert view.invert(view.apply(cells)) == cells
    assert view.apply(view.invert(cells)) == cells


def test_the_symmetries_are_the_eight_of_the_square():
    cells = grid("01 23")
    plain = tuple(range(10))
    seen = {View(symmetry, plain, ()).apply(cells) for symmetry in SYMMETRIES}
    group = {as_grid(turn(flip(as_array(cells)))) for turn in (np.rot90, np.array) for flip in NUMPY.values()}
    assert len(SYMMETRIES) == len(seen) == len(group) == 8
    assert seen == group


@given(view=views())
def test_a_view_comes_back_from_json(view):
    assert View.from_json(view.to_json()) == view


@given(made=tasks(), data=st.data())
def test_a_task_in_a_view_has_all_pairs_in_the_views_order(made, data):
    view = data.draw(views(len(made.train)))
    seen = view.apply_to_task(made)
    for place, index in enumerate(view.order):
        assert seen.train[place].input == view.apply(made.train[index].input)
        assert seen.train[place].output == view.apply(made.train[index].output)
    assert [pair.input for pair in seen.test] == [view.apply(pair.input) for pair in made.test]
    assert [pair.output for pair in seen.test] == [view.apply(pair.output) for pair in made.test]
    assert identity_view(made).apply_to_task(made) == made


def test_an_unknown_output_stays_unknown_in_a_view():
    hidden = task("a", [("1", "2")], [("3", None)])
    assert View("rotate90", tuple(range(10)), (0,)).apply_to_task(hidden) == hidden


@given(made=tasks(), count=st.integers(0, 27), seed=st.integers(0, 99))
def test_every_group_of_eight_drawn_views_has_each_symmetry_once(made, count, seed):
    drawn = draw_views(made, count, generator(seed, made.id, "x"))
    assert len(drawn) == count
    for start in range(0, count, 8):
        group = [view.symmetry for view in drawn[start : start + 8]]
        assert len(set(group)) == len(group) == min(8, count - start)
    for view in drawn:
        assert sorted(view.colours) == list(range(10))
        assert sorted(view.order) == list(range(len(made.train)))


def test_a_thousand_drawn_colour_permutations_are_bijections_that_move_the_background():
    made = task("a", [("1", "2")] * 3, [("3", "4")])
    drawn = draw_views(made, 1000, generator(0, "a", "x"))
    assert all(len(set(view.colours)) == 10 for view in drawn)
    moved = sum(view.colours[0] != 0 for view in drawn)
    assert 850 < moved < 950  # nine of ten, within five standard deviations
    assert len({view.order for view in drawn}) == 6


def test_draws_depend_on_seed_task_and_purpose_and_nothing_else():
    draws = {
        (seed, name, purpose): generator(seed, name, purpose).random()
        for seed, name, purpose in itertools.product((0, 1, 12), ("a", "b", "2a"), ("x", "y"))
    }
    assert len(set(draws.values())) == len(draws)
    for key, value in draws.items():
        assert generator(*key).random() == value


def test_draws_are_the_same_in_every_process():
    code = "from arcfold.arc.views import generator; print(generator(3, 'task', 'purpose').random())"
    said = {
        subprocess.check_output([sys.executable, "-c", code], env=environment_of_tests(PYTHONHASHSEED=hash_seed))
        for hash_seed in ("1", "2")
    }
    assert said == {f"{generator(3, 'task', 'purpose').random()}\n".encode()}


def test_training_inference_and_scoring_views_of_a_task_differ():
    made = task("a", [("1", "2")] * 4, [("3", "4")])
    purposes = ("training views 0", "training views 1", "inference views", "scoring views")
    drawn = [tuple(draw_views(made, 8, generator(0, made.id, purpose))) for purpose in purposes]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize(
    ("symmetry", "colours", "order", "said"),
    [
        ("rotate45", range(10), (0,), "symmetry 'rotate45'"),
        ("identity", [0, 0, *range(2, 10)], (0,), "expected a permutation of the ten colours"),
        ("identity", range(9), (0,), "expected a permutation of the ten colours"),
        ("identity", range(10), (1,), "expected a permutation of 0 to 0"),
        ("identity", range(10), (0, 0), "expected a permutation of 0 to 1"),
    ],
)
def test_what_is_no_view_is_refused(symmetry, colours, order, said):
    with pytest.raises(InputError, match=said):
        View(symmetry, tuple(colours), tuple(order))


def test_a_view_of_another_number_of_demonstrations_is_refused():
    made: Task = task("a", [("1", "2")], [("3", "4")])
    with pytest.raises(InputError, match="an order of 2 for task a of 1 demonstrations"):
        View("identity", tuple(range(10)), (0, 1)).apply_to_task(made)

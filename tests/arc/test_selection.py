import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_tasks import grid, grids

from arcfold.arc.selection import METHODS, Candidate, count_and_mean, product_of_experts, ranked, sum_2024, two_attempts

#            found in views with log p      scored in the same two views
FREQUENT = Candidate(grid("1"), (-4.0, -5.0, -3.5), (-4.0, -6.0))
PROBABLE = Candidate(grid("2"), (-1.0,), (-1.0, -2.0))
MIDDLING = Candidate(grid("3"), (-2.0, -2.0), (-2.0, -3.0))


@pytest.mark.parametrize(
    ("method", "values"),
    [
        # means of the scored: -10/2, -3/2, -5/2
        (product_of_experts, (-5.0, -1.5, -2.5)),
        # log p + 3: -1 - 2 - .5 - 1 - 3;  2 + 2 + 1;  1 + 1 + 1 + 0
        (sum_2024, (-7.5, 5.0, 3.0)),
        # 3 - 5;  1 - 1.5;  2 - 2.5
        (count_and_mean, (-2.0, -0.5, -0.5)),
    ],
)
def test_a_method_gives_the_value_computed_by_hand(method, values):
    assert [method(candidate) for candidate in (FREQUENT, PROBABLE, MIDDLING)] == pytest.approx(values)


def test_the_product_of_experts_is_the_geometric_mean_of_probabilities():
    probabilities = (0.5, 0.2, 0.1)
    value = product_of_experts(Candidate(grid("1"), (), tuple(map(math.log, probabilities))))
    assert math.exp(value) == pytest.approx(math.prod(probabilities) ** (1 / 3))


@pytest.mark.parametrize(
    ("method", "order"),
    [
        ("product_of_experts", "231"),
        ("sum_2024", "231"),
        ("count_and_mean", "321"),  # a tie of -0.5: the one found in more views first
    ],
)
def test_candidates_are_ranked_best_first(method, order):
    best_first = ranked([FREQUENT, PROBABLE, MIDDLING], method)
    assert "".join(str(candidate.grid[0][0]) for candidate in best_first) == order


def test_methods_disagree_where_they_should():
    often = Candidate(grid("1"), (-1.0,) * 8, (-2.0,) * 8)
    once = Candidate(grid("2"), (-1.0,), (-1.5,) * 8)
    assert ranked([often, once], "product_of_experts") == [once, often]
    assert ranked([often, once], "count_and_mean") == [often, once]
    assert ranked([often, once], "sum_2024") == [often, once]  # 16 + 8 against 2 + 12


@given(
    made=st.lists(
        st.builds(
            Candidate,
            grids(3),
            st.lists(st.sampled_from([-1.0, -2.0]), min_size=1, max_size=3).map(tuple),
            st.tuples(*[st.sampled_from([-1.0, -2.0])] * 2),
        ),
        max_size=6,
        unique_by=lambda candidate: candidate.grid,
    ),
    method=st.sampled_from(sorted(METHODS)),
    data=st.data(),
)
def test_the_ranking_depends_on_the_set_of_candidates_and_not_on_their_order(made, method, data):
    best_first = ranked(made, method)
    assert ranked(data.draw(st.permutations(made)), method) == best_first
    values = [METHODS[method](candidate) for candidate in best_first]
    assert values == sorted(values, reverse=True)


@given(found=st.lists(grids(3), max_size=4), test_input=grids(3))
def test_attempts_are_always_two_different_grids_the_best_candidates_first(found, test_input):
    attempts = two_attempts([Candidate(cells, (-1.0,), (-1.0,)) for cells in found], test_input)
    assert len(attempts) == len(set(attempts)) == 2
    different = list(dict.fromkeys(found))
    assert list(attempts[: len(different)]) == different[:2]


@pytest.mark.parametrize(
    ("found", "test_input", "attempts"),
    [
        ([], "12", ("12", "00")),
        ([], "00", ("00", "11")),
        (["5"], "12", ("5", "12")),
        (["12"], "12", ("12", "00")),
        (["00"], "00", ("00", "11")),
        (["5", "6", "7"], "12", ("5", "6")),
    ],
)
def test_missing_attempts_are_filled_sensibly(found, test_input, attempts):
    candidates = [Candidate(grid(cells), (-1.0,), (-1.0,)) for cells in found]
    assert two_attempts(candidates, grid(test_input)) == tuple(map(grid, attempts))

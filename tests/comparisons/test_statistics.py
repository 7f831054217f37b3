"""Intervals and verdicts against simulated runs whose true difference is known, and against scipy where it has them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from simulated_runs import Array, Situation, bootstrap

from arcfold.comparisons.statistics import (
    Difference,
    difference,
    holm,
    mcnemar,
    mean,
    more_seeds,
    spread,
)

REPEATS = 1500
SITUATIONS = [
    Situation(400, 5),
    Situation(400, 3, seed_effect=0.05),
    Situation(400, 5, effect=0.3, seed_effect=0.05),
    Situation(400, 5, effect=0.3, seed_effect=0.1),
    Situation(400, 2, seed_effect=0.05),
    Situation(120, 5, level=-5.0, seed_effect=0.05),
    Situation(120, 3, level=-5.0, effect=0.5),
    Situation(60, 5, seed_effect=0.1),
    Situation(400, 1),
    Situation(120, 1, level=-5.0),
]


@cache
def drawn(situation: Situation) -> tuple[Array, Array]:
    return situation.draw(REPEATS)


def share(values: Array) -> float:
    """Percent of true values."""
    return 100 * float(np.mean(values))


def holding(found: Difference, truth: float) -> float:
    return share((found.low <= truth) & (truth <= found.high))


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_the_interval_of_a_difference_holds_the_true_one_in_95_of_100(situation: Situation) -> None:
    one, other = drawn(situation)
    assert 93 <= holding(difference(other, one), situation.difference) <= 98


@pytest.mark.parametrize("situation", [each for each in SITUATIONS if each.effect == 0], ids=str)
def test_false_alarms_are_5_of_100(situation: Situation) -> None:
    one, other = drawn(situation)
    assert 2 <= share(difference(other, one).p < 0.05) <= 7


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_the_interval_of_a_score_holds_the_true_one_in_95_of_100(situation: Situation) -> None:
    one, _ = drawn(situation)
    found = mean(one)
    assert 93 <= share((found.low <= situation.score) & (situation.score <= found.high)) <= 98


@pytest.mark.parametrize("tasks", [4, 16])
@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_few_tasks_give_few_false_alarms(tasks: int, seeds: int) -> None:
    for level in (0.0, 3.0, -3.0):
        one, other = Situation(tasks, seeds, level=level, seed_effect=0.05).draw(REPEATS)
        assert share(difference(other, one).p < 0.05) <= 5.5


def test_one_seed_knows_nothing_of_what_a_seed_does_to_all_tasks_and_five_do() -> None:
    situation = Situation(400, 1, seed_effect=0.3)
    one, other = situation.draw(REPEATS)
    found = difference(other, one)
    assert found.noise.seeds_freedom == 0
    assert holding(found, 0.0) < 80
    one, other = replace(situation, seeds=5).draw(REPEATS)
    assert holding(difference(other, one), 0.0) > 91


def test_seeds_that_do_the_same_to_both_are_paired_and_tell_more() -> None:
    one, other = Situation(400, 5, seed_effect=0.3, shared=True).draw(REPEATS)
    paired, apart = difference(other, one, paired=True), difference(other, one)
    assert 93 <= holding(paired, 0.0) <= 98
    assert holding(apart, 0.0) >= 98
    assert (paired.high - paired.low).mean() < 0.8 * (apart.high - apart.low).mean()


def test_bootstraps_miss_what_seeds_do_or_count_flips_several_times() -> None:
    """Why the interval is none of theirs."""
    flips, seeds = Situation(400, 5), Situation(400, 3, seed_effect=0.2)
    of_both = bootstrap(*flips.draw(400), seeds_too=True)
    assert share((of_both[:, 0] <= 0) & (of_both[:, 1] >= 0)) > 98
    of_tasks = bootstrap(*seeds.draw(400), seeds_too=False)
    assert share((of_tasks[:, 0] <= 0) & (of_tasks[:, 1] >= 0)) < 85


def test_with_one_seed_it_is_what_a_paired_bootstrap_over_tasks_gives() -> None:
    one, other = Situation(400, 1, effect=0.4).draw(6)
    ours = difference(other, one)
    for number in range(6):
        values = other[number, :, 0] - one[number, :, 0]
        random = np.random.default_rng(number)
        theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="BCa", rng=random).confidence_interval
        width = theirs.high - theirs.low
        assert ours.low[number] == pytest.approx(theirs.low, abs=0.05 * width)
        assert ours.high[number] == pytest.approx(theirs.high, abs=0.05 * width)
        assert ours.p[number] == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_interval_and_p_value_say_the_same() -> None:
    for situation in (Situation(400, 5, effect=0.3), Situation(16, 2, effect=1.5), Situation(6, 1, effect=4.0)):
        one, other = situation.draw(500)
        found = difference(other, one)
        assert np.array_equal(found.p < 0.05, (found.low > 0) | (found.high < 0))
        back = difference(one, other)
        assert np.allclose(back.low, -found.high)
        assert np.allclose(back.p, found.p)


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_where_no_task_differs_others_still_may(seeds: int) -> None:
    scores = np.ones((16, seeds))
    found = difference(scores, scores)
    assert found.value == 0
    assert found.p == 1
    # so many equal tasks in a row are seen in 2.5 of 100 cases where this share differs
    assert (1 - found.high) ** 16 == pytest.approx(0.025)
    assert found.low == -found.high
    assert mean(scores).low == pytest.approx(16 / (16 + stats.t.ppf(0.975, 15) ** 2))  # Wilson's, of 16 of 16
    assert mean(scores).high == 1


def test_few_tasks_that_all_fall_to_one_side_tell_nothing() -> None:
    scores = np.zeros((400, 5))
    for won in (3, 5, 7):
        better = scores.copy()
        better[:won] = 1
        found = difference(better, scores)
        assert found.won == won
        assert found.p >= 2.0 ** (1 - won)
        assert (found.low > 0) == (won > 5)


def test_one_task_says_nothing_of_others() -> None:
    found = difference(np.ones((1, 3)), np.zeros((1, 3)))
    assert (found.low, found.high, found.p) == (-1, 1, 1)
    assert (mean(np.ones((1, 3))).low, mean(np.ones((1, 3))).high) == (0, 1)
    assert found.detectable() == 1


def test_a_configuration_with_one_seed_is_taken_to_vary_as_the_other_does() -> None:
    one, other = Situation(400, 5, seed_effect=0.2).draw(REPEATS)
    found = difference(other, one[..., :1])
    assert found.noise.seeds_freedom == 4
    assert holding(found, 0.0) > 89
    assert (found.high - found.low).mean() > (difference(other, one).high - difference(other, one).low).mean()


@pytest.mark.parametrize(("tasks", "seeds", "level"), [(400, 1, 0.0), (400, 5, 0.0), (120, 5, -5.0), (120, 1, -5.0)])
def test_a_difference_of_the_detectable_size_is_seen_in_80_of_100(tasks: int, seeds: int, level: float) -> None:
    situation = Situation(tasks, seeds, level=level, seed_effect=0.03)
    one, other = situation.draw(REPEATS)
    wanted = float(difference(other, one).detectable().mean())
    low, high = 0.0, 10.0
    for _ in range(50):
        effect = (low + high) / 2
        low, high = (effect, high) if replace(situation, effect=effect).difference < wanted else (low, effect)
    one, other = replace(situation, effect=high, generator=1).draw(REPEATS)
    assert 75 <= share(difference(other, one).p < 0.05) <= 86


def test_the_seeds_that_are_said_to_tell_tell_in_80_of_100() -> None:
    situation = Situation(400, 3, effect=0.25, seed_effect=0.03)
    one, other = situation.draw(200)
    noise = [difference(other[place], one[place]) for place in range(200)]
    # as if the true difference had been seen, on the mean noise
    said = [more_seeds(replace(each, value=np.float64(situation.difference)), 3) for each in noise]
    seeds = 3 + int(np.median([each for each in said if each is not None]))
    assert 4 <= seeds <= 30
    one, other = replace(situation, seeds=seeds, generator=1).draw(REPEATS)
    assert 72 <= share(difference(other, one).p < 0.05) <= 88


def test_no_number_of_seeds_tells_what_the_tasks_do_not_and_one_seed_does_not_know() -> None:
    one, other = Situation(60, 3).draw(40)
    found = [difference(other[place], one[place]) for place in range(40)]
    tiny = [replace(each, value=np.float64(0.001)) for each in found]
    assert [more_seeds(each, 3) for each in tiny] == [None] * 40
    large = [replace(each, value=np.float64(0.3)) for each in found]
    assert {more_seeds(each, 3) for each in large} <= {1, 2, None}
    assert more_seeds(difference(one[0, :, :1], other[0, :, :1]), 1) is None


@given(won=st.integers(0, 60), lost=st.integers(0, 60))
def test_mcnemars_test_is_that_of_a_fair_coin(won: int, lost: int) -> None:
    total, few = won + lost, min(won, lost)
    tail = sum(comb(total, count) for count in range(few + 1)) / 2**total
    assert mcnemar(won, lost) == pytest.approx(min(1.0, 2 * tail))


def test_holms_correction_is_that_of_its_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_any_false_alarm_among_fifteen_comparisons_is_as_rare_as_in_one() -> None:
    pairs = [Situation(120, 5, generator=number).draw(300) for number in range(15)]
    p = [difference(other, one).p for one, other in pairs]
    alarms = [min(holm([float(of_pair[place]) for of_pair in p])) < 0.05 for place in range(300)]
    assert share(np.array(alarms)) <= 7


def test_the_spread_of_one_run_is_not_known() -> None:
    assert spread(np.array([1.0])) is None
    assert spread(np.array([1.0, 3.0])) == pytest.approx(2**0.5)


def test_weights_make_it_the_mean_over_outputs() -> None:
    scores = np.array([[1.0, 0.5], [0.0, 0.5], [1.0, 1.0]])
    found = mean(scores, np.array([1.0, 2.0, 1.0]))
    assert found.value == pytest.approx((0.75 + 2 * 0.25 + 1) / 4)
    assert found.low < found.value < found.high

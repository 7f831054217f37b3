import subprocess
import sys

import pytest
from environments import environment_of_tests
from hypothesis import given
from hypothesis import strategies as st

from arcfold.arc.datasets import prompt_lengths
from arcfold.arc.folds import SPLITS, check_partition, make_folds
from arcfold.jobs.files import InputError

LENGTHS = st.dictionaries(st.text("abc", min_size=1, max_size=5), st.integers(1, 9000), min_size=1, max_size=40)


@given(lengths=LENGTHS, data=st.data(), seed=st.integers(0, 9), split=st.sampled_from(SPLITS))
def test_folds_are_a_partition_with_sizes_that_differ_by_at_most_one(lengths, data, seed, split):
    n = data.draw(st.integers(1, len(lengths)))
    folds = make_folds(lengths, n, seed, split)
    assert len(folds) == n
    assert sorted(task for fold in folds for task in fold) == sorted(lengths)
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    check_partition(folds, list(lengths), "x")


@pytest.mark.parametrize("split", SPLITS)
def test_every_number_of_folds_works_from_one_to_all_tasks(split):
    lengths = {f"{number:08x}": number % 7 + 1 for number in range(23)}
    for n in range(1, 24):
        folds = make_folds(lengths, n, 0, split)
        assert sorted(map(len, folds)) == sorted([23 // n + 1] * (23 % n) + [23 // n] * (n - 23 % n))


@given(lengths=LENGTHS, data=st.data(), seed=st.integers(0, 9))
def test_balanced_folds_differ_by_at_most_the_longest_task(lengths, data, seed):
    n = data.draw(st.integers(1, len(lengths)))
    loads = [sum(lengths[task] for task in fold) for fold in make_folds(lengths, n, seed, "balanced")]
    assert max(loads) - min(loads) <= max(lengths.values())


def test_balanced_folds_of_arc_are_more_even_than_random_ones(arc):
    lengths = prompt_lengths(arc["arc2_evaluation"])

    def spread(split, seed):
        loads = [sum(lengths[task] for task in fold) for fold in make_folds(lengths, 8, seed, split)]
        return max(loads) - min(loads)

    assert max(spread("balanced", seed) for seed in range(5)) < min(spread("random", seed) for seed in range(5))


@pytest.mark.parametrize("split", SPLITS)
def test_the_seed_draws_another_partition_and_the_same_seed_the_same(split):
    lengths = {f"{number:08x}": number for number in range(1, 33)}
    drawn = [make_folds(lengths, 8, seed, split) for seed in range(20)]
    assert len({str(folds) for folds in drawn}) == 20
    assert drawn == [make_folds(dict(reversed(lengths.items())), 8, seed, split) for seed in range(20)]


@pytest.mark.parametrize("split", SPLITS)
def test_any_two_tasks_can_share_a_fold_and_any_two_can_be_apart(split):
    lengths = dict.fromkeys("abcdefgh", 5)  # equal lengths: nothing but the draw decides
    together = sum(any({"a", "h"} <= set(fold) for fold in make_folds(lengths, 2, seed, split)) for seed in range(200))
    assert 50 < together < 150  # 1/2 of the draws when balanced, 3/7 when random


def test_folds_are_the_same_in_every_process():
    code = (
        "from arcfold.arc.folds import make_folds; print(make_folds({c: ord(c) for c in 'abcdefghij'}, 3, 1, 'random'))"
    )
    expected = make_folds({c: ord(c) for c in "abcdefghij"}, 3, 1, "random")
    for hash_seed in ("1", "2"):
        env = environment_of_tests(PYTHONHASHSEED=hash_seed)
        assert subprocess.check_output([sys.executable, "-c", code], env=env, text=True).strip() == str(expected)


@pytest.mark.parametrize("n", [0, -1, 4])
def test_more_folds_than_tasks_or_none_at_all_are_refused(n):
    with pytest.raises(InputError, match=f"folds: {n} folds of 3 tasks, expected 1 to 3"):
        make_folds({"a": 1, "b": 2, "c": 3}, n, 0, "balanced")


@pytest.mark.parametrize(
    ("folds", "said"),
    [
        ([["a"], ["b"]], "task c is not in exactly one fold"),
        ([["a", "b"], ["c", "a"]], "task a is not in exactly one fold"),
        ([["a", "b"], ["c", "d"]], "task d is not in exactly one fold"),
    ],
)
def test_what_is_no_partition_is_refused(folds, said):
    with pytest.raises(InputError, match=said):
        check_partition(folds, ["a", "b", "c"], "folds.json")


def test_uneven_folds_are_refused():
    with pytest.raises(InputError, match="folds of 1 to 3 tasks"):
        check_partition([["a", "b", "c"], ["d"]], ["a", "b", "c", "d"], "folds.json")

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_tasks import grid, task

from arcfold.arc.misses import Reason, Unsearched
from arcfold.arc.scoring import score_task, total_score

WRONG, OTHER = grid("2"), grid("11")


def scored(*outputs):
    """One task's score; an output is (attempts, candidates), each a string of one-cell grids; 1 is right."""
    made = task("a", [("1", "2")], [("5", "1")] * len(outputs))
    grids = [[[grid(cell) for cell in part] for part in output] for output in outputs]
    return score_task(made, [attempts for attempts, _ in grids], [found for _, found in grids])


def test_either_attempt_may_be_right():
    assert scored(("12", "12"))["score"] == 1.0
    assert scored(("21", "21"))["score"] == 1.0
    assert scored(("23", "231"))["score"] == 0.0


def test_a_grid_of_another_size_is_wrong():
    made = task("a", [("1", "2")], [("5", "1")])
    assert score_task(made, [[OTHER, WRONG]], [[OTHER]])["score"] == 0.0
    assert score_task(made, [[grid("1 1"), WRONG]], [[grid("1 1")]])["outputs"][0]["rank"] is None


def test_ranks_count_from_one_and_are_none_where_no_candidate_is_right():
    result = scored(("12", "12"), ("23", "231"), ("23", "23"), ("23", ""))
    assert result["outputs"] == [
        {"correct": True, "rank": 1, "n_candidates": 2, "source": "candidates"},
        {"correct": False, "rank": 3, "n_candidates": 3, "source": "candidates", "reason": "ranked_later"},
        {"correct": False, "rank": None, "n_candidates": 2, "source": "candidates", "reason": "not_found"},
        {"correct": False, "rank": None, "n_candidates": 0, "source": "fallback", "reason": "fallback"},
    ]
    assert result["score"] == 0.25


def test_the_two_ways_of_counting_and_the_oracle_by_hand():
    tasks = {
        "all": scored(("12", "12")),  # 1 of 1
        "half": scored(("12", "12"), ("23", "231")),  # 1 of 2, both reachable
        "third": scored(("23", "23"), ("12", "12"), ("23", "23")),  # 1 of 3
        "none": scored(("23", "23")),  # 0 of 1
    }
    assert total_score(tasks) == {
        "score": pytest.approx(100 * (1 + 1 / 2 + 1 / 3 + 0) / 4, abs=1e-3),  # 45.83 over tasks
        "score_outputs": pytest.approx(100 * 3 / 7, abs=1e-3),  # 42.86 over outputs
        "oracle": 50.0,
        "n_tasks": 4,
        "n_outputs": 7,
        "n_fallback": 0,
        "complete": True,
    }


def test_a_hole_is_wrong_whatever_stands_in_for_it_and_nothing_found_is_no_hole():
    made = task("a", [("1", "2")], [("5", "1")] * 3)
    right = [grid("1"), WRONG]
    of_task = score_task(made, [right] * 3, [[grid("1")], [], []], {1: Unsearched(Reason.DID_NOT_FIT, "too long")})
    assert of_task["outputs"] == [
        {"correct": True, "rank": 1, "n_candidates": 1, "source": "candidates"},
        {
            "correct": False, "rank": None, "n_candidates": 0, "source": "fallback", "hole": "too long",
            "reason": "did_not_fit",
        },
        {"correct": True, "rank": None, "n_candidates": 0, "source": "fallback"},
    ]  # fmt: skip
    totals = total_score({"a": of_task})
    assert (totals["n_fallback"], totals["complete"], totals["oracle"]) == (2, False, 0.0)
    assert total_score({"a": score_task(made, [right] * 3, [[], [], []])})["complete"] is True


def test_attempts_from_elsewhere_have_no_ranks_and_no_oracle():
    made = task("a", [("1", "2")], [("5", "1")] * 2)
    of_task = score_task(made, [[WRONG, grid("1")], [WRONG, OTHER]])
    assert of_task == {"score": 0.5, "outputs": [{"correct": True}, {"correct": False}]}
    assert total_score({"a": of_task}) == {
        "score": 50.0, "score_outputs": 50.0, "n_tasks": 1, "n_outputs": 2, "complete": True
    }  # fmt: skip


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=9))
def test_totals_are_means_over_tasks_and_over_outputs(right):
    tasks = {
        str(number): scored(*[("12", "12") if good else ("23", "23") for good in outputs])
        for number, outputs in enumerate(right)
    }
    totals = total_score(tasks)
    assert totals["score"] == pytest.approx(100 * sum(sum(each) / len(each) for each in right) / len(right), abs=1e-3)
    flat = [good for outputs in right for good in outputs]
    assert totals["score_outputs"] == pytest.approx(100 * sum(flat) / len(flat), abs=1e-3)
    assert totals["oracle"] == pytest.approx(100 * sum(map(all, right)) / len(right), abs=1e-3)
    assert (totals["n_tasks"], totals["n_outputs"]) == (len(right), len(flat))


def test_one_right_output_for_each_of_arc2s_120_tasks_is_not_a_full_score(arc):
    made = {
        t.id: score_task(
            t,
            [[p.output, WRONG] if place == 0 else [WRONG, WRONG] for place, p in enumerate(t.test)],
            [[p.output] for p in t.test],
        )
        for t in arc["arc2_evaluation"]
    }
    totals = total_score(made)
    several = sum(1 for t in arc["arc2_evaluation"] if len(t.test) > 1)
    assert (totals["n_tasks"], totals["n_outputs"], totals["oracle"]) == (120, 167, 100.0)
    assert totals["score_outputs"] == pytest.approx(100 * 120 / 167, abs=1e-3)
    assert 100 * (120 - several) / 120 < totals["score"] < 100

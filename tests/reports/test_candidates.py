from collections import Counter

import pytest
from made_tasks import grid, task

from arcfold.reports.candidates import SHOWN, Findings

VIEW = {"symmetry": "rotate90", "colours": list(range(10)), "order": [0]}


def entry(candidates, views=2):
    """A rescored task of one test input; a candidate is (grid, views that found it, its mean log-probability)."""
    return {
        "scoring_views": [VIEW] * views,
        "test": [
            {
                "candidates": [
                    {
                        "grid": made,
                        "found": [{"view": view, "log_prob": -1.0} for view in found],
                        "scored": [value] * views,
                    }
                    for made, found, value in candidates
                ]
            }
        ],
    }


def test_the_right_candidate_is_shown_then_attempts_then_what_most_runs_found():
    made = task("t", [("1", "2")], [("3", "9")])
    found = Findings([made])
    wrong = [grid(str(number)) for number in range(9)]
    far, right = grid("00 00"), grid("9")
    # the right one is last of all in both runs, behind more candidates than are shown
    first = [(each, [0], -1.0 - place) for place, each in enumerate(wrong)] + [(far, [1], -20.0), (right, [0], -30.0)]
    second = [(wrong[4], [0, 1], -0.5), (wrong[0], [0], -0.7), (wrong[8], [0], -0.8)]
    for run, candidates in enumerate((first, second)):
        found.add(run, {"t": entry(candidates)}, {}, method="product_of_experts")
    (output,) = found.by_task["t"].outputs
    shown = output.shown(right)
    assert len(shown) == SHOWN == 10
    # attempts: 0 of both, then 4 and 1 of one, of which 4 was found by both; then 8, found by both; then by probability
    assert shown == [right, wrong[0], wrong[4], wrong[1], wrong[8], *(wrong[place] for place in (2, 3, 5, 6, 7))]
    assert far not in shown
    assert output.counts == {0: 11, 1: 3}
    ranks = {run: finding.rank for run, finding in output.findings[wrong[4]].items()}
    assert ranks == {0: 5, 1: 1}
    assert output.findings[right][0].value == -30.0


def test_what_a_view_did_not_find_is_told_from_what_it_found():
    found = Findings([task("t", [("1", "2")], [("3", "9")])])
    searched = {"t": {"views": [VIEW, {**VIEW, "symmetry": "identity"}, VIEW]}}
    found.add(0, {"t": entry([(grid("9"), [1], -1.0)])}, searched, method="sum_2024")
    known = found.by_task["t"]
    finding = known.outputs[0].findings[grid("9")][0]
    assert [value == value for value in finding.found] == [False, True, False]
    assert finding.value == pytest.approx(3 * 3 - 3)  # sum_2024: log p + 3 over one view that found it, two that scored
    # 1 is rotate90 and 0 identity
    assert known.views[0] == ("101", "11")


def test_views_of_which_the_symmetries_are_not_known_are_counted_all_the_same():
    found = Findings([task("t", [("1", "2")], [("3", "9")])])
    # a joined run: its candidates come from more views than either searched
    found.add(0, {"t": entry([(grid("9"), [4], -1.0)])}, {"t": {"views": [VIEW] * 2}}, method="product_of_experts")
    known = found.by_task["t"]
    assert len(known.outputs[0].findings[grid("9")][0].found) == 5
    assert known.views[0] == ("", "11")


def test_a_submission_from_elsewhere_has_attempts_and_no_more():
    found = Findings([task("t", [("1", "2")], [("3", "9")])])
    found.add_attempts(0, {"t": [(grid("9"), grid("8"))]})
    found.add_attempts(1, {"t": [(grid("7"), grid("7"))]})
    (output,) = found.by_task["t"].outputs
    assert {cells: {run: each.rank for run, each in of.items()} for cells, of in output.findings.items()} == {
        grid("9"): {0: 1}, grid("8"): {0: 2}, grid("7"): {1: 1}
    }  # fmt: skip
    assert output.findings[grid("9")][0].value is None
    assert output.counts == {}
    assert output.shown(grid("9"))[0] == grid("9")


def test_every_candidate_of_every_run_is_shown_or_counted(study, found):
    entries = {run: study.entries(name)[0] for run, name in enumerate(study.names)}
    for task_id, known in found.by_task.items():
        for place, output in enumerate(known.outputs):
            everywhere = Counter()
            for run, of_tasks in entries.items():
                candidates = of_tasks[task_id]["test"][place]["candidates"]
                everywhere.update(tuple(map(tuple, each["grid"])) for each in candidates)
                assert output.counts[run] == len(candidates)
            assert {cells: len(runs) for cells, runs in output.findings.items()} == everywhere

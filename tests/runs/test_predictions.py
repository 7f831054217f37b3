import re

import pytest
from made_tasks import grid, task

from arcfold.arc.misses import Reason
from arcfold.arc.selection import Candidate
from arcfold.jobs.files import InputError, check_schema, read_json, write_json
from arcfold.jobs.holes import leave_hole
from arcfold.runs.fallbacks import fallbacks, summary
from arcfold.runs.predictions import read_predictions, read_rescored, read_submission

TASK, OTHER = (task(name, [("1", "2")], [("3", "4"), ("5", "6")]) for name in "ab")
VIEW = {"symmetry": "identity", "colours": list(range(10)), "order": [0]}


def rescored(folder, fold, name, cells, found, scored):
    candidate = {
        "grid": grid(cells),
        "found": [{"view": place, "log_prob": value} for place, value in enumerate(found)],
        "scored": scored,
    }
    tasks = {name: {"scoring_views": [VIEW], "test": [{"candidates": [candidate]}, {"candidates": []}]}}
    path = folder / f"fold-{fold}.json"
    write_json(path, {"fold": fold, "tasks": tasks, "provenance": {}}, "rescored")
    return str(path)


def test_the_candidates_of_all_folds_are_read_back(tmp_path):
    paths = [rescored(tmp_path, 0, "a", "12 34", [-1.0, -2.0], [-3.0]), rescored(tmp_path, 1, "b", "5", [-4.0], [-5.0])]
    assert read_rescored(paths, [TASK, OTHER]) == {
        "a": [[Candidate(grid("12 34"), (-1.0, -2.0), (-3.0,))], []],
        "b": [[Candidate(grid("5"), (-4.0,), (-5.0,))], []],
    }


def test_what_was_not_searched_is_told_from_what_was_searched_in_vain(tmp_path):
    """Task a has a candidate and nothing found, b a skipped test input, and c's fold failed."""
    paths = [rescored(tmp_path, fold, name, "1", [-1.0], [-2.0]) for fold, name in enumerate("ab")]
    content = read_json(paths[1])
    content["tasks"]["b"]["test"][1]["skipped"] = "test[1] is too long"
    write_json(paths[1], content, "rescored")
    leave_hole(tmp_path / "fold-2.json", "train_adapter", InputError("training: the loss of step 3 is nan"))
    tasks = [task(name, [("1", "2")], [("5", "1")] * 2) for name in "abc"]
    found = read_predictions(tasks, [["a"], ["b"], ["c"]], [*paths, str(tmp_path / "fold-2.json")])
    why = "fold 2: train_adapter failed: training: the loss of step 3 is nan"
    assert found.holes == {
        "b": {1: (Reason.DID_NOT_FIT, "test[1] is too long")},
        "c": {0: (Reason.FAILED, why), 1: (Reason.FAILED, why)},
    }
    assert {name: [len(output) for output in outputs] for name, outputs in found.candidates.items()} == {
        "a": [1, 0], "b": [1, 0], "c": [0, 0]
    }  # fmt: skip
    report = fallbacks(found)
    check_schema(report, "fallbacks", "x")
    assert (report["n_outputs"], report["n_fallback"], report["complete"]) == (6, 4, False)
    assert report["tasks"]["a"] == {"1": None}
    lines = summary("r", report)
    assert lines[0].startswith("warning: run r: fold 2 is left out, since train_adapter failed: training: the loss")
    assert lines[1].startswith("warning: run r: 3 of 6 test inputs were not searched")
    assert read_rescored([*paths, str(tmp_path / "fold-2.json")], tasks).keys() == {"a", "b"}


def test_a_rescored_file_that_does_not_fit_its_tasks_is_named(tmp_path):
    path = rescored(tmp_path, 0, "a", "1", [-1.0], [-2.0])
    one = task("a", [("1", "2")], [("5", "1")])
    with pytest.raises(InputError, match=r"fold-0\.json: task a: 2 test outputs, expected 1"):
        read_predictions([one], [["a"]], [path])
    other = task("b", [("1", "2")], [("5", "1")])
    two = task("a", [("1", "2")], [("5", "1")] * 2)
    with pytest.raises(InputError, match=r"fold-0\.json: no task b, expected all of fold 0"):
        read_predictions([two, other], [["b", "a"]], [path])
    with pytest.raises(InputError, match=r"fold-0\.json: task a: no such task in the run's tasks"):
        read_predictions([other], [["b"]], [path])


ATTEMPTS = {
    "a": [{"attempt_1": grid("1"), "attempt_2": grid("2 3")}, {"attempt_1": grid("4"), "attempt_2": grid("5")}],
    "b": [{"attempt_1": grid("6"), "attempt_2": grid("7")}],
}
TASKS = [task("b", [("1", "2")], [("5", "1")]), task("a", [("1", "2")], [("5", "1"), ("6", "1")])]


def test_a_submission_is_read_back_as_two_grids_for_each_test_input(tmp_path):
    path = tmp_path / "submission.json"
    write_json(path, ATTEMPTS, "submission")
    found = read_submission(path, TASKS)
    assert found == {"b": [(grid("6"), grid("7"))], "a": [(grid("1"), grid("2 3")), (grid("4"), grid("5"))]}
    assert list(found) == ["b", "a"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"a": None}, "a: missing, expected every task of the dataset"),
        ({"a": None, "b": None, "x": ATTEMPTS["b"]}, "x: unknown, expected the 2 tasks of the dataset"),
        ({f"x{n}": ATTEMPTS["b"] for n in range(8)}, "x0, x1, x2, x3, x4 and 3 more: unknown"),
        ({"a": ATTEMPTS["b"]}, "a: attempts for 1 outputs, expected 2, one for each test input"),
        ({"b": [{"attempt_1": [[1]]}]}, "b/0: 'attempt_2' is a required property"),
        ({"b": []}, "b: "),
        ({"b": [{"attempt_1": [[1], [1, 2]], "attempt_2": [[1]]}]}, "b/0/attempt_1: row 1 has 2 cells"),
    ],
)
def test_a_submission_that_does_not_answer_the_tasks_is_named(tmp_path, change, line):
    path = tmp_path / "submission.json"
    write_json(path, {name: value for name, value in {**ATTEMPTS, **change}.items() if value is not None})
    with pytest.raises(InputError, match=r"submission\.json: " + re.escape(line)):
        read_submission(path, TASKS)

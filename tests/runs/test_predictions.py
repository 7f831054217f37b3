import pytest
from made_tasks import grid, task

from arcfold.arc.selection import Candidate
from arcfold.jobs.files import InputError, write_json
from arcfold.runs.predictions import read_rescored, read_submission

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


def test_a_submission_is_read_back_as_two_grids_for_each_test_input(tmp_path):
    path = tmp_path / "submission.json"
    attempts = {
        "a": [{"attempt_1": grid("1"), "attempt_2": grid("2 3")}, {"attempt_1": grid("4"), "attempt_2": grid("5")}]
    }
    write_json(path, attempts, "submission")
    assert read_submission(str(path), [TASK]) == {"a": [(grid("1"), grid("2 3")), (grid("4"), grid("5"))]}


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "submission.json"
    path.write_text('{"a": [{"attempt_1": [[1]]}]}')
    with pytest.raises(InputError, match=r"submission\.json: a/0: 'attempt_2' is a required property"):
        read_submission(str(path), [TASK])

"""What stands in the place of a result that could not be made is told from a result, and goes without a trace."""

from __future__ import annotations

import pytest

from arcfold.jobs.files import InputError, check_schema, read_json, write_json
from arcfold.jobs.holes import Hole, leave_hole, read_hole, refuse_holes, remove_hole

FAILED = {"rule": "train_adapter", "reason": "training: the loss of step 3 is nan"}


@pytest.fixture
def paths(tmp_path):
    """A hole in the place of a file, and one in that of a folder."""
    made = [tmp_path / "found" / "fold-1.json", tmp_path / "adapters" / "fold-1"]
    for path in made:
        leave_hole(path, FAILED["rule"], InputError(FAILED["reason"]))
    return made


def test_a_hole_says_which_rule_failed_and_why(paths):
    assert [read_hole(path) for path in paths] == [FAILED, FAILED]


def test_what_is_no_hole_is_none_and_stays(tmp_path):
    results = [tmp_path / "result.json", tmp_path / "folder", tmp_path / "broken.json", tmp_path / "nothing"]
    write_json(results[0], {"tasks": {}, "failed": {"rule": "x", "reason": "y"}})
    results[1].mkdir()
    (results[1] / "weights").touch()
    results[2].write_text('{\n  "failed": {"rule"')
    for path in results:
        assert read_hole(path) is None
        remove_hole(path)
    assert all(path.exists() for path in results[:3])
    refuse_holes(*results)


def test_a_hole_is_refused_by_the_step_behind_and_by_every_schema_of_a_result(paths):
    for path in paths:
        with pytest.raises(Hole, match=r"fold-1.*: not there, since train_adapter failed: training: the loss of step"):
            refuse_holes(path)
    for schema in ("candidates", "rescored", "folds", "tasks"):
        with pytest.raises(InputError):
            check_schema(read_json(paths[0]), schema, "x")


def test_the_first_reason_is_handed_on(paths, tmp_path):
    with pytest.raises(Hole) as caught:
        refuse_holes(*paths)
    leave_hole(tmp_path / "next.json", "search_candidates", caught.value)
    assert read_hole(tmp_path / "next.json") == FAILED


def test_removing_leaves_nothing(paths):
    for path in paths:
        remove_hole(path)
        assert list(path.parent.iterdir()) == []

"""Solved tasks that a run cannot train on or search are refused while the config is read, all at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_tasks import square, task

from arcfold.arc.tasks import Pair, tasks_to_json
from arcfold.jobs.files import InputError, write_json
from arcfold.runs.fitting import check_fit, tasks_that_do_not_fit
from arcfold.runs.runs import resolve_run

SMALL = task("small", [("1", "2")], [("3", "4")])
BIG = replace(SMALL, id="big", test=(Pair(square(30), square(1)),))
HUGE = replace(BIG, id="huge", train=(Pair(square(30), square(30)),))


@pytest.fixture
def fitting(config, tmp_path):
    """What does not fit of some tasks, with a cache."""

    def check(tasks, training=8192, search=1200, **keys):
        path = tmp_path / "tasks.json"
        write_json(path, tasks_to_json(tasks))
        config["datasets"]["mine"] = {"tasks": str(path)}
        config["settings"]["training"]["longest"] = training
        config["settings"]["search"]["longest"] = search
        config.update(keys)
        run = resolve_run(config, "mine_1folds", lambda _: len(tasks))
        check_fit(config, run, "resources/base-15m", cache=tmp_path / "cache")
        return tasks_that_do_not_fit(config, run, "resources/base-15m", cache=tmp_path / "cache")

    return check


def test_all_are_named_with_the_reason_of_the_first(fitting):
    with pytest.raises(InputError, match=r"^run mine_1folds: 2 of its tasks cannot fit: big, huge .task big: test"):
        fitting([SMALL, BIG, HUGE])


def test_a_training_can_be_too_short_as_well(fitting):
    with pytest.raises(InputError, match=r"1 of its tasks cannot fit: huge .task huge: a demonstration alone has 18"):
        fitting([SMALL, BIG, HUGE], training=1200, search=8192)


def test_what_fits_passes_and_what_changes_is_looked_at_again(fitting):
    assert fitting([SMALL]) == {}
    assert fitting([SMALL, BIG, HUGE], search=8192) == {}
    with pytest.raises(InputError, match="big"):
        fitting([SMALL, BIG, HUGE])
    with pytest.raises(InputError, match="big"):  # out of the cache
        fitting([SMALL, BIG, HUGE])
    assert fitting([SMALL, HUGE], training=8192, search=8192) == {}


def test_a_dataset_without_solutions_and_a_run_that_keeps_going_are_not_refused(fitting):
    hidden = replace(BIG, test=(Pair(square(30)),))
    assert fitting([SMALL, hidden]) == {}
    assert fitting([SMALL, BIG], keep_going=True).keys() == {"big"}

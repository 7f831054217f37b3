"""What a deadline means, and which settings give way in which order; moments and rungs worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from arcfold.jobs.files import InputError
from arcfold.planning.deadline import began, moment_of
from arcfold.planning.rungs import cuts, rungs_of

HERE = timezone(timedelta(hours=2))
BEGAN = datetime(2026, 11, 27, 17, 0, tzinfo=HERE)


@pytest.mark.parametrize(
    ("deadline", "moment"),
    [
        (720, datetime(2026, 11, 28, 5, 0, tzinfo=HERE)),
        (0.5, datetime(2026, 11, 27, 17, 0, 30, tzinfo=HERE)),
        ("17:30", datetime(2026, 11, 27, 17, 30, tzinfo=HERE)),
        ("17:00", datetime(2026, 11, 28, 17, 0, tzinfo=HERE)),
        ("3:05", datetime(2026, 11, 28, 3, 5, tzinfo=HERE)),
        ("2026-11-28T03:00", datetime(2026, 11, 28, 3, 0, tzinfo=HERE)),
        ("2026-11-28T03:00+00:00", datetime(2026, 11, 28, 5, 0, tzinfo=HERE)),
    ],
)
def test_a_deadline_is_minutes_a_time_or_a_moment(deadline, moment):
    assert moment_of(deadline, BEGAN) == moment


@pytest.mark.parametrize(
    ("deadline", "said"),
    [
        ("soon", "'soon', expected minutes, a time of the day"),
        ("25:00", "expected minutes, a time of the day"),
        ("2026-11-27T16:59", "is over, expected a moment that lies ahead"),
        ("2028-01-01", "more than a year ahead"),
    ],
)
def test_other_deadlines_are_refused(deadline, said):
    with pytest.raises(InputError, match=said):
        moment_of(deadline, BEGAN)


def test_a_command_began_before_it_asks():
    assert timedelta(0) < datetime.now(UTC) - began() < timedelta(days=1)


def test_each_rung_is_cheaper_and_says_what_it_cuts():
    run = {
        "training": {"rank": 8, "epochs": 6, "views": 8},
        "search": {"views": 8, "min_prob": 0.2},
        "rescoring": {"views": 8},
    }
    gives_way = [
        {"rescoring": {"views": 0.5}},
        {"search": {"min_prob": 1.5}},
        {"training": {"epochs": 0.25}, "search": {"views": 0.01, "min_prob": 4}},
        {"training": {"epochs": 0.25}},
        {"rescoring": {"views": 0}},
    ]
    rungs = rungs_of(run, gives_way)
    assert [cuts(run, rung) for rung in rungs] == [
        {},
        {"rescoring": {"views": 4}},
        {"rescoring": {"views": 4}, "search": {"min_prob": 0.3}},
        {"rescoring": {"views": 4}, "search": {"min_prob": 0.5, "views": 1}, "training": {"epochs": 2}},
        {"rescoring": {"views": 0}, "search": {"min_prob": 0.5, "views": 1}, "training": {"epochs": 2}},
    ]
    assert all(rung["training"]["rank"] == 8 for rung in rungs)


def test_a_run_that_is_below_a_rung_already_stays_as_it_is():
    run = {"training": {"epochs": 1}, "search": {"min_prob": 0.6}, "rescoring": {"views": 1}}
    rungs = rungs_of(run, [{"training": {"epochs": 0.1}}, {"search": {"min_prob": 2}}])
    assert rungs == [run, {**run, "rescoring": {"views": 0}}]

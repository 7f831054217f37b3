import pytest
from made_reports import made_study

from arcfold.arc.misses import Reason
from arcfold.reports.summary import CORRECT, OUTCOMES, UNKNOWN, laps, outcome_of, summarize


@pytest.fixture(scope="module")
def summary(study):
    return summarize(study.comparison, study.scores, study.tasks)


def test_every_reason_has_a_name_and_a_meaning():
    assert set(OUTCOMES) == {CORRECT, UNKNOWN, *Reason}
    assert len({name for name, _ in OUTCOMES.values()}) == len(OUTCOMES)
    # the scripts read the place of an outcome as one digit or letter, and the first as the right one
    assert next(iter(OUTCOMES)) == CORRECT
    assert len(OUTCOMES) <= 36


def test_what_became_of_each_output_stands_in_the_summary(study, summary):
    keys = [outcome["key"] for outcome in summary["outcomes"]]
    runs = [run for configuration in summary["configurations"] for run in configuration["runs"]]
    assert [run["run"] for run in runs] == study.names
    for run in runs:
        score = study.scores[run["run"]]
        for task, letters in zip(study.tasks, run["outcomes"], strict=True):
            told = [keys[int(letter, 36)] for letter in letters]
            for key, output in zip(told, score["tasks"][task.id]["outputs"], strict=True):
                assert key == ("correct" if output["correct"] else output["reason"])
        right = sum(letters.count("0") for letters in run["outcomes"])
        assert 100 * right / summary["n_outputs"] == pytest.approx(run["score_outputs"], abs=1e-3)


def test_only_settings_that_differ_are_columns(study, summary):
    assert summary["columns"] == ["folds"]
    more = made_study(study.tasks[:2], 8, 1)
    columns = summarize(more.comparison, more.scores, more.tasks)["columns"]
    assert columns == ["folds", "training.rank", "training.epochs"]


def test_a_wrong_output_of_a_score_that_does_not_say_why_is_wrong():
    assert outcome_of({"correct": False}) == UNKNOWN
    assert outcome_of({"correct": True}) == CORRECT


def test_settings_are_flat_and_seconds_are_added_over_folds(summary):
    flat = summary["configurations"][0]["all_settings"]
    assert flat["training.rank"] == 32
    assert (flat["folds"], flat["dataset"], flat["model"]) == (8, "made_tasks", "base-15m")
    folds = [{"load": 1.0, "work": 2.5, "total": 4.0}, {"load": 0.5, "total": 1.0}]
    assert laps({"train_adapter": folds}) == {"train_adapter": {"load": 1.5, "work": 2.5}}

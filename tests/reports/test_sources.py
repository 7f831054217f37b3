"""Pages from files: those that are there, those of other machines, damaged ones."""

from __future__ import annotations

import json
import re

import pytest
from made_reports import made_study, made_tasks
from made_tasks import task as made_task

from arcfold.arc.tasks import tasks_to_json
from arcfold.jobs import checksums
from arcfold.jobs.files import InputError, write_json
from arcfold.jobs.holes import leave_hole
from arcfold.reports.sources import find, read_scores, write_page

TASKS = "results/tasks/made.json"


@pytest.fixture(scope="module")
def study():
    return made_study(made_tasks(4, longest=6), 2, 2)


@pytest.fixture
def files(study, tmp_path, monkeypatch):
    """The files of the study, as a run leaves them, in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_json(TASKS, tasks_to_json(study.tasks))
    for run, score in study.scores.items():
        write_json(f"results/score_{run}.json", score, "score")
        rescored, _ = study.entries(run)
        write_json(f"{score['steps']['rescored']}/fold-0.json", {"fold": 0, "tasks": rescored, "provenance": {}})
    checksums.record([f"results/score_{run}.json" for run in study.names])
    return tmp_path


def test_a_page_is_made_of_scores_and_of_what_was_found(study, files):
    scores = read_scores(study.comparison)
    assert list(scores) == study.names
    found = find(scores, study.tasks, TASKS)
    for task in study.tasks:
        for place, output in enumerate(found.by_task[task.id].outputs):
            for number, run in enumerate(study.names):
                candidates = study.entries(run)[0][task.id]["test"][place]["candidates"]
                assert {tuple(map(tuple, each["grid"])) for each in candidates} == {
                    grid for grid, runs in output.findings.items() if number in runs
                }
    write_page("results/page.html", study.comparison, study.tasks, TASKS, title="A study")
    text = (files / "results" / "page.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<script type="application/gzip"', text)) == len(study.tasks)


def test_runs_whose_files_are_elsewhere_or_failed_have_outcomes_and_no_candidates(study, files):
    there, failed, *missing = study.names
    for run in missing:
        (files / study.scores[run]["steps"]["rescored"] / "fold-0.json").unlink()
    leave_hole(f"{study.scores[failed]['steps']['rescored']}/fold-0.json", "search_candidates", ValueError("x"))
    found = find(read_scores(study.comparison), study.tasks, TASKS)
    runs = {run for known in found.by_task.values() for output in known.outputs for run in output.counts}
    assert runs == {study.names.index(there)}


def test_a_damaged_score_and_one_of_other_tasks_are_named(study, files):
    path = files / f"results/score_{study.names[1]}.json"
    whole = path.read_text()
    path.write_text(whole.replace("0", "1"))
    with pytest.raises(InputError, match=rf"score_{study.names[1]}\.json: does not match its hash"):
        read_scores(study.comparison)
    content = json.loads(whole)
    content["data"]["sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    checksums.record([f"results/score_{study.names[1]}.json"])
    with pytest.raises(InputError, match=r"scored on made_tasks \(000000000000\), the comparison on made_tasks \(5064"):
        read_scores(study.comparison)


def test_candidates_that_do_not_fit_the_tasks_are_named(study, files):
    scores = read_scores(study.comparison)
    others = [made_task(task.id, [("1", "2")], [("1", "2")] * 3) for task in study.tasks]
    with pytest.raises(InputError, match=r"fold-0\.json: task .*: \d test outputs, expected 3"):
        find(scores, others, TASKS)


def test_a_score_that_is_gone_is_named(study, files):
    path = f"results/score_{study.names[2]}.json"
    (files / path).unlink()
    with pytest.raises(InputError, match=rf"^{path}: no such file, expected the score that was compared; ask for it"):
        read_scores(study.comparison)


def test_a_submission_from_elsewhere_has_its_attempts(study, files):
    theirs = {key: study.scores[study.names[0]][key] for key in ("data", "scorer", "code")}
    score = {
        **theirs, "score": 0.0, "score_outputs": 0.0, "n_tasks": 4, "n_outputs": 4, "complete": True,
        "submission": "0" * 64,
        "tasks": {task.id: {"score": 0.0, "outputs": [{"correct": False}] * len(task.test)} for task in study.tasks},
        "provenance": {"run": {"name": "theirs", "dataset": "made_tasks", "submission": "x.json"}},
    }  # fmt: skip
    attempts = {task.id: [{"attempt_1": [[1]], "attempt_2": [[2]]} for _ in task.test] for task in study.tasks}
    assert find({"theirs": score}, study.tasks, TASKS).by_task[study.tasks[0].id].outputs[0].findings == {}
    write_json("results/runs/theirs/submission.json", attempts, "submission")
    found = find({"theirs": score}, study.tasks, TASKS)
    assert set(found.by_task[study.tasks[0].id].outputs[0].findings) == {((1,),), ((2,),)}

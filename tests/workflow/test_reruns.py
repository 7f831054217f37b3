"""What is made again when something changes, and what is not."""

from __future__ import annotations

import os
import re

import pytest
from tiny_workflow import TASKS

TRAINING = {"train_adapter": 2}
SEARCH = {"search_candidates": 2}
RESCORING = {"rescore_candidates": 2}
SELECTION = {"select_attempts": 1, "score_run": 1}
SCORE = SELECTION | {"link_run": 1}
NOTHING = "Nothing to be done"
SCORE_FILE = "results/score_tiny.json"


def test_a_second_call_finds_nothing_to_do(copy):
    before = copy.results()
    call = copy(*copy.TARGETS)
    assert call.status == 0
    assert NOTHING in call.said
    assert copy.results() == before


@pytest.mark.parametrize(
    ("settings", "jobs"),
    [
        ({"training": {"rank": 3}}, TRAINING | SEARCH | RESCORING | SCORE),
        ({"search": {"min_prob": 0.03}}, SEARCH | RESCORING | SCORE),
        ({"rescoring": {"views": 3}}, RESCORING | SCORE),
        ({"selection": {"method": "sum_2024"}}, SELECTION),
    ],
    ids=lambda value: next(iter(value)),
)
def test_a_changed_setting_makes_its_step_again_and_what_follows(copy, settings, jobs):
    assert copy("--dry-run", SCORE_FILE, settings=settings).jobs == jobs


def test_remarks_change_nothing_and_code_changes_what_runs_it(copy):
    scripts = copy.path("workflow_scripts")
    for path in [*scripts.glob("*.py"), *scripts.glob("arcfold/**/*.py")]:
        path.write_text(path.read_text() + "\n# a remark\n")
    assert NOTHING in copy("--dry-run", SCORE_FILE).said
    selection = scripts / "arcfold" / "arc" / "selection.py"
    selection.write_text(selection.read_text() + "\nADDED = 1\n")
    assert copy("--dry-run", SCORE_FILE).jobs == SELECTION


def test_a_task_that_changes_makes_everything_again(copy):
    tasks = copy.read("mine.json")
    tasks["first"]["train"][0]["output"] = [[9]]
    copy.write("mine.json", tasks)
    jobs = copy("--dry-run", SCORE_FILE).jobs
    assert jobs.items() >= (TRAINING | SEARCH | RESCORING | SCORE | {"collect_tasks": 1, "make_folds": 1}).items()


def test_runs_that_differ_in_min_prob_share_their_adapters(copy):
    call = copy("--dry-run", "results/score_lower.json")
    assert call.jobs == SEARCH | RESCORING | SCORE
    before = copy.results()
    adapter = "results/runs/{}/adapters/fold-0"
    assert copy(adapter.format("lower")).status == 0
    assert copy.path(adapter.format("lower")).resolve() == copy.path(adapter.format("tiny")).resolve()
    assert before.items() <= copy.results().items()


def test_a_link_follows_the_config_there_and_back(copy):
    folds = "results/runs/tiny/folds.json"
    before = os.readlink(copy.path(folds))
    assert copy(folds, settings={"folds": {"split": "random"}}).jobs == {"make_folds": 1, "link_folds": 1}
    assert os.readlink(copy.path(folds)) != before
    assert copy(folds).jobs == {"link_folds": 1}
    assert os.readlink(copy.path(folds)) == before


def test_a_run_is_named_by_dataset_folds_and_seed(copy):
    call = copy(
        "--dry-run",
        "results/score_2folds.json",  # the two tasks one by one: all but the links is there
        "results/score_mine_tiny.json",
        "results/score_tiny-seed3.json",
        "results/score_solved_1folds.json",
        "results/score_0d3d703e_per_task.json",
        "results/runs/others_per_task-seed3/submission.json",
    )
    assert call.status == 0
    steps = re.findall(r"^Job \d+: (training on|searching|rescoring) fold (\d+) of (\w+, .*)$", call.said, re.M)
    made = {
        ("mine, 2folds-seed3", "0"),
        ("mine, 2folds-seed3", "1"),
        ("solved, 1folds-seed0", "0"),
        ("0d3d703e, 1folds-seed0", "0"),
        ("others, 1folds-seed3", "0"),
    }
    for step in ("training on", "searching", "rescoring"):
        assert {(place, fold) for name, fold, place in steps if name == step} == made
    assert call.jobs["train_adapter"] == call.jobs["search_candidates"] == call.jobs["rescore_candidates"] == 5
    assert (call.jobs["score_run"], call.jobs["select_attempts"]) == (5, 6)


def test_snakemakes_report_shows_the_pages_with_their_captions(copy):
    call = copy("--report", "report.html")
    assert call.status == 0, call.said
    text = copy.path("report.html").read_text(encoding="utf-8")
    assert "The page of run tiny: score with its interval" in text
    assert '"mime_type": "text/html"' in text
    assert '"results/score_tiny.json": {' not in text


def test_a_folder_of_tasks_is_a_dataset_and_a_change_in_it_is_seen(fresh):
    fresh.path("tasks").mkdir()
    for name, task in TASKS.items():
        fresh.write(f"tasks/{name}.json", {"name": name, **task})
    datasets = {"parts": {"tasks": "tasks"}}
    call = fresh("results/tasks/parts.json", datasets=datasets)
    assert call.status == 0, call.said
    assert fresh.read("results/tasks/parts.json") == TASKS
    fresh.write("tasks/second.json", {**TASKS["second"], "test": TASKS["first"]["test"]})
    fresh.path("tasks/first.json").rename(fresh.path("tasks/third.json"))
    call = fresh("results/tasks/parts.json", datasets=datasets)
    assert call.jobs == {"collect_tasks": 1}
    assert list(fresh.read("results/tasks/parts.json")) == ["second", "third"]

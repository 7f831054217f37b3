"""A result is what its name says, whatever Snakemake remembers, and content decides, not time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_workflow import TASKS, Workflow, without_outputs

SCORE = "results/score_tiny.json"
NOTHING = "Nothing to be done"
LOWER = {"search": {"min_prob": 0.02}}


def forget(workflow: Workflow) -> None:
    """What people do to cure a lock."""
    shutil.rmtree(workflow.path(".snakemake"))


def scored(workflow: Workflow) -> dict:
    return workflow.read(SCORE)["provenance"]["run"]


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({"settings": LOWER}, {"search_candidates": 2, "rescore_candidates": 2, "link_run": 1}),
        ({"seed": 5}, {"make_folds": 1, "train_adapter": 2, "search_candidates": 2, "rescore_candidates": 2}),
        ({"dataset": "one"}, {"make_folds": 1, "train_adapter": 1, "search_candidates": 1}),
        ({"settings": {"selection": {"method": "sum_2024"}}}, {"select_attempts": 1, "score_run": 1}),
    ],
    ids=lambda value: next(iter(value)),
)
@pytest.mark.parametrize("how", ["mtime", "forgotten"])
def test_another_config_makes_again_what_it_changes(copy: Workflow, how: str, change: dict, jobs: dict) -> None:
    triggers = ["--rerun-triggers", "mtime"] if how == "mtime" else []
    if how == "forgotten":
        forget(copy)
    planned = copy("--dry-run", SCORE, *triggers, **change).jobs
    assert planned.items() >= (jobs | {"select_attempts": 1, "score_run": 1}).items()


def test_settings_a_and_b_and_a_again_with_all_files_there(copy: Workflow) -> None:
    first = copy.read("results/runs/tiny/submission.json"), scored(copy)
    forget(copy)
    assert copy(SCORE, "--rerun-triggers", "mtime", settings=LOWER).status == 0
    second = scored(copy)
    assert second["settings"]["search"]["min_prob"] == 0.02
    assert copy.read(SCORE)["steps"]["candidates"] in {
        entry["store"].rpartition("/")[0] for entry in copy.read("results/runs/tiny/files.json")["files"].values()
    }
    forget(copy)
    call = copy(SCORE, "--rerun-triggers", "mtime")
    # all of the store is there: only the run's own files change
    assert call.jobs == {"link_run": 1, "select_attempts": 1, "score_run": 1}
    assert (copy.read("results/runs/tiny/submission.json"), scored(copy)) == first
    assert NOTHING in copy("--dry-run", SCORE).said


def test_results_that_nobody_knows_anything_of_are_made_again(copy: Workflow) -> None:
    forget(copy)
    shutil.rmtree(copy.path("results/records"))
    assert copy("--dry-run", SCORE).jobs["train_adapter"] == 2


@pytest.mark.parametrize("option", ["-r", "-a"])
def test_results_copied_into_another_clone_are_taken_where_contents_are_equal(
    done: Workflow, fresh: Workflow, option: str
) -> None:
    subprocess.run(["cp", option, str(done.path("results")), str(fresh.folder)], check=True)
    call = fresh("--dry-run", *fresh.TARGETS)
    assert NOTHING in call.said, call.said
    for copied, config in ((fresh, {"settings": LOWER}), (fresh, {"dataset": "one"})):
        assert copied("--dry-run", SCORE, **config).jobs["score_run"] == 1


def test_what_differs_in_a_copy_is_named_and_made_again(done: Workflow, fresh: Workflow) -> None:
    shutil.copytree(done.path("results"), fresh.path("results"), symlinks=True)
    candidates = next(fresh.path("results/store/candidates/mine").rglob("fold-0.json"))
    content = json.loads(candidates.read_text())
    content["min_prob"] = 0.5
    candidates.write_text(json.dumps(content))
    call = fresh("--dry-run", SCORE)
    name = str(candidates.relative_to(fresh.folder))
    assert f"made from another {name}, is made again" in call.said
    assert call.jobs == {"rescore_candidates": 1, "link_run": 1, "select_attempts": 1, "score_run": 1}


def test_a_touched_file_trains_nothing_again(copy: Workflow) -> None:
    for path in copy.path("models/bigram").iterdir():
        os.utime(path)
    os.utime(next(copy.path("results/store/folds/mine").rglob("folds.json")))
    assert NOTHING in copy("--dry-run", SCORE).said


def test_solutions_and_moved_files_change_no_training(copy: Workflow) -> None:
    hidden = "results/runs/hidden_1folds/submission.json"
    copy.write("answers.json", {"second": [[[8]]]})
    with_solutions = {"hidden": {"challenges": "hidden.json", "solutions": "answers.json"}}
    assert NOTHING in copy("--dry-run", hidden, datasets=with_solutions).said
    assert copy("--dry-run", "results/score_hidden_1folds.json", datasets=with_solutions).jobs == {
        "collect_tasks": 1,
        "score_run": 1,
    }
    copy.path("data").mkdir()
    copy.path("hidden.json").rename(copy.path("data/moved.json"))
    copy.path("mine.json").rename(copy.path("data/mine.json"))
    moved = {"hidden": {"challenges": "data/moved.json"}, "mine": {"tasks": "data/mine.json"}}
    assert NOTHING in copy("--dry-run", hidden, SCORE, datasets=moved).said
    forget(copy)
    assert NOTHING in copy("--dry-run", hidden, SCORE, datasets=moved).said


def test_what_a_run_reads_has_no_outputs_of_tests(done: Workflow) -> None:
    assert done.read("results/challenges/mine.json") == {name: without_outputs(task) for name, task in TASKS.items()}
    for path in done.path("results/records/store").rglob("*.json"):
        assert not any(name.startswith("results/tasks/") for name in json.loads(path.read_text())["inputs"])


def test_other_code_is_run_again_or_said_to_be_mixed(copy: Workflow) -> None:
    assert copy.read(SCORE)["code"] != "mixed"
    selection = copy.path("workflow_scripts/arcfold/arc/selection.py")
    selection.write_text(selection.read_text() + "\nADDED = 1\n")
    assert NOTHING in copy("--dry-run", SCORE, "--rerun-triggers", "mtime").said
    forget(copy)
    assert NOTHING in copy("--dry-run", SCORE, "--rerun-triggers", "mtime").said
    assert copy("--dry-run", SCORE).jobs == {"select_attempts": 1, "score_run": 1}
    copy.path(SCORE).unlink()
    assert copy(SCORE, "--rerun-triggers", "mtime").status == 0
    assert copy.read(SCORE)["code"] == "mixed"


def test_another_call_with_another_config_leaves_no_trace(copy: Workflow) -> None:
    assert copy("--dry-run", SCORE, settings=LOWER).jobs["score_run"] == 1
    assert NOTHING in copy("--dry-run", SCORE).said


@pytest.fixture
def changed(copy: Workflow) -> Path:
    """The score file of the same run on tasks of which one has another output."""
    tasks = copy.read("mine.json")
    tasks["second"]["test"][0]["output"] = [[9]]
    copy.write("mine.json", tasks)
    call = copy(SCORE)
    assert call.jobs == {"collect_tasks": 1, "score_run": 1}
    return copy.path(SCORE)


def test_a_score_names_the_version_of_its_data(done: Workflow, changed: Path) -> None:
    before, after = done.read(SCORE)["data"], json.loads(changed.read_text())["data"]
    assert (before["name"], before["source"], before["n_outputs"]) == ("mine", "mine.json", 3)
    assert before["sha256"] != after["sha256"]

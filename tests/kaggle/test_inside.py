"""What the cells of a bundle's notebook check and leave."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shipped import ROOT
from tiny_workflow import TASKS, without_outputs

from arcfold.jobs.files import InputError, check_schema
from arcfold.kaggle.inside import (
    Contest,
    check_bundle,
    check_image,
    check_submission,
    find_challenges,
    image_folders,
    read_challenges,
    said_of_clash,
)

ABOUT = {"python": "3.12", "oldest_torch": "2.6"}
ATTEMPTS = {"attempt_1": [[1, 2]], "attempt_2": [[0]]}
ANSWERS: dict[str, Any] = {"first": [ATTEMPTS, ATTEMPTS], "second": [ATTEMPTS]}
COUNTS = {"first": 2, "second": 1}


def test_it_needs_nothing_that_is_not_there_before_the_installation() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'workflow_scripts')!r}); import arcfold.kaggle.inside"
    # without any site-packages
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


@pytest.mark.parametrize("torch", ["2.6.0", "2.11.0+cu130", "2.13.0+cpu", "3.0.0a1", "2.10.0.dev20260101", "2.7rc1"])
def test_an_image_with_the_right_python_and_torch_passes(torch: str) -> None:
    check_image(ABOUT, (3, 12, 1), torch)


@pytest.mark.parametrize(
    ("python", "torch", "line"),
    [
        ((3, 11, 7), "2.11.0", r'Python 3.11 in this image, expected 3.12.*kaggle: \{python: "3.11"\}'),
        ((3, 13, 0), None, "Python 3.13 in this image"),
        ((3, 12, 1), None, "no torch in this image, expected one: choose a GPU"),
        ((3, 12, 1), "2.5.1+cu121", r"torch 2.5.1\+cu121 in this image, expected 2.6 or newer"),
        ((3, 12, 1), "1.13.1", "expected 2.6 or newer"),
    ],
)
def test_an_image_that_the_bundle_is_not_for_is_one_line(python: Any, torch: str | None, line: str) -> None:
    with pytest.raises(InputError, match=line):
        check_image(ABOUT, python, torch)


def test_an_old_torchao_is_named_with_the_remedy() -> None:
    line = said_of_clash("peft", "ImportError: Found an incompatible version of torchao. Found version 0.1")
    assert line.startswith("peft does not work in this image: ImportError: Found an incompatible version of torchao")
    assert line.endswith("put '!pip uninstall -y torchao' above the first cell")


def test_the_hidden_tasks_are_found_wherever_they_are_mounted_but_not_in_the_bundle(tmp_path: Path) -> None:
    bundle = tmp_path / "input" / "a-bundle"
    (bundle / "data").mkdir(parents=True)
    (bundle / "data" / "hidden.json").write_text("{}")
    pattern = str(tmp_path / "input" / "**" / "hidden.json")
    with pytest.raises(InputError, match="no such file, expected the contest's data among the notebook's inputs"):
        find_challenges(pattern, bundle)
    path = tmp_path / "input" / "competitions" / "contest" / "hidden.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({name: without_outputs(task) for name, task in TASKS.items()}))
    assert find_challenges(pattern, bundle) == path
    assert read_challenges(path) == COUNTS
    assert find_challenges(str(path), bundle) == path
    path.write_text("{}")
    with pytest.raises(InputError, match="no tasks, expected"):
        read_challenges(path)


@pytest.mark.parametrize(
    "grid",
    [[], [[]], [[10]], [[-1]], [[0.5]], [["1"]], [[True]], [[0] * 31], [[0]] * 31, [0], None, [[1], [1, 2]], {}],
    ids=lambda grid: str(grid)[:9],
)
def test_a_submission_is_refused_for_what_the_workflow_would_refuse(grid: Any) -> None:
    check_submission(ANSWERS, COUNTS)
    answers = {**ANSWERS, "second": [{"attempt_1": [[1]], "attempt_2": grid}]}
    if grid not in ([[True]], [[1], [1, 2]]):  # which the schema leaves to code
        with pytest.raises(InputError):
            check_schema(answers, "submission", "x")
    with pytest.raises(InputError, match="second: an attempt is no grid"):
        check_submission(answers, COUNTS)


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        ({"first": ANSWERS["first"]}, "not the contest's tasks"),
        ({**ANSWERS, "third": []}, "not the contest's tasks"),
        ([], "not the contest's tasks"),
        ({**ANSWERS, "first": [ATTEMPTS]}, "first: expected 2 outputs"),
        ({**ANSWERS, "second": [{"attempt_1": [[1]]}]}, "second: expected attempt_1 and attempt_2"),
    ],
)
def test_a_submission_has_every_task_and_output(answers: Any, line: str) -> None:
    with pytest.raises(InputError, match=line):
        check_submission(answers, COUNTS)


@pytest.fixture
def contest(tmp_path: Path) -> Callable[[dict[str, Any]], Contest]:
    """A contest with these files in the run's folder."""
    (tmp_path / "hidden.json").write_text(json.dumps({name: without_outputs(task) for name, task in TASKS.items()}))

    def made(files: dict[str, Any]) -> Contest:
        contest = Contest(tmp_path / "bundle", tmp_path / "work", tmp_path / "out" / "submission.json")
        contest.about = {"run": "tiny", "challenges": str(tmp_path / "hidden.json")}
        folder = tmp_path / "work" / "results" / "runs" / "tiny"
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return contest

    return made


BETTER = {**ANSWERS, "second": [{"attempt_1": [[7]], "attempt_2": [[8]]}]}


@pytest.mark.parametrize(
    ("files", "left", "said"),
    [
        ({"submission.json": BETTER, "submission_so_far.json": ANSWERS}, BETTER, "2 tasks, final"),
        ({"submission_so_far.json": ANSWERS}, ANSWERS, "2 tasks, the best so far"),
        ({"submission.json": '{"first"', "submission_so_far.json": ANSWERS}, ANSWERS, "submission.json: not taken: "),
        ({"submission.json": {}, "submission_so_far.json": ANSWERS}, ANSWERS, "not the contest's tasks"),
        ({"submission.json": {}}, None, "error: no submission: the run ended before it had one"),
        ({}, None, "error: no submission"),
    ],
)
def test_the_last_cell_leaves_the_final_submission_else_the_best_so_far(
    contest: Callable[[dict[str, Any]], Contest],
    capsys: pytest.CaptureFixture[str],
    files: dict[str, Any],
    left: Any,
    said: str,
) -> None:
    made = contest(files)
    assert made.leave() is (left is not None)
    assert said in capsys.readouterr().out
    assert (json.loads(made.submission.read_text()) if made.submission.exists() else None) == left


def test_what_nobody_thought_of_is_one_line_too(
    contest: Callable[[dict[str, Any]], Contest], capsys: pytest.CaptureFixture[str]
) -> None:
    made = contest({"submission.json": ANSWERS})
    made.submission.mkdir(parents=True)
    assert made.leave() is False
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(("error: ", "internal error: "))
    assert made.run() is False
    assert capsys.readouterr().out == "not run: the first cell has said why\n"


def test_a_bundle_that_was_damaged_on_its_way_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no SHA256SUMS, expected the whole bundle: upload it again"):
        check_bundle(tmp_path)
    (tmp_path / "a").write_text("abc")
    done = subprocess.run(["sha256sum", "a"], cwd=tmp_path, stdout=subprocess.PIPE, check=True)
    (tmp_path / "SHA256SUMS").write_bytes(done.stdout)
    (tmp_path / "dataset-metadata.json").write_text("the site's own")
    check_bundle(tmp_path)
    (tmp_path / "a").write_text("abd")
    with pytest.raises(InputError, match=r"a: does not match its hash in .*: upload the bundle again$"):
        check_bundle(tmp_path)
    (tmp_path / "a").unlink()
    with pytest.raises(InputError, match=r"a: is missing, .*: upload the bundle again$"):
        check_bundle(tmp_path)


def test_the_images_packages_are_where_its_python_looks_for_them(tmp_path: Path) -> None:
    for name in ("lib/python3.12/dist-packages", "lib/python3.12", "venv/site-packages"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    folders = [str(tmp_path / name) for name in ("lib/python3.12/dist-packages", "venv/site-packages")]
    path = ["", str(tmp_path / "lib/python3.12"), *folders, str(tmp_path / "gone/site-packages"), folders[0]]
    assert image_folders(path) == folders
    assert str(Path(pytest.__file__).parents[1]) in image_folders(sys.path)

"""Datasets of pairs: folders and archives that have a list of pairs for each task."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from arcfold.arc.archives import read_pairs
from arcfold.arc.datasets import count_tasks, dataset_files, dataset_identity, dataset_source, load_dataset
from arcfold.arc.tasks import Pair, Task
from arcfold.jobs.files import InputError
from arcfold.runs.leakage import check_leaks, leaks
from arcfold.runs.runs import resolve_run

PAIRS = [{"input": [[n, n]], "output": [[n]]} for n in range(4)]


def archive(path: Path, files: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, value in files.items():
            made.writestr(name, value if isinstance(value, str) else json.dumps(value))
    return path


def folder(path: Path, files: dict[str, Any]) -> Path:
    path.mkdir()
    for name, value in files.items():
        (path / name).write_text(json.dumps(value))
    return path


def test_a_folder_and_an_archive_have_the_same_tasks_whose_last_pair_is_the_test(tmp_path: Path) -> None:
    packed = archive(tmp_path / "a.zip", {"x/metadata.json": {}, "x/tasks/b.json": PAIRS, "x/tasks/a.json": PAIRS[:2]})
    plain = folder(tmp_path / "plain", {"b.json": PAIRS, "a.json": PAIRS[:2]})
    pairs = [Pair(((n, n),), ((n,),)) for n in range(4)]
    expected = [Task("a", (pairs[0],), (pairs[1],)), Task("b", tuple(pairs[:3]), (pairs[3],))]
    assert read_pairs(packed) == read_pairs(plain) == expected


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"x/a.json": PAIRS}, "no task files, expected lists of pairs"),
        ({"x/tasks/a.json": PAIRS[:1]}, r"x/tasks/a.json: expected a list of two pairs or more"),
        ({"x/tasks/a.json": {"train": PAIRS, "test": []}}, "expected a list of two pairs or more"),
        ({"x/tasks/a.json": PAIRS, "y/tasks/a.json": PAIRS}, "y/tasks/a.json: task a stands there twice"),
        ({"x/tasks/a.json": [*PAIRS, {"input": [[1]]}, PAIRS[0]]}, r"task a, train\[4\]: no 'output'"),
        ({"x/tasks/a.json": "[1, "}, "x/tasks/a.json: "),
    ],
)
def test_an_archive_with_something_else_is_one_line(files: dict[str, Any], line: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=line) as raised:
        read_pairs(archive(tmp_path / "a.zip", files))
    assert "\n" not in str(raised.value)


def test_a_dataset_of_pairs_is_one_like_others(config: dict[str, Any], tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"x/tasks/00576224.json": PAIRS, "x/tasks/b.json": PAIRS})
    config["datasets"]["made"] = {"pairs": str(path)}
    config["subsets"]["others"] = {"of": ["made"], "not_in": ["arc1_evaluation"]}
    assert [task.id for task in load_dataset(config, "made")] == ["00576224", "b"]
    assert [task.id for task in load_dataset(config, "others")] == ["b"]
    assert count_tasks(config, "made") == 2
    assert dataset_files(config, "others") == [str(path)]
    assert dataset_source(config, "made") == "a.zip"
    before = dataset_identity(config, "made", solved=True)
    archive(path, {"x/tasks/00576224.json": PAIRS, "x/tasks/b.json": PAIRS[:3]})
    assert dataset_identity(config, "made", solved=True) != before
    path.unlink()
    with pytest.raises(InputError, match="config: datasets/made/pairs: "):
        dataset_files(config, "made")


def test_an_adapter_of_generated_pairs_has_seen_the_tasks_that_they_are_made_for(
    config: dict[str, Any], tmp_path: Path
) -> None:
    """Their pairs are others than the task's own: what tells is the id."""
    config["datasets"]["made"] = {"pairs": str(archive(tmp_path / "a.zip", {"x/tasks/00576224.json": PAIRS}))}
    config["runs"]["from_made"] = {"folds": 8, "settings": {"training": {"init": "made_r4"}}}
    run = resolve_run(config, "from_made", lambda _: 16)
    (leak,) = leaks(config, run)
    assert (leak["by"], leak["tasks"]) == ("made_r4", ["00576224"])
    with pytest.raises(InputError, match=r"made_r4 was trained on 1 of its tasks \(00576224\)"):
        check_leaks([leak], {}, "from_made")

"""Corpora: read from archives and datasets, development tasks held out, evaluation tasks refused by content."""

import hashlib
import json
import random
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from arcfold.arc.tasks import Task
from arcfold.jobs.files import InputError
from arcfold.pretraining.collecting import wanted_ids
from arcfold.pretraining.corpora import (
    COPIES,
    DEVELOPMENT_TASKS,
    CorpusTask,
    Example,
    Skipped,
    cells_problem,
    development_ids,
    fetch,
    read_archive,
    read_dataset,
)
from arcfold.pretraining.corpus_leaks import LeakCheck, canonical_form, forbidden_tasks, signature


def everything(_: str) -> bool:
    return True


def archive(path: Path, files: dict[str, object]) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, value in files.items():
            made.writestr(name, json.dumps(value))
    return path


def pair(first: list, last: list) -> dict:
    return {"input": first, "output": last}


SMALL = pair([[1, 2]], [[2, 1]])


def turned(example: Example, draws: random.Random) -> Example:
    """The example in a random symmetry and colouring."""
    number, colours = draws.randrange(8), np.array(draws.sample(range(10), 10), np.uint8)

    def move(grid: np.ndarray) -> np.ndarray:
        grid = np.rot90(grid, number % 4)
        return colours[grid if number < 4 else grid[:, ::-1]]

    return Example(move(example.input), move(example.output))


def as_corpus_task(task: Task, name: str = "planted") -> CorpusTask:
    pairs = [*task.train, *task.test]
    return CorpusTask(name, tuple(Example(np.array(p.input, np.uint8), np.array(p.output, np.uint8)) for p in pairs))


@cache
def check_against_all() -> LeakCheck:
    return LeakCheck(forbidden_tasks())


def test_an_archive_of_pairs_is_read_in_the_order_of_its_names(tmp_path):
    path = archive(
        tmp_path / "a.zip", {"x/tasks/b.json": [SMALL] * 3, "x/tasks/a.json": [SMALL] * 2, "x/metadata.json": {}}
    )
    tasks = list(read_archive(path, "pairs", everything))
    assert [(task.id, len(task.examples)) for task in tasks] == [("a", 2), ("b", 3)]
    assert tasks[0].examples[0].input.tolist() == [[1, 2]]


def test_an_archive_of_tasks_gives_demonstrations_and_tests_together(tmp_path):
    path = archive(tmp_path / "a.zip", {"x/a.json": {"train": [SMALL, SMALL], "test": [SMALL]}})
    (task,) = read_archive(path, "tasks", everything)
    assert len(task.examples) == 3


def test_what_is_not_wanted_or_too_large_is_left_out_and_told(tmp_path):
    wide = pair([[1] * 31], [[1] * 31])
    files = {"a.json": [SMALL, SMALL, wide], "b.json": [SMALL] * 2, "c.json": [SMALL, wide]}
    path = archive(tmp_path / "a.zip", {f"tasks/{name}": value for name, value in files.items()})
    skipped = Skipped()
    tasks = list(read_archive(path, "pairs", lambda name: name != "b", skipped))
    assert [task.id for task in tasks] == ["a"]
    assert (skipped.left_out, skipped.pairs, skipped.tasks) == (["b"], {"a": 1, "c": 1}, ["c"])
    assert [task.id for task in read_archive(path, "pairs", everything, longest_side=31)] == ["a", "b", "c"]
    assert [len(task.examples) for task in read_archive(path, "pairs", everything, pairs_per_task=2)] == [2, 2]


@pytest.mark.parametrize("value", [None, [], [[]], [[1], [1, 2]], [[10]], [[-1]], [["1"]], [[1.5]], 3])
def test_what_is_no_grid_is_said(value, tmp_path):
    assert cells_problem(value)
    path = archive(tmp_path / "a.zip", {"a.json": {"train": [SMALL, pair([[1]], value)], "test": [SMALL]}})
    with pytest.raises(InputError, match=r"a\.zip: a\.json: pair 1, output: (is no grid|row \d )"):
        list(read_archive(path, "tasks", everything))


@pytest.mark.parametrize(
    ("files", "layout", "said"),
    [({"a.txt": 1}, "tasks", "no task files"), ({"tasks/a.json": {"x": 1}}, "pairs", "layout")],
)
def test_an_archive_of_another_layout_is_refused(tmp_path, files, layout, said):
    path = archive(tmp_path / "a.zip", files)
    with pytest.raises(InputError, match=said):
        list(read_archive(path, layout, everything))


def test_a_broken_archive_is_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match="no readable zip"):
        list(read_archive(tmp_path / "a.zip", "tasks", everything))


def test_a_fetched_file_must_have_the_expected_hash(tmp_path):
    source = tmp_path / "source.zip"
    source.write_bytes(b"content")
    fetch(source.as_uri(), hashlib.sha256(b"content").hexdigest(), tmp_path / "fetched.zip")
    assert (tmp_path / "fetched.zip").read_bytes() == b"content"
    with pytest.raises(InputError, match="SHA-256"):
        fetch(source.as_uri(), "0" * 64, tmp_path / "other.zip")
    assert not (tmp_path / "other.zip").exists()
    with pytest.raises(InputError, match="offline"):
        fetch((tmp_path / "missing").as_uri(), "0" * 64, tmp_path / "other.zip")


def test_the_development_tasks_are_training_tasks_that_no_training_split_has(arc):
    ids = development_ids()
    assert len(ids) == DEVELOPMENT_TASKS
    assert ids <= {task.id for task in arc["arc1_training"]}
    assert not ids & set(COPIES)
    training, development = wanted_ids("training"), wanted_ids("development")
    assert all(development(name) and not training(name) for name in ids)
    assert not any(training(name) or development(name) for name in COPIES)
    assert training("007bbfb7")
    assert not development("007bbfb7")


def test_the_development_tasks_stay_the_same():
    assert hashlib.sha256(" ".join(sorted(development_ids())).encode()).hexdigest()[:12] == "1d0018b5f269"


def test_the_training_dataset_holds_no_forbidden_task_and_its_known_copies_are_found():
    leaks = check_against_all()
    for task in read_dataset("arc1_training", wanted_ids("training")):
        leaks.clean(task, "arc1_training")
    copies = read_dataset("arc1_training", lambda name: name in COPIES)
    assert len(copies) == len(COPIES)
    for task in copies:
        with pytest.raises(InputError, match=COPIES[task.id]):
            leaks.clean(task, "arc1_training")


@pytest.mark.parametrize("seed", range(12))
def test_an_evaluation_task_is_found_in_any_symmetry_and_colouring(seed):
    draws = random.Random(seed)
    task = as_corpus_task(draws.choice(check_against_all().forbidden))
    examples = [turned(example, draws) for example in task.examples]
    draws.shuffle(examples)
    with pytest.raises(InputError, match="expected no task that models are measured on"):
        check_against_all().clean(CorpusTask("planted", tuple(examples)), "corpus x")


def test_a_single_shared_pair_is_left_out_and_told(arc):
    draws = random.Random(5)
    task = next(task for task in arc["arc1_evaluation"] if len(task.train) >= 4)
    stolen = turned(as_corpus_task(task).examples[0], draws)
    own = [Example(np.array([[n, 1]], np.uint8), np.array([[1, n], [n, 7]], np.uint8)) for n in range(3)]
    leaks = LeakCheck([task])
    kept = leaks.clean(CorpusTask("mine", (*own, stolen)), "corpus x")
    assert kept is not None
    assert len(kept.examples) == 3
    assert leaks.report()["pairs_left_out_of"] == {"mine": [task.id]}
    assert leaks.clean(CorpusTask("less", (own[0], stolen)), "corpus x") is None


@pytest.mark.parametrize("seed", range(20))
def test_the_canonical_form_is_that_of_every_view_and_of_no_other_pair(seed):
    draws = random.Random(seed)
    shapes = [(draws.randint(1, 6), draws.randint(1, 6)) for _ in range(2)]
    made = [np.array([[draws.randrange(4) for _ in range(w)] for _ in range(h)], np.uint8) for h, w in shapes]
    example = Example(*made)
    other = turned(example, draws)
    assert canonical_form(other) == canonical_form(example)
    assert signature(other) == signature(example)
    changed = example.output.copy()
    changed[-1, -1] = 9
    assert canonical_form(Example(example.input, changed)) != canonical_form(example)


def test_an_archive_writes_nothing_wherever_its_names_lead(tmp_path):
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "a.zip"
    names = ("../../tasks/a.json", "/tmp/tasks/b.json", "tasks/../../../tasks/c.json")
    archive(path, {name: [SMALL, SMALL] for name in names})
    with zipfile.ZipFile(path, "a") as made:
        link = zipfile.ZipInfo("tasks/d.json")
        link.external_attr = 0o120777 << 16  # a symbolic link
        made.writestr(link, "/etc/passwd")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"a\.zip: tasks/d\.json: line 1, column 1: not JSON"):
        list(read_archive(path, "pairs", everything))
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/tasks/b.json").exists()


def test_an_encrypted_archive_is_named(tmp_path):
    path = archive(tmp_path / "a.zip", {"tasks/a.json": [SMALL, SMALL]})
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + place] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip: tasks/a\.json: cannot be unpacked \(.*password.*\)"):
        list(read_archive(path, "pairs", everything))

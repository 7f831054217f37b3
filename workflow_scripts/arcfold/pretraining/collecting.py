"""From a corpus's entry in the config to its shard: read, held out, checked for leaks, written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from arcfold.arc.tasks import LONGEST_SIDE
from arcfold.jobs.provenance import Stopwatch, provenance
from arcfold.pretraining.corpora import COPIES, CorpusTask, Skipped, development_ids, read_archive, read_dataset
from arcfold.pretraining.corpus_leaks import LeakCheck, forbidden_tasks
from arcfold.pretraining.shards import write_shard


def make_shard(
    name: str, entry: Mapping[str, Any], archive: str | Path | None, folder: str | Path, processes: int = 1
) -> None:
    """Writes the shard of a corpus.

    entry: the corpus in the config's layout: `dataset`, or `layout` with an archive, or `families`
    archive: the file that the entry's `path` or `url` stands for
    processes: make families' tasks; the shard is the same
    Raises InputError when the corpus holds a task that models are measured on.
    """
    watch = Stopwatch()
    skipped, leaks = Skipped(), LeakCheck(forbidden_tasks())

    def facts() -> dict[str, Any]:
        inputs = {} if archive is None else {"archive": _sha256(archive)}
        return {
            "left_out": skipped.left_out,
            "skipped": {"pairs": skipped.pairs, "tasks": skipped.tasks},
            "leaks": leaks.report(),
            "provenance": provenance(inputs=inputs, watch=watch, settings=entry),
        }

    tasks = _read(entry, archive, wanted_ids(entry.get("split", "training")), skipped, processes)
    write_shard(folder, name, _clean(tasks, leaks, f"corpus {name}"), facts)


def wanted_ids(split: str) -> Callable[[str], bool]:
    """Tells which tasks a split has: `training` all but the development tasks and copies of evaluation
    tasks, `development` the development tasks alone."""
    development, copies = development_ids(), frozenset(COPIES)
    if split == "development":
        return lambda task_id: task_id in development
    return lambda task_id: task_id not in development and task_id not in copies


def _read(
    entry: Mapping[str, Any],
    archive: str | Path | None,
    wanted: Callable[[str], bool],
    skipped: Skipped,
    processes: int,
) -> Iterable[CorpusTask]:
    if "dataset" in entry:
        return read_dataset(entry["dataset"], wanted, skipped)
    if "families" in entry:
        from arcfold.pretraining.families.corpus import families_tasks

        return families_tasks(**entry["families"], processes=processes)
    assert archive is not None
    return read_archive(
        archive,
        entry["layout"],
        wanted,
        skipped,
        pairs_per_task=entry.get("pairs_per_task"),
        longest_side=entry.get("longest_side", LONGEST_SIDE),
    )


def _clean(tasks: Iterable[CorpusTask], leaks: LeakCheck, where: str) -> Iterator[CorpusTask]:
    for task in tasks:
        kept = leaks.clean(task, where)
        if kept is not None:
            yield kept


def _sha256(path: str | Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

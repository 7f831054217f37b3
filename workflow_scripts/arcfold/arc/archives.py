"""Tasks in zip archives, read without unpacking anything to the disk; and tasks that are lists of pairs."""

from __future__ import annotations

import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from arcfold.arc.tasks import LONGEST_ID, Task, check_id, task_files, task_from_json
from arcfold.jobs.files import InputError, kept_while_unchanged, one_line, parse_json, read_json

LARGEST_FILE = 2**27
"""Bytes of a task file in an archive at most, unpacked: a thousand pairs of the largest grids take 4 MB."""
LARGEST_ARCHIVE = 2**35
"""Bytes of all of them together."""

_UNREADABLE = (
    OSError, EOFError, ValueError, RuntimeError, NotImplementedError, struct.error,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What the standard library raises for archives that are broken, encrypted, or packed in ways it does not know."""


def json_files(
    path: str | Path, is_wanted: Callable[[str], bool], expected: str, longest_id: int = LONGEST_ID
) -> Iterator[tuple[str, Any, str]]:
    """The JSON files of a zip archive, in the order of their names: id (the name without its ending), value, place.

    is_wanted: tells of a name in the archive whether it is read; expected: what such files are, in words
    Raises InputError for an archive that cannot be read, one without such files, files of absurd size, and ids of more
    than `longest_id` bytes.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _UNREADABLE as error:
        raise InputError(
            f"{path}: no readable zip archive ({one_line(error)}; a broken download?), expected one; fetch it again"
        ) from None
    with archive:
        entries = sorted(
            (entry for entry in archive.infolist() if is_wanted(entry.filename)), key=lambda entry: entry.filename
        )
        if not entries:
            raise InputError(f"{path}: no task files, expected {expected}")
        _check_sizes(path, entries)
        for entry in entries:
            where = f"{path}: {one_line(entry.filename)}"
            task_id = Path(entry.filename).stem
            check_id(task_id, where, longest_id)
            try:
                content = archive.read(entry)
            except _UNREADABLE as error:
                raise InputError(
                    f"{where}: cannot be unpacked ({one_line(error)}; a broken download?); fetch the archive again"
                ) from None
            yield task_id, parse_json(content, where), where


def is_task_file(name: str, layout: str) -> bool:
    """Whether a file of an archive is a task's in a layout, `pairs` or `tasks`."""
    # the RE-ARC archive has a metadata.json beside its folder of tasks
    return name.endswith(".json") and (layout != "pairs" or Path(name).parent.name == "tasks")


def read_pairs(path: str | Path) -> list[Task]:
    """The tasks of a folder or a zip archive that has a list of pairs for each, as RE-ARC and ARC-GEN make them.

    A folder has files `{id}.json`, an archive has them in a folder `tasks`. The last pair is the test, all others are
    demonstrations: a pretraining takes all of them.
    Raises InputError, naming file and place, for fewer than two pairs and for an id that comes twice.
    """
    return list(_tasks_of(path))


@kept_while_unchanged
def _tasks_of(path: str) -> tuple[Task, ...]:
    if os.path.isdir(path):
        found: Iterator[tuple[str, Any, str]] = ((Path(file).stem, read_json(file), file) for file in task_files(path))
    else:
        found = json_files(
            path, lambda name: is_task_file(name, "pairs"), "lists of pairs, {id}.json in a folder tasks"
        )
    tasks: dict[str, Task] = {}
    for task_id, value, where in found:
        if not isinstance(value, list) or len(value) < 2:
            raise InputError(f"{where}: expected a list of two pairs or more")
        if task_id in tasks:
            raise InputError(f"{where}: task {task_id} stands there twice, expected one file for each")
        tasks[task_id] = task_from_json(task_id, {"train": value[:-1], "test": value[-1:]}, where)
    return tuple(tasks.values())


def _check_sizes(path: str | Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Before anything is unpacked: an archive of a few kilobytes can hold more than any machine has."""
    for entry in entries:
        if entry.file_size > LARGEST_FILE:
            raise InputError(
                f"{path}: {one_line(entry.filename)}: {entry.file_size} bytes unpacked, expected at most {LARGEST_FILE}"
            )
    total = sum(entry.file_size for entry in entries)
    if total > LARGEST_ARCHIVE:
        raise InputError(f"{path}: {total} bytes unpacked, expected at most {LARGEST_ARCHIVE}")

"""Shards: the grids of a corpus in one flat file that a training reads from where it lies.

A shard is a folder:

- `cells.bin`: the cells of all grids, row after row, grid after grid, two cells in a byte (the first in
  the lower half); read through a memory map
- `grids.npy`: uint8 (grids, 2), rows and columns; grid 2 k is an input, grid 2 k + 1 its output
- `shard.json`: the corpus, its tasks and how many pairs each has, in the order of the grids

`pack` makes one small gzip file of it, to be carried to the machine that trains.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arcfold.arc.tasks import N_COLOURS
from arcfold.jobs.files import (
    InputError,
    hash_of_files,
    new_file,
    new_folder,
    one_line,
    parse_json,
    read_json,
    write_json,
)  # fmt: skip
from arcfold.pretraining.corpora import Cells, CorpusTask

FILES = ("cells.bin", "grids.npy", "shard.json")
PACKED = ("shard.json", "grids.npy", "cells")
LARGEST_PACKED = 2**31
"""Bytes of a file in a packed shard at most: 2 GiB, cells of two million pairs of large grids."""

_PADDING = 2**20


@dataclass(frozen=True)
class Shard:
    """A corpus on disk, ready to be read."""

    name: str
    """The corpus."""
    cells: np.ndarray
    """uint8 (bytes,): two cells in each, memory-mapped."""
    shapes: np.ndarray
    """uint8 (grids, 2): rows and columns."""
    starts: np.ndarray
    """int64 (grids,): the index of each grid's first cell, counted in cells."""
    tasks: tuple[str, ...]
    """Ids of the tasks."""
    first_pair: np.ndarray
    """int64 (tasks + 1,): the first pair of each task, and the number of pairs."""

    def grid(self, index: int) -> Cells:
        """One grid, unpacked."""
        rows, columns = (int(side) for side in self.shapes[index])
        places = self.starts[index] + np.arange(rows * columns)
        return ((self.cells[places >> 1] >> ((places & 1) << 2)) & 15).astype(np.uint8).reshape(rows, columns)


def write_shard(
    folder: str | Path, corpus: str, tasks: Iterable[CorpusTask], facts: Callable[[], Mapping[str, Any]]
) -> None:
    """Writes the tasks of a corpus, one after the other, as they come.

    facts: called when all are written; what `shard.json` says besides
    Raises InputError if there are no tasks.
    """
    shapes: list[tuple[int, int]] = []
    entries: list[list[Any]] = []
    with new_folder(folder) as temporary:
        with (temporary / "cells.bin").open("wb") as stream:
            left = np.zeros(0, np.uint8)
            for task in tasks:
                grids = [grid for example in task.examples for grid in (example.input, example.output)]
                shapes += [(grid.shape[0], grid.shape[1]) for grid in grids]
                entries.append([task.id, len(task.examples)])
                cells = np.concatenate([left, *(grid.ravel() for grid in grids)])
                whole = len(cells) // 2 * 2
                stream.write((cells[0:whole:2] | cells[1:whole:2] << 4).tobytes())
                left = cells[whole:]
            stream.write(left.tobytes())
        if not entries:
            raise InputError(f"{folder}: corpus {corpus} has no tasks")
        np.save(temporary / "grids.npy", np.array(shapes, np.uint8))
        pairs = sum(count for _, count in entries)
        made = {"corpus": corpus, "n_tasks": len(entries), "n_pairs": pairs, **facts(), "tasks": entries}
        write_json(temporary / "shard.json", made, "shard")


def read_shard(folder: str | Path) -> Shard:
    """A shard, its cells memory-mapped. Raises InputError for a folder that is none."""
    folder = Path(folder)
    facts = read_json(folder / "shard.json", "shard")
    try:
        # mapped first: what its header says of its size is compared with the file before memory is taken
        shapes = np.load(folder / "grids.npy", mmap_mode="r", allow_pickle=False)
        cells = np.memmap(folder / "cells.bin", np.uint8, mode="r")
    except Exception as error:  # numpy parses the header as Python does, with as many errors
        raise InputError(f"{folder}: no readable shard ({one_line(error)}); make or unpack it again") from None
    return _shard(facts, cells, shapes, folder)


def _shard(facts: Mapping[str, Any], cells: np.ndarray, shapes: Any, where: str | Path) -> Shard:
    """The shard of what its files hold; raises InputError if they do not belong together."""
    if getattr(shapes, "dtype", None) != np.uint8 or shapes.ndim != 2 or shapes.shape[1] != 2 or not (shapes > 0).all():
        raise InputError(f"{where}: grids.npy: expected rows and columns of each grid, 1 or more, as uint8 (grids, 2)")
    shapes = np.array(shapes)
    sizes = shapes.astype(np.int64).prod(axis=1)
    counts = np.array([count for _, count in facts["tasks"]], np.int64)
    if len(shapes) != 2 * counts.sum() or len(cells) != (sizes.sum() + 1) // 2:
        raise InputError(f"{where}: grids.npy, cells.bin and shard.json do not belong together")
    return Shard(
        name=facts["corpus"],
        cells=cells,
        shapes=shapes,
        starts=np.concatenate([[0], np.cumsum(sizes)[:-1]]),
        tasks=tuple(task for task, _ in facts["tasks"]),
        first_pair=np.concatenate([[0], np.cumsum(counts)]),
    )


def hash_of_shard(folder: str | Path) -> str:
    """The SHA-256 of what a training reads of a shard."""
    return hash_of_files(folder, FILES)


def pack(folder: str | Path, path: str | Path) -> None:
    """Writes a shard as one gzip file, the same bytes for the same shard.

    Its cells lie there one to a byte: rows repeat at any distance, and half a byte has no distance.
    """
    folder = Path(folder)
    shard = read_shard(folder)
    content = {
        "shard.json": (folder / "shard.json").read_bytes(),
        "grids.npy": (folder / "grids.npy").read_bytes(),
        "cells": np.stack([shard.cells & 15, shard.cells >> 4], axis=1).tobytes(),
    }
    with (
        new_file(path) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w|") as archive,
    ):
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def unpack(path: str | Path, folder: str | Path) -> None:
    """Makes the shard of a packed file. Raises InputError for a file that is none."""
    content: dict[str, bytes] = {}
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
            for entry in archive:
                # nothing is written under a name of the archive's; links lead nowhere
                if entry.name not in PACKED or not entry.isfile() or entry.name in content:
                    raise ValueError(f"{entry.name!r} in it, expected {', '.join(PACKED)}, each a file, once")
                if entry.size > LARGEST_PACKED:
                    raise ValueError(f"{entry.name} has {entry.size} bytes, expected at most {LARGEST_PACKED}")
                stream = archive.extractfile(entry)
                assert stream is not None
                content[entry.name] = stream.read()
            # to the end, where the checksums are: an archive that lacks it is not whole
            if len(packed.read(_PADDING + 1)) > _PADDING:
                raise ValueError("more behind the last file")
        if missing := [name for name in PACKED if name not in content]:
            raise ValueError(f"no {missing[0]} in it")
        shapes = np.load(io.BytesIO(content["grids.npy"]), allow_pickle=False)
        cells = np.frombuffer(content["cells"], np.uint8).reshape(-1, 2)
    except Exception as error:  # of tarfile, gzip and numpy: each has many
        raise InputError(f"{path}: no packed shard ({one_line(error, 160)}); fetch it again") from None
    facts = parse_json(content["shard.json"], f"{path}: shard.json", "shard")
    if (cells >= N_COLOURS).any():
        raise InputError(f"{path}: cells: a number above {N_COLOURS - 1}, expected colours")
    _shard(facts, cells[:, 0], shapes, path)
    with new_folder(folder) as temporary:
        (temporary / "cells.bin").write_bytes((cells[:, 0] | cells[:, 1] << 4).tobytes())
        for name in ("grids.npy", "shard.json"):
            (temporary / name).write_bytes(content[name])

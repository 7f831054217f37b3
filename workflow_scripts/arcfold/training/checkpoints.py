"""The checkpoints of one training: on disk before they count, checked before they are used.

The two newest are kept, so that there is one to go on from when the newest is damaged:

    step-480/                   state, job.json and SHA256SUMS
    step-960/                   the newest
    step-1440.damaged/          one that did not match its hashes when it was to be used

A checkpoint is written under another name, synced to disk with its hashes, and takes its name then. One that cannot
be written costs a line: a training does not end for lack of something that it may never need.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from arcfold.jobs.checksums import check_own_sums, sync, write_sums
from arcfold.jobs.files import InputError, read_json, write_json
from arcfold.jobs.memory import out_of_memory

log = logging.getLogger(__name__)

KEPT = 2
"""Checkpoints that are kept: the newest, and the one before it."""

_JOB = "job.json"
_NAME = re.compile(r"step-(\d+)")


class Checkpoints:
    """The checkpoints in a folder of one training alone; `job` is a hash of all that decides its result."""

    def __init__(self, folder: Path, job: str) -> None:
        self.folder = folder
        self._job = {"fingerprint": job}

    @contextlib.contextmanager
    def saving(self, step: int) -> Iterator[Path]:
        """A folder for the state after `step` steps, which counts once the block has ended.

        What keeps it from being written (a full disk above all) is a warning; then the older ones stay.
        """
        from safetensors import SafetensorError

        path = self.folder / f"step-{step}"
        temporary: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=self.folder))
            yield temporary
            write_json(temporary / _JOB, self._job)
            write_sums(temporary)
            shutil.rmtree(path, ignore_errors=True)
            os.replace(temporary, path)
            sync(self.folder)
        except (InputError, OSError, SafetensorError, RuntimeError) as error:  # torch.save has the last
            if out_of_memory(error):
                raise
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            log.warning("%s: the checkpoint cannot be written (%s), the training goes on without it", path, reason)
        else:
            for old, _ in self._saved()[KEPT:]:
                shutil.rmtree(old)
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)

    def latest(self) -> tuple[Path, int] | None:
        """The newest checkpoint that is whole, and its steps; damaged ones are named and set aside."""
        for unfinished in self.folder.glob(".step-*"):  # of a process that was killed
            shutil.rmtree(unfinished)
        damaged: list[tuple[Path, str]] = []
        found = None
        for path, step in self._saved():
            try:
                check_own_sums(path, complete=True)
                same = read_json(path / _JOB) == self._job
            except InputError as error:
                damaged.append((path, str(error)))
                continue
            if same:
                found = path, step
                break
            log.info("%s: the checkpoint of another job is dropped", path)
            shutil.rmtree(path)
        for path, problem in damaged:
            aside = path.with_name(f"{path.name}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(path, aside)
            where = f"step {found[1]}" if found else "the start"
            log.warning("%s; set aside as %s, the training goes on from %s", problem, aside.name, where)
        return found

    def remove(self) -> None:
        """Leaves nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _saved(self) -> list[tuple[Path, int]]:
        """The checkpoints and their steps, the newest first."""
        named = ((path, _NAME.fullmatch(path.name)) for path in self.folder.glob("step-*"))
        return sorted(((path, int(match[1])) for path, match in named if match), key=lambda each: -each[1])

"""Processes that tests wait for, and those of workers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def until(condition: Callable[[], bool], timeout: float) -> None:
    """Waits for a condition; fails when it does not come about in so many seconds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def workers() -> Iterator[tuple[int, bytes, Path]]:
    """Id, slot and working folder of every worker on the machine."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = path.joinpath("cmdline").read_bytes().split(b"\0")
            if b"arcfold.worker.serve" in words:
                yield int(path.name), words[words.index(b"arcfold.worker.serve") + 1], path.joinpath("cwd").resolve()

"""Snakemake's lock of a folder outlives a Snakemake that is killed; here it goes with its owner.

The lock is a file in `.snakemake/locks` that names no process. So each Snakemake holds a flock on a file of its machine
from the moment it reads the Snakefile, which the kernel drops when the process ends, however it ends:

    .snakemake/arcfold/users/host-1.lock     flock, shared by all Snakemakes of host-1 in this folder

Whoever can have it alone knows that no other Snakemake of this machine is alive here, and that a lock in the folder is
of a dead one, unless another machine has worked here too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
from pathlib import Path

_descriptor: int | None = None


def remove_stale_lock(snakemake: Path = Path(".snakemake")) -> bool:
    """Counts this process among the folder's users until it ends; whether a lock of a dead one was removed.

    Does nothing where the folder cannot be written.
    """
    global _descriptor
    if _descriptor is not None:
        return False
    users = snakemake / "arcfold" / "users"
    removed = False
    with contextlib.suppress(OSError):
        users.mkdir(parents=True, exist_ok=True)
        own = users / f"{platform.node()}.lock"
        # closed when a job is started, for a job is no user that could lose its lock
        _descriptor = os.open(own, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            if [path.name for path in users.iterdir()] == [own.name]:
                removed = _remove(snakemake / "locks")
        fcntl.flock(_descriptor, fcntl.LOCK_SH)
    return removed


def _remove(locks: Path) -> bool:
    found = list(locks.glob("*.lock"))
    for path in found:
        path.unlink(missing_ok=True)
    return bool(found)

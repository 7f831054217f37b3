"""Whether this user may write where a run will: said in one line before anything runs."""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Iterable
from pathlib import Path

from arcfold.jobs.files import InputError

OWN_FOLDER = Path(".snakemake")
"""Snakemake's own, in which every call of it writes, a dry run too."""
_ROOM = 128 * 1024
"""Bytes that Snakemake's own files need before the first job: it ends with a traceback where they do not fit."""


def check_own_folder(folder: Path = OWN_FOLDER) -> None:
    """Raises InputError if Snakemake cannot work in the folder: another user's, say, or on a full disk."""
    found = [folder]
    for parent in (folder, folder / "arcfold"):
        if os.access(parent, os.R_OK | os.X_OK) and parent.is_dir():
            found += [Path(entry.path) for entry in os.scandir(parent) if entry.is_dir(follow_symlinks=False)]
    check_writable(found, "work in a clone of your own, into which results/ may be copied")
    disk = os.statvfs(folder if folder.is_dir() else ".")
    if (room := disk.f_bavail * disk.f_frsize) < _ROOM:
        raise InputError(
            f"{folder}: {os.strerror(errno.ENOSPC)}, {room // 1024} KiB are free, "
            f"expected {_ROOM // 1024} KiB and what the run needs"
        )


def check_writable(folders: Iterable[Path], remedy: str = "") -> None:
    """Raises InputError for the first of the folders in which this user can make no file, whether it is there or not.

    remedy: what to do, beside getting the permission
    """
    for folder in folders:
        there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        if not os.access(there, os.W_OK | os.X_OK):
            reason = os.strerror(errno.EROFS if _is_read_only(there) else errno.EACCES)
            also = f", or {remedy}" if remedy else ""
            raise InputError(
                f"{folder}: cannot be written ({reason}, it is {_owner(there)}'s), "
                f"expected a folder that this user may write to{also}"
            )


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _owner(path: Path) -> str:
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # of a container or another machine
        return f"user {number}"

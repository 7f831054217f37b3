"""SHA256SUMS: the hash of every file of the results, in a file beside them that `sha256sum -c` reads.

Each folder of the store has one, and `results/` has one for all the rest:

    results/SHA256SUMS                                               tasks/quick.json, score_8folds.json, …
    results/store/adapters/quick/8folds-seed0/ed2b4b98a52a/SHA256SUMS    fold-0/adapter_model.safetensors, …

`job` does the work for every rule: it checks a job's inputs before the script reads them, drops the lines of outputs
that Snakemake has deleted for it, and writes them anew when the script is done. So a line is written last:

    killed before      the output has no line: nobody vouches for it, and Snakemake makes it again
    damaged after      the next job that reads it ends with a line that names it

Jobs side by side write to one SHA256SUMS: under its lock each reads it, and puts a new one in its place. A file
without a line is read without a check: it is a user's own, or was made before there were sums. A folder that is
handed around as a whole (a checkpoint, a base model) has a SHA256SUMS of its own: `write_sums`, `check_own_sums`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath

from arcfold.jobs.files import InputError, hash_of_file, new_file, remove_leftovers

SUMS = "SHA256SUMS"
RESULTS = "results"
SO_FAR = ("budget.json", "submission_so_far.json")
"""Files of a run that change as long as it is under way, and are no job's."""
WITHOUT_SUMS = ("logs", "records")
"""Folders in results/ whose files have no lines. A damaged record is as good as none: its target is made again."""

_STORE = (RESULTS, "store")
_IN_STORE = 6
"""Parts of the path of a folder of the store: results/store/{stage}/{dataset}/{split}/{key}."""
_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")
_ABANDONED = 30.0
"""Seconds after which a lock file that nobody has touched is one of a process that died."""


def check(paths: Iterable[str | Path]) -> None:
    """Raises InputError for a file that is not as its line says; of a folder all its files are looked at.

    paths: as Snakemake has them, relative to the folder that it runs in; of a link what it leads to is looked at
    """
    for folder, names in _by_sums(map(followed, paths)).items():
        sums = read_sums(folder)
        for name in names:
            if os.path.lexists(folder / name):  # a missing one is its reader's to name
                for line in _below(name, sums):
                    problem = _problem(folder / line, sums[line])
                    if problem:
                        what = "it" if line == name else str(folder / name)
                        raise InputError(
                            f"{folder / line}: {problem} {folder / SUMS} (damaged or edited), "
                            f"delete {what} and run the same command again"
                        )


def prune(paths: Iterable[str | Path]) -> None:
    """Drops the lines of those of these files that are gone."""
    for folder, names in _by_sums(paths).items():
        sums = read_sums(folder)
        if any(not os.path.lexists(folder / line) for name in names for line in _below(name, sums)):
            _update(folder, (), {}, drop_gone=True)


def drop(paths: Iterable[str | Path]) -> None:
    """Drops the lines of files and folders, there or not."""
    for folder, names in _by_sums(paths).items():
        if (folder / SUMS).is_file():
            _update(folder, names, {}, drop_gone=False)


def record(paths: Iterable[str | Path]) -> None:
    """Writes the lines of what has been made; those of results/ that are gone are dropped.

    In the store that would be a look at thousands of files after each job, and nobody deletes some of them for good.
    """
    for folder, names in _by_sums(paths).items():
        made = {line: hash_of_file(folder / line) for name in names for line in files_of(folder, name)}
        _update(folder, names, made, drop_gone=folder == Path(RESULTS))


def place_of(path: str | Path) -> tuple[Path, str] | None:
    """The folder whose SHA256SUMS has the line of a file or folder, and its name there; None outside of results/."""
    parts = PurePath(os.path.normpath(path)).parts
    if len(parts) < 2 or parts[0] != RESULTS:
        return None
    depth = _IN_STORE if parts[:2] == _STORE and len(parts) > _IN_STORE else 1
    return Path(*parts[:depth]), "/".join(parts[depth:])


def followed(path: str | Path) -> str | Path:
    """What a link leads to, by its own words; any other path as it is."""
    return os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path))) if os.path.islink(path) else path


def folders_with_sums() -> list[Path]:
    """The folders below results/ that have a SHA256SUMS or should have one."""
    return [path for path in (Path(RESULTS), *Path(*_STORE).glob("*/*/*/*")) if path.is_dir()]


def files_of(folder: Path, name: str = "") -> list[str]:
    """The names in `folder` of a file, or of all files below one: no links, nothing hidden, not its SHA256SUMS."""
    start = folder / name
    if start.is_symlink():
        return []
    if not start.is_dir():
        return [name] if start.is_file() else []
    found = []
    for here, folders, files in os.walk(start):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        paths = [Path(here, file) for file in sorted(files) if not file.startswith(".")]
        found += [path.relative_to(folder).as_posix() for path in paths if not path.is_symlink()]
    return [each for each in found if each != SUMS]


def read_sums(folder: Path) -> dict[str, str]:
    """SHA-256 by name, as the SHA256SUMS of a folder has them; empty if there is none.

    Raises InputError for a file that is none.
    """
    path = folder / SUMS
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    sums = {}
    for number, line in enumerate(os.fsdecode(content).split("\n"), start=1):
        match = _LINE.fullmatch(line)
        if match:
            sums[_unescaped(match[3]) if match[1] else match[3]] = match[2]
        elif line:
            raise InputError(f"{path}: line {number}: no SHA-256 and name, expected one (damaged or edited), delete it")
    return sums


def write_sums(folder: Path) -> None:
    """Writes the SHA256SUMS of a folder that is handed around as a whole, and syncs it and all its files to disk."""
    names = files_of(folder)
    _write(folder, {name: hash_of_file(folder / name) for name in names})
    for name in (*names, SUMS):
        sync(folder / name)
    for path in folder.rglob("*"):
        if path.is_dir():
            sync(path)
    sync(folder)


def check_own_sums(folder: Path, read: Iterable[str] | None = None, *, complete: bool = False) -> None:
    """Raises InputError for a file of a folder that is not as the SHA256SUMS in that folder says.

    read: the names that matter, all if not given
    complete: whether all files of the folder must have a line, and there must be one; else one without is not checked
    """
    sums = read_sums(folder)
    if read is not None:
        sums = {name: sums[name] for name in read if name in sums}
    names = files_of(folder) if complete else []
    if complete and not sums:
        raise InputError(f"{folder}: no {SUMS} with a line for each file (damaged or cut short)")
    for name in [*sums, *names]:
        problem = _problem(folder / name, sums[name]) if name in sums else "has no line in"
        if problem:
            raise InputError(f"{folder / name}: {problem} {folder / SUMS} (damaged or edited)")


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _below(name: str, sums: Mapping[str, str]) -> list[str]:
    """The names that have a line: a file's own, or those of all files below a folder."""
    if name in sums:
        return [name]
    start = f"{name}/"
    return [line for line in sums if line.startswith(start)]


def _problem(path: Path, expected: str) -> str | None:
    """What is wrong with a file, up to the name of the sums."""
    try:
        return None if hash_of_file(path) == expected else "does not match its hash in"
    except FileNotFoundError:
        return "is missing, and stands in"
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _by_sums(paths: Iterable[str | Path]) -> dict[Path, list[str]]:
    """The names of what lies in the results, by the folder whose SHA256SUMS has them."""
    found: dict[Path, list[str]] = {}
    for path in paths:
        if place := place_of(path):
            found.setdefault(place[0], []).append(place[1])
    return found


def _update(folder: Path, dropped: Iterable[str], made: Mapping[str, str], *, drop_gone: bool) -> None:
    """Drops the lines of files and folders, and those of files that are gone if so asked, and adds others."""
    try:
        with _locked(folder / SUMS):
            remove_leftovers(folder / SUMS)
            before = read_sums(folder)
            beginnings = tuple(f"{name}/" for name in dropped)
            names = {*dropped}
            kept = {
                name: digest
                for name, digest in before.items()
                if name not in names
                and not name.startswith(beginnings)
                and not (drop_gone and not os.path.lexists(f"{folder}/{name}"))
            }
            after = {**kept, **made}
            if not after:
                (folder / SUMS).unlink(missing_ok=True)
            elif after != before:
                try:
                    _write(folder, after)
                except (OSError, InputError):
                    if not before:  # what the lock has made
                        (folder / SUMS).unlink()
                    raise
    except OSError as error:
        raise InputError(
            f"{folder / SUMS}: cannot be written ({error.strerror}); mend that and run the same command again"
        ) from None


def _write(folder: Path, sums: Mapping[str, str]) -> None:
    lines = []
    for name in sorted(sums):
        escaped = name.replace("\\", "\\\\").replace("\n", "\\n")
        lines.append(f"{chr(92) if escaped != name else ''}{sums[name]}  {escaped}\n")
    remove_leftovers(folder / SUMS)
    with new_file(folder / SUMS) as temporary:
        temporary.write_bytes(os.fsencode("".join(lines)))


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], name)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """In the block no other process changes the file, which is replaced as a whole."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # some network file systems have no locks
            os.close(descriptor)
            with _locked_by_file(path.with_name(f".{path.name}.lock")):
                yield
            return
        with contextlib.suppress(FileNotFoundError):
            # another may have replaced it before the lock was free: then this one guards nothing
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                break
        os.close(descriptor)
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked_by_file(lock: Path) -> Iterator[None]:
    """The same by a file that one process alone can make; one that stays untouched for long is taken away."""
    seen, since = None, time.monotonic()
    while True:
        try:
            os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            break
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                found = lock.stat()
                if seen != (found.st_ino, found.st_mtime_ns):
                    seen, since = (found.st_ino, found.st_mtime_ns), time.monotonic()
                elif time.monotonic() - since > _ABANDONED:
                    lock.unlink()
            time.sleep(0.01)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)

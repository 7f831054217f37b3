"""Whether a folder of results is as the jobs left it: every file against its hash, base models against their records.

damaged    does not match its line in SHA256SUMS, or lies in a folder of which a file is missing
missing    has a line, and its whole output is gone: it is made again when it is asked for
unknown    has no line: not made by a job, made before there were hashes, or by a job that was killed
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arcfold.jobs.checksums import RESULTS, SO_FAR, SUMS, WITHOUT_SUMS, files_of, folders_with_sums, read_sums
from arcfold.jobs.files import InputError, hash_of_file, read_json
from arcfold.models.folder import check_record


@dataclass
class Findings:
    """What is not as the jobs left it."""

    checked: int = 0
    """Files that match."""
    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)
    """Outputs to be made again: files, and folders that are made as a whole."""
    models: list[str] = field(default_factory=list)
    """A line for each base model that is not as its record says."""

    def lines(self) -> list[str]:
        """The findings, a line each, and the command that deletes what is damaged."""
        kinds = {"damaged": self.damaged, "missing": self.missing, "unknown": self.unknown}
        made = [f"{kind}: {path}" for kind, paths in kinds.items() for path in paths]
        made += [f"damaged: {line}" for line in self.models]
        made.append(f"{self.checked} files are as they were made")
        if self.delete:
            made.append(f"delete what is damaged, and ask for your target again: rm -r {shlex.join(self.delete)}")
        return made


def verify(models: Mapping[str, str]) -> Findings:
    """Looks at all of results/ in the current folder.

    models: the folder of each base model of the config by its name; those with a record are looked at
    """
    found = Findings()
    for folder in folders_with_sums():
        _verify_folder(folder, found)
    for name, model in models.items():
        record = Path(RESULTS, "models", f"{name}.json")
        if record.is_file() and str(record) not in found.damaged:
            try:
                check_record(model, read_json(record, "model"))
            except InputError as error:
                found.models.append(str(error))
    return found


def _verify_folder(folder: Path, found: Findings) -> None:
    try:
        sums = read_sums(folder)
    except InputError:
        found.damaged.append(str(folder / SUMS))
        found.delete.append(str(folder / SUMS))
        return
    for name, digest in sums.items():
        path = folder / name
        output = _output(folder, name)
        try:
            whole = hash_of_file(path) == digest
        except FileNotFoundError:
            if not output.exists():
                found.missing.append(str(path))
                continue
            whole = False
        except OSError:  # a disk that cannot read it any more
            whole = False
        if whole:
            found.checked += 1
        else:
            found.damaged.append(str(path))
            if str(output) not in found.delete:
                found.delete.append(str(output))
    unknown = [folder / name for name in _names(folder) if name not in sums]
    found.unknown += [str(path) for path in unknown if path.name not in SO_FAR]


def _names(folder: Path) -> list[str]:
    """The files that a SHA256SUMS has lines of."""
    if folder != Path(RESULTS):
        return files_of(folder)
    elsewhere = ("store", SUMS, *WITHOUT_SUMS)
    tops = sorted(path.name for path in folder.iterdir() if path.name not in elsewhere and path.name[0] != ".")
    return [name for top in tops for name in files_of(folder, top)]


def _output(folder: Path, name: str) -> Path:
    """The output that a file belongs to: itself, or the folder that a job makes as a whole, which Snakemake marks."""
    path = folder / name
    for parent in path.parents:
        if parent == folder:
            return path
        if (parent / ".snakemake_timestamp").exists():
            return parent
    return path

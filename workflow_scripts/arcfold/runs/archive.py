"""A run as one file: results/runs/{run}.zip, which opens anywhere, and whose submission can be scored again there.

    8folds/ro-crate-metadata.json    what is in it, for catalogues (RO-Crate 1.1)
    8folds/README.txt                the same for people
    8folds/run.json                  the run: dataset, folds, seed, model, every setting
    8folds/again.yaml                a config with which `results/score_again.json` scores the submission
    8folds/tasks.json                the tasks, with the outputs of their tests where they are known
    8folds/submission.json, …        the run's own files; adapters/fold-0/… where they were asked for
    8folds/SHA256SUMS                `sha256sum -c` reads it

The bytes depend on the files alone: no times, no owners, names in their order.
"""

from __future__ import annotations

import json
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from arcfold.jobs.checksums import SUMS, files_of
from arcfold.jobs.files import InputError, hash_of_file, new_file, new_folder, one_line

TASKS, SUBMISSION, AGAIN = "tasks.json", "submission.json", "again.yaml"
METADATA = "ro-crate-metadata.json"
LARGEST = 1 << 40
"""Bytes that an archive may have unpacked."""

_TIME = (1980, 1, 1, 0, 0, 0)
"""The first that a zip knows."""
_KINDS = {".json": "application/json", ".html": "text/html", ".yaml": "application/yaml", ".txt": "text/plain"}


def write_archive(path: str | Path, run: Mapping[str, Any], files: Mapping[str, str]) -> None:
    """Writes the archive of a run, whole or not at all.

    run: `Run.to_json()`; files: by name in the archive, the path of a file or of a folder that comes as a whole
    """
    name = run["name"]
    contents: dict[str, bytes | Path] = {}
    for inside, source in files.items():
        for file in files_of(Path(source).parent, Path(source).name):
            contents[f"{inside}{file.removeprefix(Path(source).name)}"] = Path(source).parent / file
    contents["run.json"] = _json(run)
    contents[AGAIN] = _again(name).encode()
    contents["README.txt"] = _readme(run).encode()
    contents[METADATA] = _json(_crate(run, contents))
    contents[SUMS] = "".join(f"{_hash(contents[inside])}  {inside}\n" for inside in sorted(contents)).encode()
    with new_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for inside in sorted(contents):
            entry = zipfile.ZipInfo(f"{name}/{inside}", _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            content = contents[inside]
            with archive.open(entry, "w", force_zip64=True) as opened:
                for block in [content] if isinstance(content, bytes) else _blocks(content):
                    opened.write(block)


def open_archive(path: str | Path, folder: str | Path) -> Path:
    """Unpacks the archive of a run into a new folder of its name, whole or not at all, and gives that.

    Raises InputError for a file that is none, one that is damaged, and one with names that lead elsewhere, links,
    more than its one folder, or another content than its SHA256SUMS says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            name = _checked(path, entries)
            target = Path(folder) / name
            if target.exists():
                raise InputError(f"{target}: is there already, expected a folder without it")
            with new_folder(target) as unpacked:
                for entry in entries:
                    _unpack(archive, entry, unpacked, path)
                _check_sums(unpacked, path)
            return target
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, expected the archive of a run") from None
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{path}: no archive that can be read ({one_line(error, 120)})") from None


def _checked(path: str | Path, entries: list[zipfile.ZipInfo]) -> str:
    """The name of the one folder in an archive."""
    folders = set()
    seen = set()
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if (
            entry.filename != "/".join(parts)  # absolute ones begin with a part "/", folders end with one
            or ".." in parts
            or len(parts) < 2
            or "\\" in entry.filename
            or ":" in entry.filename
        ):
            raise InputError(f"{path}: {entry.filename!r}, expected files in one folder")
        if kind not in (0, stat.S_IFREG) or entry.filename in seen:
            raise InputError(f"{path}: {entry.filename!r} is a link or stands twice, expected plain files")
        seen.add(entry.filename)
        folders.add(parts[0])
    if len(folders) != 1 or f"{min(folders)}/{SUMS}" not in seen:
        raise InputError(f"{path}: no {SUMS} in one folder, expected the archive of a run")
    if sum(entry.file_size for entry in entries) > LARGEST:
        raise InputError(f"{path}: more than {LARGEST} bytes unpacked")
    return min(folders)


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, path: str | Path) -> None:
    target = folder.joinpath(*PurePosixPath(entry.filename).parts[1:])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, open(target, "xb") as file:
            left = entry.file_size
            while block := source.read(1 << 20):
                left -= len(block)
                if left < 0:
                    raise InputError(f"{path}: {entry.filename} is longer than it says")
                file.write(block)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{path}: {entry.filename} is a file and a folder, expected one of them") from None


def _check_sums(folder: Path, path: str | Path) -> None:
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    sums = {line[66:]: line[:64] for line in lines}
    there = set(files_of(folder))
    if there != set(sums):
        odd = min(there ^ set(sums))
        raise InputError(
            f"{path}: {odd} is {'not in' if odd in there else 'only in'} {SUMS}, expected every file there"
        )
    for name, expected in sums.items():
        if hash_of_file(folder / name) != expected:
            raise InputError(f"{path}: {name} does not match its hash in {SUMS} (damaged or edited)")


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def _hash(content: bytes | Path) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else hash_of_file(content)


def _blocks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            yield block


def _again(name: str) -> str:
    return (
        "# snakemake -s …/Snakefile results/score_again.json --configfile "
        f"{name}/{AGAIN}\n# in the folder that {name}/ was unpacked into: the submission is scored again.\n"
        f"datasets:\n  of_the_archive: {{ tasks: {name}/{TASKS} }}\n"
        f"runs:\n  again: {{ submission: {name}/{SUBMISSION}, dataset: of_the_archive }}\n"
    )


def _in_words(run: Mapping[str, Any]) -> str:
    return f"{run['name']}, {run['folds']} folds of {run['dataset']}, seed {run['seed']}, model {run['model']}"


def _readme(run: Mapping[str, Any]) -> str:
    return (
        f"A run of arcfold: {_in_words(run)}.\n\n"
        "run.json has every setting, submission.json the two attempts for each test input, score.json what\n"
        f"they are worth. To score them again, see {AGAIN}. SHA256SUMS is for `sha256sum -c`.\n"
    )


def _crate(run: Mapping[str, Any], contents: Mapping[str, bytes | Path]) -> dict[str, Any]:
    """The metadata of an RO-Crate 1.1 that one run of a workflow made."""
    written, commit = _provenance(contents)
    parts = [name for name in sorted(contents) if name != METADATA]
    size = {name: len(c) if isinstance(c, bytes) else c.stat().st_size for name, c in contents.items()}
    files = [
        {
            "@id": name,
            "@type": "File",
            "contentSize": str(size[name]),
            "encodingFormat": _KINDS.get(PurePosixPath(name).suffix, "application/octet-stream"),
            "name": name,
        }
        for name in parts
    ]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"arcfold run {run['name']}",
        "description": f"Test-time training on ARC: {_in_words(run)}",
        "datePublished": written,
        "license": {"@id": "https://spdx.org/licenses/Apache-2.0"},
        "hasPart": [{"@id": name} for name in parts],
        "mentions": {"@id": "#run"},
    }
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": run["name"],
        "endTime": written,
        "instrument": {"@id": "#arcfold"},
        "object": [{"@id": name} for name in ("run.json", TASKS)],
        "result": [{"@id": name} for name in parts if name not in ("run.json", TASKS, AGAIN, "README.txt", SUMS)],
    }
    about = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }
    program = {"@id": "#arcfold", "@type": "SoftwareApplication", "name": "arcfold", "softwareVersion": commit}
    licence = {
        "@id": "https://spdx.org/licenses/Apache-2.0",
        "@type": "CreativeWork",
        "name": "Apache License 2.0",
    }
    graph = [about, root, *files, action, program, licence]
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}


def _provenance(contents: Mapping[str, bytes | Path]) -> tuple[str, str]:
    """When the last file of a run that says so was written, and by which commit."""
    found = []
    for name, source in contents.items():
        if isinstance(source, Path) and name.endswith(".json"):
            value = json.loads(source.read_text(encoding="utf-8"))
            if isinstance(value, dict) and isinstance(value.get("provenance"), dict):
                found.append(tuple(str(value["provenance"].get(key)) for key in ("written", "git_commit")))
    written, commit = max(found, default=("", ""))
    return written, commit


def main(arguments: list[str]) -> None:
    """Unpacks an archive: open_archive.py ARCHIVE [FOLDER]."""
    if not 1 <= len(arguments) <= 2:
        sys.exit("error: expected the archive of a run, and a folder to unpack it into if it is not this one")
    try:
        print(open_archive(arguments[0], arguments[1] if len(arguments) > 1 else "."))
    except InputError as error:
        sys.exit(f"error: {error}")

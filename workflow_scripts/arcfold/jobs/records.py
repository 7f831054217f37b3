"""What each target was made from, in results/records/, so that a target is what its name says.

Snakemake remembers parameters in `.snakemake`, which is deleted to cure a lock, stays behind when results are copied,
and is not asked under `--rerun-triggers mtime`. A record stays with the results. For example, shortened, that of
results/runs/8folds/submission.json:

    results/records/runs/8folds/submission.json.json
    {"output": "results/runs/8folds/submission.json", "rule": "select_attempts", "code": "0f3c…",
     "params": {"settings": {"method": "product_of_experts"}, "steps": {"rescored": "results/store/rescored/…"}},
     "inputs": {"results/challenges/quick.json": "9ac1…", …}}

It is removed before a job touches its outputs and written when all of them are there. Two questions are asked of it
while the DAG is made: was the target made with these parameters (`is_stale`)? And where a file is newer than what was
made of it, as after a copy or a checkout: has its content changed (`settle`)?
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from arcfold.jobs.files import (
    InputError,
    hash_of_file,
    hash_of_files,
    one_line,
    read_json,
    remove_leftovers,
    write_json,
)
from arcfold.jobs.places import unplaced
from arcfold.jobs.request import plain

RESULTS = Path("results")
RECORDS = RESULTS / "records"
CODE = "code"
"""The parameter with the hash of a rule's code; a rule without one keeps no record."""
_UNRECORDED = ".snakemake"
"""Beginning of the paths of files that are Snakemake's own."""


def record_path(output: str | Path) -> Path | None:
    """Where the record of a target lies; None for one outside of results/."""
    path = Path(output)
    if not path.is_relative_to(RESULTS):
        return None
    relative = path.relative_to(RESULTS)
    return RECORDS / relative.with_name(f"{relative.name}.json")


def drop_records(given: Any) -> None:
    """Forgets what the outputs of a job were made from: they are about to change.

    What an earlier job left half-written when it was killed is removed too.
    """
    for output in given.output:
        remove_leftovers(output)
        if (path := record_path(output)) is not None:
            path.unlink(missing_ok=True)
            remove_leftovers(path)


def write_records(given: Any) -> None:
    """Says of each output of a job what it was made from; given: the object `snakemake` of a script."""
    params = unplaced(plain(given.params))
    if CODE not in params:
        return
    code = params.pop(CODE)
    inputs = {path: hash_of_path(path) for path in paths_of(given.input) if not path.startswith(_UNRECORDED)}
    for output in given.output:
        if (path := record_path(output)) is not None:
            record = {"output": str(output), "rule": given.rule, "code": code, "params": params, "inputs": inputs}
            write_json(path, record, "record")


def read_record(output: str | Path) -> dict[str, Any] | None:
    """The record of a target, None where there is none that can be read."""
    path = record_path(output)
    try:
        record = None if path is None else read_json(path)
    except InputError:
        return None
    return record if isinstance(record, dict) else None


def is_stale(output: str, params: Mapping[str, Any], *, code_counts: bool) -> bool:
    """Whether a target that exists was made with other parameters than these, or nobody knows with which.

    params: those of its rule now, the hash of the code among them; code_counts: whether other code is enough
    """
    if not os.path.lexists(output) or record_path(output) is None:
        return False
    return what_differs(output, params, code_counts=code_counts) is not None


def what_differs(output: str, params: Mapping[str, Any], *, code_counts: bool) -> str | None:
    """In words, what of a target's record is not as it would be now; None where nothing is. See `is_stale`."""
    record = read_record(output)
    if record is None:
        return f"it has no record ({record_path(output)})"
    now = unplaced(json.loads(json.dumps(params)))
    code = now.pop(CODE, None)
    if record.get("params") != now:
        return _first_difference(record.get("params"), now)
    return "it was made by other code" if code_counts and record.get(CODE) != code else None


def _first_difference(made: Any, now: Any, place: str = "") -> str:
    """The first place in two values of JSON that are not equal, and both values there."""
    if isinstance(made, dict) and isinstance(now, dict):
        for key in {**now, **made}:
            if made.get(key) != now.get(key):
                return _first_difference(made.get(key), now.get(key), f"{place}/{key}" if place else key)
    return one_line(f"it has {place} {json.dumps(made)}, and here that is {json.dumps(now)}")


def settle() -> list[str]:
    """Makes times agree with contents, for Snakemake compares times: gives a line for each target that cannot.

    A target that is older than an input whose content is what the target was made from is touched, the first ones
    of the pipeline first.
    """
    told = []
    for record in _in_order(_records()):
        output = record["output"]
        try:
            made = modified(output)
            newer = [path for path in record["inputs"] if modified(path) > made]
            changed = [path for path in newer if hash_of_path(path) != record["inputs"][path]]
            if changed:
                told.append(f"{output}: made from another {changed[0]}, is made again")
            elif newer:
                _touch(output)
        except OSError:  # a file is missing, or results/ cannot be written: Snakemake will say so
            continue
    return told


def modified(path: str) -> float:
    """When Snakemake takes a file or folder to have been made, in seconds."""
    stamp = os.path.join(path, ".snakemake_timestamp")
    return os.lstat(stamp if os.path.isdir(path) and os.path.exists(stamp) else path).st_mtime


def hash_of_path(path: str | Path) -> str:
    """The SHA-256 of a file, or of the names and contents of a folder's files but Snakemake's own."""
    path = Path(path)
    if not path.is_dir():
        return hash_of_file(path)
    names = (str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    return hash_of_files(path, [name for name in names if not Path(name).name.startswith(".snakemake")])


def paths_of(files: Any) -> list[str]:
    """All paths of a job's inputs or outputs; those under one name are a list in the job's file."""
    return [str(path) for item in files for path in ([item] if isinstance(item, str | Path) else item)]


def _records() -> dict[str, dict[str, Any]]:
    """All records by the path of their target."""
    found = {}
    for path in RECORDS.rglob("*.json"):
        with contextlib.suppress(InputError):
            record = read_json(path, "record")
            found[record["output"]] = record
    return found


def _in_order(records: Mapping[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Records, each behind those of its inputs."""
    done: set[str] = set()
    for start in records:
        waiting = [start]
        while waiting:
            output = waiting[-1]
            missing = [path for path in records[output]["inputs"] if path in records and path not in done]
            if output in done or not missing:
                waiting.pop()
                if output not in done:
                    done.add(output)
                    yield records[output]
            else:
                waiting += missing


def _touch(path: str) -> None:
    stamp = os.path.join(path, ".snakemake_timestamp")
    # of a link its own time counts, as in `modified`
    os.utime(stamp if os.path.isdir(path) and os.path.exists(stamp) else path, follow_symlinks=False)

"""Holes: what stands in the place of a fold's file whose job failed for good, under `keep_going`.

A step can only follow when the file that it waits for is there, and one bad fold must not cost the other folds'
answers. So a job of a fold that fails for a reason of its own leaves, where its result would be, a note that says
why, and ends well. For example a training that diverged:

    results/store/adapters/…/fold-3/failed.json     {"failed": {"rule": "train_adapter", "reason": "the loss of …"}}
    results/store/candidates/…/fold-3.json          the same: the search finds the note and hands it on
    results/store/rescored/…/fold-3.json            the same
    results/runs/…/submission.json                  the fold's test inputs are answered by the fallback

No hole is ever taken for a result:

- it fits no schema of a result, and a folder with a hole has no weights;
- when Snakemake ends, well or not, the holes of its jobs are removed from the store (`remove_hole`);
- one that a killed Snakemake left has no record, so the next call makes it again (`records`);
- submission, score and files.json that were made around a hole name it under `failed`. That makes them stale: asked for
  again they try the failed folds, and only those, once more.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from arcfold.jobs.files import InputError, new_folder, write_json

NOTE = "failed.json"
"""The file that stands in a folder which would have been a result."""
KEY = "failed"
OUT_OF_TIME = "out of time"
"""How the reason of a fold begins for which a deadline left no time."""
_BEGINNING = f'{{\n  "{KEY}": '
"""The first characters of a note, as write_json writes it."""


class Hole(InputError):
    """What a job reads is a hole. `failed` has the rule that failed and its reason."""

    def __init__(self, path: str | Path, failed: Mapping[str, str]) -> None:
        super().__init__(f"{path}: not there, since {failed['rule']} failed: {failed['reason']}")
        self.failed = failed


def leave_hole(path: str | Path, rule: str, error: BaseException) -> None:
    """Writes a note of what failed in the place of a result: a file if its name ends with .json, else a folder."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, InputError):
        reason = f"{type(error).__name__}: {reason}"[:300]
    note = {KEY: dict(error.failed) if isinstance(error, Hole) else {"rule": rule, "reason": reason}}
    if str(path).endswith(".json"):
        write_json(path, note, "hole")
    else:
        with new_folder(path) as folder:
            write_json(folder / NOTE, note, "hole")


def read_hole(path: str | Path) -> dict[str, str] | None:
    """`rule` and `reason` of a hole; None for a result, and where nothing is."""
    path = Path(path)
    note = path / NOTE if path.is_dir() else path
    try:
        with note.open(encoding="utf-8") as stream:
            beginning = stream.read(len(_BEGINNING))
            if beginning != _BEGINNING:
                return None
            failed = json.loads(beginning + stream.read())[KEY]
        return {key: str(failed[key]) for key in ("rule", "reason")}
    except (OSError, ValueError, LookupError, TypeError):  # not there, or damaged: whoever reads it says so
        return None


def refuse_holes(*paths: str | Path) -> None:
    """Raises Hole for the first of the paths that is one."""
    for path in paths:
        failed = read_hole(path)
        if failed is not None:
            raise Hole(path, failed)


def remove_hole(path: str | Path) -> None:
    """Removes a path if it is a hole."""
    if read_hole(path) is None:
        return
    path = Path(path)
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def main(rule: str, reason: str, *outputs: str) -> None:
    """For a client whose worker died: it is plain Python without this package."""
    for output in outputs:
        if read_hole(output) is None:  # else the job has said itself why it ends
            leave_hole(output, rule, InputError(reason))


if __name__ == "__main__":
    main(*sys.argv[1:])

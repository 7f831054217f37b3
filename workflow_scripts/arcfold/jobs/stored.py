"""Results in object storage (`--default-storage-provider`), and where Snakemake has their copies.

Of an object `s3://bucket/mine/results/score_8folds.json` Snakemake has a copy in
`.snakemake/storage/s3/bucket/mine/results/score_8folds.json`. Here that folder is a link to the one that is worked in:
so the copy is `results/score_8folds.json`, as without storage, and every path of the workflow leads to it.

    .snakemake/storage/s3/bucket/mine -> ../../../../..

Storage has no hashes of ours beside the results and no records: it looks after its objects itself, and Snakemake after
their parameters.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from arcfold.jobs.checksums import RESULTS, SUMS
from arcfold.jobs.files import InputError
from arcfold.jobs.places import WORKFLOW
from arcfold.jobs.request import Values, plain

COPIES = Path(".snakemake/storage")
"""Where Snakemake has copies of objects."""
REFUSED = {"keep_going": False, "keep_adapters": True, "deadline": None, "budget": None}
"""Keys of the config that need what jobs leave beside their outputs, and their values without effect."""


def check_config(config: Mapping[str, Any]) -> None:
    """Raises InputError for a key of the config that does not go with object storage, and for a folder with results."""
    for key, without in REFUSED.items():
        if config.get(key, without) != without:
            expected = "none" if without is None else json.dumps(without)
            raise InputError(
                f"config: {key}: does not go with object storage (--default-storage-provider), expected {expected}"
            )
    if Path.cwd() != WORKFLOW:  # what jobs get of the sources is what lies in the folder that is worked in
        raise InputError(f"with object storage (--default-storage-provider) work in the workflow's folder, {WORKFLOW}")
    if Path(RESULTS, SUMS).is_file():
        raise InputError(
            f"{RESULTS}/{SUMS}: results that were made without object storage; "
            "work in another folder, or without --default-storage-provider"
        )


def sources(config: Mapping[str, Any]) -> list[str]:
    """Files that a job reads before its inputs are there, and that Snakemake does not know to be sources."""
    named = [entry.get(key) for entry in config["datasets"].values() for key in ("tasks", "challenges", "solutions")]
    files = [Path(path) for path in named if path] + sorted(Path("schemas").glob("*.json"))
    return [str(path) for path in files if path.is_file() and not path.is_absolute()]


def lay(copy: str | Path) -> None:
    """Makes the folder that Snakemake would copy the storage's prefix into a link to the one that is worked in."""
    folder = Path(copy)
    if folder.is_symlink():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(os.path.relpath(Path.cwd(), folder.parent.resolve()))
    except FileExistsError:
        if not folder.is_symlink():  # a process beside this one has been faster
            raise InputError(f"{folder}: copies of objects, delete it and run the same command again") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from None


def path_here(path: str) -> str:
    """The path of a copy as the workflow has it; any other path as it is."""
    if not Path(path).is_relative_to(COPIES):
        return path
    for folder in reversed(Path(path).parents):
        if folder.is_relative_to(COPIES) and folder.is_symlink():
            return str(Path(path).relative_to(folder))
    return path


def is_stored(paths: Iterable[str]) -> bool:
    return any(path_here(path) != path for path in paths)


def paths_here(files: Any) -> Values:
    """A job's inputs, outputs or logs, each path as the workflow has it."""
    content = plain(files)
    if isinstance(content, Mapping):
        return Values({name: _here(item) for name, item in content.items()})
    return Values([_here(item) for item in content])


def _here(item: Any) -> Any:
    return [_here(each) for each in item] if isinstance(item, list) else path_here(item)

"""A run's folder: links to the files in the store that are the run's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from arcfold.jobs.checksums import followed
from arcfold.jobs.records import hash_of_path


def link_all(folder: Path, targets: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Makes the links and says what each leads to: by path in the folder, `store` (a path) and `sha256`.

    targets: by path in the folder, the path of the file or folder that it stands for; of a link what that leads to

    A link is replaced at once, so that a reader finds the old one or the new one. The hash of a folder is that
    of the names and contents of its files. Links that lead nowhere, of a run that had more folds, are removed.
    """
    made = {}
    for name, path in targets.items():
        target = str(followed(path))
        link(folder / name, target)
        made[name] = {"store": target, "sha256": hash_of_path(target)}
    for kept in {Path(name).parent for name in targets} - {Path(".")}:
        for there in (folder / kept).iterdir():
            if there.is_symlink() and str(kept / there.name) not in targets:
                there.unlink()
    return made


def link(path: Path, target: str) -> None:
    """Makes a link to a target, or leaves one that leads there as it is."""
    lead = os.path.relpath(target, path.parent)
    if path.is_symlink() and os.readlink(path) == lead:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # the name of one that was killed here is the same
    temporary = path.with_name(f".{path.name}.link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(lead)
    os.replace(temporary, path)

"""What of the store no run of a config needs: folders of settings that it does not have, and what killed jobs left."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arcfold.jobs.files import InputError
from arcfold.jobs.records import RECORDS, RESULTS
from arcfold.runs.runs import STAGES, check_dataset, settings_by_key

STORE = Path("results/store")
_CHECKPOINTS = re.compile(r"\.(.+)-[0-9a-f]{12}")


def unneeded(config: Mapping[str, Any]) -> list[str]:
    """The folders and files below results/store that no run of the config needs, in the current folder.

    Whatever datasets, numbers of folds and seeds there are is kept, for any run can be asked for with them; what
    goes is of settings that no entry of the config leads to, and of datasets that it does not know. So do
    checkpoints of a training that is done, and what a killed job was about to write.
    """
    needed = {stage: settings_by_key(config, stage).keys() for stage in STAGES}
    found = []
    for folder in sorted(STORE.glob("*/*/*/*")):
        stage, dataset, _, key = folder.relative_to(STORE).parts
        if key in needed.get(stage, ()) and _is_dataset(config, dataset):
            found += [path for path in sorted(folder.glob(".*")) if _is_left_over(path)]
        else:
            found.append(folder)
    return [str(path) for path in found]


def size_of(path: str) -> int:
    """Bytes of a file, or of all files of a folder."""
    if not os.path.isdir(path):
        return os.lstat(path).st_size
    return sum(os.lstat(os.path.join(here, name)).st_size for here, _, names in os.walk(path) for name in names)


def delete(path: str) -> None:
    """Deletes what `unneeded` named with the records of it, and the folders above that are empty then."""
    records = RECORDS / Path(path).relative_to(RESULTS)
    for each, top in ((Path(path), STORE), (records, RECORDS)):
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for parent in list(each.parents)[: list(each.parents).index(top)]:
                parent.rmdir()


def _is_dataset(config: Mapping[str, Any], name: str) -> bool:
    try:
        check_dataset(config, name)
    except InputError:
        return False
    return True


def _is_left_over(path: Path) -> bool:
    """Whether a hidden file or folder is not the checkpoints of a training that is still to be done."""
    checkpoints = _CHECKPOINTS.fullmatch(path.name)
    return checkpoints is None or (path.parent / checkpoints[1]).exists()

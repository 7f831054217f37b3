"""What of the store no run of a config needs: folders of settings that it does not have, and what killed jobs left."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from arcfold.jobs.files import InputError, read_json
from arcfold.jobs.records import RECORDS, RESULTS
from arcfold.runs.ensembles import OWN_STAGES, resolve
from arcfold.runs.runs import STAGES, check_dataset, settings_by_key
from arcfold.runs.studies import resolve_study

STORE = Path("results/store")
_CHECKPOINTS = re.compile(r"\.(.+)-[0-9a-f]{12}")


def unneeded(config: Mapping[str, Any], count_tasks: Callable[[str], int]) -> list[str]:
    """The folders and files below results/store that no run of the config needs, in the current folder.

    Whatever datasets, numbers of folds and seeds there are is kept, for any run can be asked for with them; what
    goes is of settings that no entry of the config, no study and no run that has results leads to, and of datasets that
    the config does not know. So do checkpoints of a training that is done, and what a killed job was about to write.
    """
    of_names = _keys_of(config, [*_names_of_studies(config), *_names_with_results()], count_tasks) | _keys_of_cuts()
    needed = {stage: settings_by_key(config, stage).keys() | of_names for stage in STAGES}
    needed |= dict.fromkeys(OWN_STAGES, of_names)
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


def _names_of_studies(config: Mapping[str, Any]) -> list[str]:
    """One run of each configuration of each study, whose other seeds have the same settings."""
    studies = [resolve_study(config, name) for name in config.get("studies", {})]
    return [each.runs[0] for study in studies for each in study.configurations]


def _names_with_results() -> list[str]:
    """The runs of which there is a score or a folder."""
    scores = [path.name.removeprefix("score_").removesuffix(".json") for path in RESULTS.glob("score_*.json")]
    return [*scores, *(path.name for path in (RESULTS / "runs").glob("*"))]


def _keys_of(config: Mapping[str, Any], names: Iterable[str], count_tasks: Callable[[str], int]) -> set[str]:
    """The folder names in the store of all steps of some runs; of what is no run there are none."""
    keys: set[str] = set()
    for name in dict.fromkeys(names):
        with contextlib.suppress(InputError):
            keys |= resolve(config, name, count_tasks).keyed().keys()
    return keys


def _keys_of_cuts() -> set[str]:
    """The folder names in the store of what runs under a deadline are made of, whatever settings gave way."""
    keys: set[str] = set()
    for path in (RESULTS / "runs").glob("*/budget.json"):
        with contextlib.suppress(InputError):
            folds = read_json(path, "budget")["folds"].values()
            keys |= {Path(of["store"]).name for fold in folds for of in fold["steps"].values() if "store" in of}
    return keys


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

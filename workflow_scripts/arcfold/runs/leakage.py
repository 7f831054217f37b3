"""Leakage: whether what a run starts from has seen the tasks that the run is scored on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arcfold.arc.datasets import dataset_identity, load_dataset
from arcfold.arc.tasks import Task
from arcfold.jobs.files import InputError, hash_of, shortened
from arcfold.jobs.known import is_texts_by_text, known
from arcfold.jobs.sources import hash_of_code
from arcfold.runs.runs import LARGEST_RANK, Run, check_dataset

PRETRAINED = re.compile(r"(?P<subset>[A-Za-z0-9_]+)_r(?P<rank>[1-9][0-9]*)")
"""Name of a pretrained adapter: the dataset or subset that it was trained on, and its rank."""


def subset_of_adapter(config: Mapping[str, Any], name: str) -> tuple[str, int]:
    """Dataset and rank of a pretrained adapter's name. Raises InputError for a name of another form."""
    match = PRETRAINED.fullmatch(name)
    if match is None:
        raise InputError(f"adapter {shortened(name)}: expected {{subset}}_r{{rank}}, as in arc2_new_training_r8")
    if len(match["rank"]) > 9 or int(match["rank"]) > LARGEST_RANK:
        raise InputError(f"adapter {shortened(name)}: expected a rank of 1 to {LARGEST_RANK}")
    check_dataset(config, match["subset"])
    return match["subset"], int(match["rank"])


def datasets_seen(config: Mapping[str, Any], run: Run) -> dict[str, list[str]]:
    """What a run starts from (base model, pretrained adapter), each with the datasets that it has seen."""
    seen = {run.model: list(config["models"][run.model].get("seen", []))}
    init = run.settings["training"].get("init")
    if init is not None:
        seen[init] = [subset_of_adapter(config, init)[0]]
    return {name: datasets for name, datasets in seen.items() if datasets}


def leaks(config: Mapping[str, Any], run: Run, cache: str | Path | None = None) -> list[dict[str, Any]]:
    """Each base model or adapter of the run that has seen tasks it is scored on: `by`, `datasets`, `tasks`, `same_as`.

    A task counts as seen when its id, or one of its pairs in whatever symmetry and colouring, stands in a
    dataset that was trained on; a pretraining takes every pair whose output is known, test pairs too.
    `same_as` has for each of `tasks` the ids of the tasks that it was found in.

    cache: a folder for what was found, named by all that it depends on, so that the next look is a quick one
    """
    found = []
    for name, seen in datasets_seen(config, run).items():
        known = _cached(cache, config, run.dataset, seen)
        if known:
            found.append({"by": name, "datasets": seen, "tasks": list(known), "same_as": known})
    return found


def seen_tasks(scored: Sequence[Task], seen: Sequence[Task]) -> dict[str, list[str]]:
    """The scored tasks that are among the seen ones, each with the ids of those it has a pair, or its id, in common."""
    from arcfold.pretraining.corpus_leaks import canonical_form, examples_of, signature

    ids = {task.id for task in seen}
    signatures = [{signature(example) for task in tasks for example in examples_of(task)} for tasks in (scored, seen)]
    shared = signatures[0] & signatures[1]  # nearly empty: a canonical form takes far longer than a signature

    def forms(task: Task) -> set[bytes]:
        return {canonical_form(example) for example in examples_of(task) if signature(example) in shared}

    owners: dict[bytes, set[str]] = {}
    for task in seen:
        for form in forms(task):
            owners.setdefault(form, set()).add(task.id)
    found = {}
    for task in scored:
        same = {owner for form in forms(task) for owner in owners.get(form, ())} | ({task.id} & ids)
        if same:
            found[task.id] = sorted(same)
    return found


def _cached(
    cache: str | Path | None, config: Mapping[str, Any], scored: str, seen: Sequence[str]
) -> dict[str, list[str]]:
    def look() -> dict[str, list[str]]:
        tasks = [task for dataset in seen for task in load_dataset(config, dataset)]
        return seen_tasks(load_dataset(config, scored), tasks)

    if cache is None:
        return look()
    # when two tasks are the same is this module's affair
    code = hash_of_code(__file__, Path(cache) / "code.json")
    parts = [dataset_identity(config, name, solved=True) for name in (scored, *seen)]
    path = Path(cache) / f"{hash_of([code, *parts], 24)}.json"
    return known(path, look, is_texts_by_text)


def check_leaks(found: Sequence[Mapping[str, Any]], allowed: Mapping[str, Any], run: str) -> None:
    """Raises InputError for tasks that a base model or adapter has seen and that the config does not allow.

    allowed: the config's allow_seen, for each name "all" or a list of task ids
    """
    for name, said in _refused(found, allowed):
        raise InputError(f"run {run}: {said}; to run it all the same, set allow_seen: {{{name}: all}} in the config")


def warnings_of_leaks(found: Sequence[Mapping[str, Any]], allowed: Mapping[str, Any], run: str) -> list[str]:
    """What `check_leaks` would refuse, as lines for a run that has no score which a leak could inflate.

    A contest's test file holds tasks of the training set before the hidden ones take their place.
    """
    return [
        f"warning: run {run}: {said}; its tasks have no solutions, so there is no score that this could inflate"
        for _, said in _refused(found, allowed)
    ]


def is_scored(config: Mapping[str, Any], run: Run) -> bool:
    """Whether the outputs of all tasks of a run are known, so that it can have a score."""
    return all(task.has_solutions for task in load_dataset(config, run.dataset))


def _refused(found: Sequence[Mapping[str, Any]], allowed: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What has seen tasks that the config does not allow: its name, and a sentence."""
    for leak in found:
        name = leak["by"]
        known = allowed.get(name, [])
        refused = [] if known == "all" else [task for task in leak["tasks"] if task not in known]
        if refused:
            said = f"{name} was trained on {len(refused)} of its tasks ({_list(leak, refused[:3])})"
            yield name, said


def _list(leak: Mapping[str, Any], tasks: Sequence[str]) -> str:
    """The ids, with the task that was trained on where that has another one."""
    same = leak["same_as"]
    return ", ".join(task if task in same[task] else f"{task}, the same as {same[task][0]}" for task in tasks)

"""Folds: which tasks share one adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from arcfold.arc.views import generator
from arcfold.jobs.files import InputError, one_line, read_json

SPLITS = ("balanced", "random")


def make_folds(lengths: Mapping[str, int], n: int, seed: int, split: str) -> list[list[str]]:
    """A partition of the tasks into `n` folds whose sizes differ by at most one.

    lengths: the prompt tokens of each task id
    split: "random" deals shuffled tasks one by one. "balanced", the default of the config, sorts them
        by length first and shuffles only each group of `n` neighbours before it deals them, one to a
        fold: the folds' tokens then differ by at most the longest task's, so that jobs which run side
        by side end together, and the seed still draws another partition.

    Raises InputError unless 1 <= n <= the number of tasks.
    """
    if not 1 <= n <= len(lengths):
        raise InputError(f"folds: {n} folds of {len(lengths)} tasks, expected 1 to {len(lengths)}")
    draws = generator(seed, "", f"folds {split} {n}")
    ids = sorted(lengths)
    if split == "random":
        draws.shuffle(ids)
    else:
        ids.sort(key=lambda task_id: (-lengths[task_id], task_id))
    folds: list[list[str]] = [[] for _ in range(n)]
    for start in range(0, len(ids), n):
        group = ids[start : start + n]
        # a last, smaller group goes to folds drawn like any other
        for fold, task_id in zip(draws.sample(range(n), len(group)), group, strict=True):
            folds[fold].append(task_id)
    return [sorted(fold) for fold in folds]


def read_folds(path: str | Path) -> list[list[str]]:
    """The ids of each fold. Raises InputError for a file that is none, and for a task that stands in two folds."""
    folds: list[list[str]] = read_json(path, "folds")["folds"]
    seen: set[str] = set()
    for number, fold in enumerate(folds):
        for task_id in fold:
            if task_id in seen:
                raise InputError(f"{path}: fold {number}: task {one_line(task_id, 100)} stands twice, expected it once")
            seen.add(task_id)
    return folds


def read_fold(path: str | Path, fold: int) -> list[str]:
    """The ids of one fold. Raises InputError as read_folds does, and for a fold that there is none of."""
    folds = read_folds(path)
    if fold >= len(folds):
        raise InputError(f"{path}: {len(folds)} folds, expected one of number {fold}")
    return folds[fold]


def check_partition(folds: Sequence[Sequence[str]], ids: Sequence[str], where: str) -> None:
    """Raises InputError unless every id stands in exactly one fold and the sizes differ by at most one."""
    dealt = [task_id for fold in folds for task_id in fold]
    if sorted(dealt) != sorted(ids):
        odd = sorted(set(dealt) ^ set(ids)) or sorted({task_id for task_id in dealt if dealt.count(task_id) > 1})
        raise InputError(f"{where}: task {odd[0]} is not in exactly one fold, expected a partition of the tasks")
    sizes = {len(fold) for fold in folds}
    if max(sizes) - min(sizes) > 1:
        raise InputError(
            f"{where}: folds of {min(sizes)} to {max(sizes)} tasks, expected sizes that differ by at most one"
        )

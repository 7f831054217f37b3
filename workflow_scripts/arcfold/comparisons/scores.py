"""Score files, read back: what a comparison needs of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arcfold.jobs.files import InputError, check_schema, read_json
from arcfold.runs.versions import check_comparable


def read_score(path: str | Path) -> dict[str, Any]:
    """The content of a score file. Raises InputError for a file that is none, or does not say how it was made."""
    score: dict[str, Any] = read_json(path, "score")
    check_schema(score["provenance"], "score_provenance", f"{path}: provenance")
    return score


def check_same_tasks(scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises InputError for scores of different data or scorers, and for a file whose tasks are not those it names.

    scores: by file
    """
    check_comparable(scores)
    (first, reference), *others = scores.items()
    expected = {task_id: len(task["outputs"]) for task_id, task in reference["tasks"].items()}
    for file, score in others:
        if {task_id: len(task["outputs"]) for task_id, task in score["tasks"].items()} != expected:
            raise InputError(f"{file}: other tasks than in {first}, and both name the same data (damaged or edited?)")

"""What the steps of a run left on record, fold by fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arcfold.jobs.files import read_json
from arcfold.jobs.holes import read_hole
from arcfold.jobs.provenance import read_provenance


def report_of(adapter: str) -> str:
    """The report of an adapter's training: in its folder, or all that is left of one that did not stay."""
    return adapter if adapter.endswith(".json") else f"{adapter}/training.json"


def provenance_of_steps(
    adapters: Sequence[str], candidates: Sequence[str], rescored: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """The provenance of each step's files, by the step's rule; holes have none."""
    records = {
        "train_adapter": {adapter: report_of(adapter) for adapter in adapters},
        "search_candidates": {path: path for path in candidates},
        "rescore_candidates": {path: path for path in rescored},
    }
    return {
        step: [read_provenance(record) for path, record in paths.items() if read_hole(path) is None]
        for step, paths in records.items()
    }


def trainings_of(run: Mapping[str, Any], adapters: Sequence[str]) -> list[dict[str, Any]]:
    """First and last loss and number of tokens of each fold's training; no loss where there was no step.

    run: as `to_json` gives it; adapters: of its folds, or of those of each member of an ensemble in turn
    """
    if "ensemble" not in run:
        return [_training_of(fold, adapter) for fold, adapter in enumerate(adapters)]
    rest = iter(adapters)
    return [
        _training_of(fold, next(rest)) | {"run": member["name"]}
        for member in run["ensemble"]
        for fold in range(member["folds"])
    ]


def _training_of(fold: int, adapter: str) -> dict[str, Any]:
    report = None if read_hole(adapter) is not None else read_json(report_of(adapter), "training")
    losses, tokens = (report["losses"], report["tokens"]) if report is not None else ([], 0)
    first, last = (losses[0], losses[-1]) if losses else (None, None)
    return {"fold": fold, "first_loss": first, "last_loss": last, "tokens": tokens}

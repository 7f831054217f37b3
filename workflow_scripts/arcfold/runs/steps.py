"""What the steps of a run left on record, fold by fold."""

from __future__ import annotations

from collections.abc import Sequence
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


def losses_of_folds(adapters: Sequence[str]) -> list[dict[str, Any]]:
    """First and last loss of each fold's training; None where there was no step, or no training."""
    made = []
    for fold, adapter in enumerate(adapters):
        losses = [] if read_hole(adapter) is not None else read_json(report_of(adapter), "training")["losses"]
        first, last = (losses[0], losses[-1]) if losses else (None, None)
        made.append({"fold": fold, "first_loss": first, "last_loss": last})
    return made

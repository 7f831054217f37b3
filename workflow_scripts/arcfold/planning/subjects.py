"""What a plan is about, from what a job is given: a run, its folds' tasks, the record and config.json of its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arcfold.arc.tasks import Task
from arcfold.models.base import codec_of
from arcfold.models.folder import read_config
from arcfold.models.sizes import ModelSize
from arcfold.planning.plan import Subject
from arcfold.runs.leakage import PRETRAINED


def subject_of(
    run: Mapping[str, Any],
    folds: Sequence[Sequence[Task]],
    record: Mapping[str, Any],
    folder: str | Path,
    loading: Mapping[str, str],
    keep_adapters: bool = True,
) -> Subject:
    """The subject of a run (as `Run.to_json` gives it); record, folder, loading: of its base model."""
    settings = {**run["settings"], "training": dict(run["settings"]["training"])}
    pretrained = PRETRAINED.fullmatch(settings["training"].get("init") or "")
    if pretrained:  # an adapter to go on from has a rank of its own
        settings["training"]["rank"] = int(pretrained["rank"])
    return Subject(
        run["name"],
        run["seed"],
        folds,
        settings,
        record["name"],
        codec_of(record),
        ModelSize.of(read_config(folder)),
        loading.get("quantization", "none"),
        keep_adapters,
    )


def present_bytes(adapters: str | Path) -> int:
    """Bytes of the adapters that a run has already. adapters: their folder in the store"""
    return sum(path.stat().st_size for path in Path(adapters).glob("fold-*/*.safetensors"))

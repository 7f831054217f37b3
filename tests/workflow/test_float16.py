"""Whole runs that compute in float16, by each backend, to a score."""

from __future__ import annotations

from pathlib import Path

import pytest
from environments import needs_gpu, needs_trl_on_a_cpu
from tiny_workflow import Workflow, copied

BIGRAM = {"bigram": {"path": "models/bigram", "format": "embedded", "dtype": "float16"}}


def scored(workflow: Workflow, *backends: str, gpus: int) -> None:
    """One run for each backend, of the smallest task alone, in one call."""
    runs = {name: {"folds": "per_task", "settings": {"training": {"backend": name}}} for name in backends}
    targets = [f"results/score_{name}.json" for name in backends]
    call = workflow(*targets, "--resources", f"gpu={gpus}", models=BIGRAM, runs=runs, run=backends[0], dataset="one")
    assert call.status == 0, call.said
    for name in backends:
        score = workflow.read(f"results/score_{name}.json")
        assert score["complete"]
        assert 0 <= score["score"] <= score["oracle"] <= 100
        devices = score["provenance"]["devices_of_folds"].values()
        assert {device["kind"] for of_step in devices for device in of_step} == {"cuda" if gpus else "cpu"}
        (report,) = workflow.path(f"results/runs/{name}/adapters").glob("*/training.json")
        made = workflow.read(str(report.relative_to(workflow.folder)))
        assert made["backend"] == name
        assert made["number_type"] == "float16"
        assert made["losses"]
        assert not any("skipped" in note or "nothing" in note for note in made["notes"])


@pytest.mark.parametrize("backends", [pytest.param(("packed", "trl"), marks=(needs_trl_on_a_cpu, pytest.mark.slow))])
def test_on_a_cpu(fresh: Workflow, backends: tuple[str, ...]) -> None:
    scored(fresh, *backends, gpus=0)


@needs_gpu
def test_on_a_gpu(blank: Workflow, tmp_path: Path) -> None:
    scored(Workflow(copied(blank, tmp_path).folder, devices="0"), "packed", "trl", gpus=1)

"""A run that goes elsewhere as one file."""

from __future__ import annotations

from pathlib import Path

import pytest
from shipped import ROOT
from tiny_workflow import Workflow

from arcfold.runs.archive import open_archive


@pytest.mark.slow
def test_it_opens_elsewhere_and_its_submission_has_the_same_score_there(done: Workflow, tmp_path: Path) -> None:
    opened = open_archive(done.path("results/runs/tiny-with-adapters.zip"), tmp_path)
    assert opened == tmp_path / "tiny"
    for name in ("submission.json", "fallbacks.json", "folds.json"):
        assert (opened / name).read_bytes() == done.path(f"results/runs/tiny/{name}").read_bytes()
    assert (opened / "tasks.json").read_bytes() == done.path("results/tasks/mine.json").read_bytes()
    weights = "adapters/fold-1/adapter_model.safetensors"
    assert (opened / weights).read_bytes() == done.path(f"results/runs/tiny/{weights}").read_bytes()
    elsewhere = Workflow(tmp_path)
    command, environment = elsewhere.command("results/score_again.json", "-s", str(ROOT / "Snakefile"))
    ended = elsewhere.run([*command[: command.index("--configfile") + 1], "tiny/again.yaml"], environment)
    assert ended.status == 0, ended.said
    there, before = elsewhere.read("results/score_again.json"), done.read("results/score_tiny.json")
    assert there["score"] == before["score"]
    correct = [
        {task: [output["correct"] for output in entry["outputs"]] for task, entry in score["tasks"].items()}
        for score in (there, before)
    ]
    assert correct[0] == correct[1]

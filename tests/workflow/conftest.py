"""A tiny workflow before and after one full run, and copies of both."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from made_models import bigram_model
from shipped import ROOT
from tiny_workflow import CONFIG, PARTS, STUDIES, TASKS, Workflow, copied, without_outputs


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A tiny workflow in which nothing has run."""
    folder = tmp_path_factory.mktemp("workflow") / "clone"
    folder.mkdir()
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    workflow = Workflow(folder)
    bigram_model(folder / "models" / "bigram")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    workflow.write("mine.json", TASKS)
    workflow.write("hidden.json", {"second": without_outputs(TASKS["second"])})
    workflow.write("challenges.json", {name: without_outputs(task) for name, task in TASKS.items()})
    workflow.write("solutions.json", {name: [pair["output"] for pair in task["test"]] for name, task in TASKS.items()})
    return workflow


@pytest.fixture(scope="session")
def done(blank: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The workflow after the one full run that the tests share: look, don't touch."""
    workflow = copied(blank, tmp_path_factory.mktemp("done"))
    call = workflow(*workflow.TARGETS)
    assert call.status == 0, call.said
    return workflow


@pytest.fixture(scope="session")
def studied(done: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The workflow after the study `mine` of STUDIES, with an ensemble in it: look, don't touch."""
    workflow = copied(done, tmp_path_factory.mktemp("studied"))
    shutil.copy(workflow.path("results/runs/tiny/submission.json"), workflow.path("theirs.json"))
    call = workflow("results/compare_mine.json", **STUDIES)
    assert call.status == 0, call.said
    # Seed 0 of the base was there. Each adapter is trained once, whoever needs it: those of tiny-seed1 and, of one fold
    # each, those of the ensembles' other members.
    assert call.jobs["train_adapter"] == 2 + 2
    assert call.jobs["search_candidates"] == call.jobs["rescore_candidates"] == 6 + 2
    assert call.jobs["rescore_others"] == call.jobs["gather_others"] == 2 * (2 + 1)
    assert (call.jobs["join_scores"], call.jobs["score_run"], call.jobs["score_submission"]) == (4, 6, 1)
    return workflow


@pytest.fixture
def copy(done: Workflow, tmp_path: Path) -> Workflow:
    """The workflow after the full run, for one test to change."""
    return copied(done, tmp_path)


@pytest.fixture
def fresh(blank: Workflow, tmp_path: Path) -> Workflow:
    """A workflow in which nothing has run, for one test to change."""
    return copied(blank, tmp_path)

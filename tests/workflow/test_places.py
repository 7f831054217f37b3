"""Folders with odd names, of other users, read-only: everything works there, or a line says what does not."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from faults import SCORE, unprivileged
from shipped import ROOT
from tiny_workflow import Call, Workflow, copied, refused


def call(workflow: Workflow, *arguments: str, environment: dict[str, str] | None = None, **config: Any) -> Call:
    """Calls snakemake as a user who must obey permissions."""
    command, given = workflow.command(*arguments, **config)
    return workflow.run([*unprivileged(), *command], given | (environment or {}))


def unwritable(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)


@pytest.fixture
def locked_home(tmp_path: Path) -> str:
    (tmp_path / "home").mkdir(mode=0o555)
    return str(tmp_path / "home")


def test_everything_works_in_a_folder_whose_name_means_something_to_others(
    blank: Workflow, done: Workflow, tmp_path: Path, locked_home: str
) -> None:
    """Wildcards, quotes and variables of the shell, and without a home that can be written."""
    workflow = copied(blank, tmp_path / '{x}y{{z it\'s "quoted" $HOME %d')
    # what docs/troubleshooting.md has against a home that cannot be written
    environment = {"HOME": locked_home, "XDG_CACHE_HOME": str(workflow.path(".snakemake/cache"))}
    ended = call(workflow, SCORE, "results/runs/tiny/folds.json", environment=environment)
    assert ended.status == 0, ended.said
    made, expected = workflow.contents(), done.contents()
    assert made == {name: expected[name] for name in made}
    assert len(made) > 15


def test_what_is_up_to_date_needs_no_write_and_what_is_not_is_one_line(copy: Workflow) -> None:
    unwritable(copy.path("results"))
    assert "Nothing to be done" in call(copy, SCORE).said
    assert "Nothing to be done" in call(copy, SCORE, "--dry-run").said
    words = ("cannot be written (Permission denied, it is ", "expected a folder that this user may write to")
    refused(call(copy, SCORE, seed=5), "error: results", *words)
    refused(call(copy, "results/runs/hidden_1folds-seed3/submission.json"), "error: results/", *words)


def test_another_users_snakemake_folder_is_one_line(copy: Workflow) -> None:
    shutil.rmtree(copy.path(".snakemake/metadata"))
    copy.path(".snakemake/metadata").mkdir(mode=0o555)
    owner = copy.path("results").owner()
    if os.geteuid() == 0:
        os.chown(copy.path(".snakemake/metadata"), 65534, 65534)
        owner = copy.path(".snakemake/metadata").owner()
    words = (f".snakemake/metadata: cannot be written (Permission denied, it is {owner}'s)", "results/ may be copied")
    for arguments in ([SCORE], [SCORE, "--dry-run"]):
        refused(call(copy, *arguments), *words)


def test_a_clone_that_cannot_be_written_is_one_line(fresh: Workflow) -> None:
    command, environment = fresh.command(SCORE, "--dry-run")
    shutil.rmtree(fresh.path(".snakemake"), ignore_errors=True)
    fresh.folder.chmod(0o555)
    ended = fresh.run([*unprivileged(), *command], environment)
    fresh.folder.chmod(0o755)
    refused(ended, "error: .snakemake: cannot be written")


def test_make_works_without_a_home_that_can_be_written(blank: Workflow, tmp_path: Path, locked_home: str) -> None:
    workflow = copied(blank, tmp_path / 'it\'s {here} "$HOME"')
    shutil.copy(ROOT / "Makefile", workflow.folder)
    # an environment that is there already
    workflow.path(".venv").mkdir()
    workflow.path(".venv/bin").symlink_to(Path(sys.executable).parent)
    known = workflow.run(["make", "--print-data-base", "--dry-run", "help"], os.environ).said
    workflow.path(re.search(r"^READY := (\S+)$", known, re.M)[1]).touch()
    command = ["make", SCORE, "ARGS=--configfile tiny.yaml --dry-run"]
    without = {key: value for key, value in os.environ.items() if key != "XDG_CACHE_HOME"}
    ended = workflow.run([*unprivileged(), *command], without | {"HOME": locked_home})
    assert ended.status == 0, ended.said
    assert ended.jobs["score_run"] == 1


@pytest.mark.slow
def test_a_workflow_that_lies_elsewhere_and_cannot_be_written_makes_the_same_bytes(
    blank: Workflow, done: Workflow, tmp_path: Path
) -> None:
    """The tasks and the model lie beside the Snakefile; results, caches and locks where the user works."""
    elsewhere, here = copied(blank, tmp_path / "elsewhere"), Workflow(tmp_path / "here")
    here.folder.mkdir()
    # what lies over the defaults where the user works, without being asked for
    here.path("config.yaml").write_text("runs: { mine: { folds: 2 } }\n")
    for name in ("tiny.yaml", "mine.json"):
        shutil.copy(elsewhere.path(name), here.folder)
    elsewhere.path("mine.json").write_text("not read, for there is one here")
    unwritable(elsewhere.folder)
    before = sorted(elsewhere.folder.rglob("*"))
    place = ("-s", str(elsewhere.path("Snakefile")), "--directory", str(here.folder))
    ended = call(here, SCORE, *place)
    assert ended.status == 0, ended.said
    assert sorted(elsewhere.folder.rglob("*")) == before
    made, expected = here.contents(), done.contents()
    records = [name for name in made if name.startswith("results/records/")]
    assert len(records) > 5
    for name in records:
        # inputs are named as they were read
        made[name] = made[name].replace(f"{elsewhere.folder}/", "")
    assert made == {name: expected[name] for name in made}
    assert "Nothing to be done" in call(here, SCORE, *place).said
    assert call(here, "results/runs/mine/folds.json", "-n", *place).jobs == {"link_folds": 1}
    refused(
        call(here, "results/score_lost_1folds.json", *place, datasets={"lost": {"tasks": "lost.json"}}),
        f"datasets/lost/tasks: lost.json: no such file, neither in {here.folder} nor in {elsewhere.folder}",
    )
    # a copy of the results is up to date, also with a workflow that lies in a third place
    shutil.copytree(here.folder / "results", tmp_path / "copy/results", symlinks=True)
    moved = Workflow(tmp_path / "copy")
    for name in ("tiny.yaml", "mine.json"):
        shutil.copy(here.path(name), moved.folder)
    second = copied(blank, tmp_path / "another")
    ended = call(moved, SCORE, "-n", "-s", str(second.path("Snakefile")), "--directory", str(moved.folder))
    assert "Nothing to be done" in ended.said, ended.said

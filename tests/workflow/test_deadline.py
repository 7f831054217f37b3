"""A run under a deadline: what is there is taken, what was cut has files of its own, and a budget is replayed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults import kill_of, left_behind, request_of, strike
from processes import until
from tiny_workflow import Workflow, copied, refused

from arcfold.arc.tasks import read_tasks
from arcfold.jobs.files import check_schema, without_provenance
from arcfold.runs.predictions import read_submission

SCORE = "results/score_tiny.json"
RUN = "results/runs/tiny"


def stored(workflow: Workflow) -> dict[str, bytes]:
    """The files of the store but Snakemake's times."""
    found = workflow.path("results/store").rglob("*.json")
    return {str(path.relative_to(workflow.folder)): path.read_bytes() for path in found}


class Watched:
    """A call whose submission so far is looked at all the time, with every content that it has had."""

    def __init__(self, workflow: Workflow, seen: list[bytes] | None = None) -> None:
        self.workflow, self.seen = workflow, [] if seen is None else seen

    def __call__(
        self, *arguments: str, then: Callable[[subprocess.Popen[bytes]], Any] | None = None, **config: Any
    ) -> int:
        """Calls snakemake, and `then` once the first fold is done; gives the status."""
        command, environment = self.workflow.command(*arguments, **config)
        with self.workflow.path("said").open("wb") as said:
            process = subprocess.Popen(
                command, cwd=self.workflow.folder, env=environment, stdout=said, stderr=said, start_new_session=True
            )

        def ended() -> bool:
            nonlocal then
            with contextlib.suppress(FileNotFoundError):
                content = self.workflow.path(f"{RUN}/submission_so_far.json").read_bytes()
                if content not in self.seen[-1:]:
                    self.seen.append(content)
            if then is not None and list(self.workflow.path(f"{RUN}/rescored").glob("fold-?.json")):
                then(process)
                then = None
            return process.poll() is not None

        until(ended, 240)
        return process.wait()

    def check(self, final: bytes) -> None:
        """Every content was whole, and an answer that has given way never came back."""
        tasks = read_tasks(self.workflow.path("mine.json"))
        path = self.workflow.path("snapshot.json")
        answers: dict[str, list[Any]] = {task.id: [] for task in tasks}
        for content in self.seen:
            check_schema(json.loads(content), "submission", "submission")
            path.write_bytes(content)
            for name, attempts in read_submission(path, tasks).items():
                if attempts not in answers[name][-1:]:
                    assert attempts not in answers[name]
                    answers[name].append(attempts)
        assert self.seen[-1] == final


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_a_run_that_is_ended_in_the_middle_goes_on(fresh: Workflow, done: Workflow, number: signal.Signals) -> None:
    watched, kept = Watched(fresh), {}

    def end(process: subprocess.Popen[bytes]) -> None:
        kept.update(stored(fresh))
        os.killpg(process.pid, number)

    # one fold after the other
    assert watched(SCORE, "--resources", "gpu=1", then=end, deadline=60) != 0
    assert [name for name in kept if "/rescored/" in name] != []
    assert not fresh.path(SCORE).exists()
    assert watched(SCORE, deadline=60) == 0, fresh.path("said").read_text()
    assert "Traceback" not in fresh.path("said").read_text()
    final = done.path(f"{RUN}/submission.json").read_bytes()
    watched.check(final)
    assert fresh.path(f"{RUN}/submission.json").read_bytes() == final
    # what was finished is the very same file
    now = stored(fresh)
    assert {name: now[name] for name in kept} == kept
    assert [path for path in left_behind(fresh) if not path.endswith(".lock")] == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*map(kill_of, range(6)), *map(request_of, range(2))], ids=str)
def test_a_run_with_a_deadline_that_is_ended_at_some_moment_goes_on(
    fresh: Workflow, done: Workflow, fault: Any
) -> None:
    strike(fresh, fault, SCORE, "--config", "deadline=60")
    watched = Watched(fresh)
    assert watched(SCORE, deadline=60) == 0, fresh.path("said").read_text()
    final = done.path(f"{RUN}/submission.json").read_bytes()
    watched.check(final)
    assert fresh.path(f"{RUN}/submission.json").read_bytes() == final
    made, expected = fresh.contents(), done.contents()
    same = {name for name in made if "/store/" in name and "/records/" not in name}
    assert {name: made[name] for name in same} == {name: expected[name] for name in same}


def test_what_is_no_deadline_is_said_before_anything_runs(blank: Workflow) -> None:
    two = (SCORE, "results/score_lower.json", "-n")
    refused(blank(SCORE, "-n", deadline="soon"), "deadline: 'soon', expected minutes, a time of the day")
    refused(blank(*two, deadline=5), "lower and tiny are asked for, expected one run in a call")
    refused(blank(SCORE, "-n", deadline=5, workers=False), "deadline: needs workers", "workers: true")
    refused(blank(SCORE, "-n", deadline=5, budget="b.json"), "deadline and budget, expected one of the two")
    refused(blank(SCORE, "-n", deadline="17:30", rehearsal_of=240), "rehearsal_of", "'17:30', expected minutes")


@pytest.mark.slow
def test_what_is_there_is_taken_and_a_cut_run_leaves_the_full_one_alone(copy: Workflow, tmp_path: Path) -> None:
    full, before = copy.read(SCORE), stored(copy)
    submission = copy.path(f"{RUN}/submission.json").read_bytes()
    shutil.rmtree(copy.path(RUN))
    call = copy(SCORE, deadline=60)
    assert call.status == 0, call.said
    assert "tiny: 2 of 2 folds in full, 0 with settings that gave way, 0 out of time" in call.said
    assert "before the deadline" in call.said
    assert stored(copy) == before
    for name in ("submission.json", "submission_so_far.json"):
        assert copy.path(f"{RUN}/{name}").read_bytes() == submission
    score = without_provenance(copy.read(SCORE))
    assert score.pop("cuts") == []
    assert score.pop("steps") == {**full["steps"], "budget": f"{RUN}/budget.json"}
    assert score.pop("code") == full["code"]
    assert score == {key: value for key, value in without_provenance(full).items() if key not in ("steps", "code")}

    # the same with settings that gave way in one fold, and no time for the other
    budget = copy.read(f"{RUN}/budget.json")
    check_schema(budget, "budget", "budget")
    last = len(budget["rungs"]) - 1
    assert budget["rungs"][last]["rescoring"] == {"views": 0}
    budget["folds"] = {
        "0": {"steps": {
            "training": {"rung": last, "cut": {"epochs": 1}, "predicted": None},
            "search": {"rung": 2, "cut": {"views": 1}, "predicted": None},
            "rescoring": {"rung": last, "cut": {"views": 0}, "predicted": None},
        }},
        "1": {"steps": {}, "dropped": "3 s are left"},
    }  # fmt: skip
    copy.write("cut.json", budget)
    call = copy(SCORE, budget="cut.json")
    assert call.status == 0, call.said
    assert "warning: run tiny: the deadline left no time for fold 1" in call.said
    assert "gave way: rescoring/views 0 (1 fold), search/views 1 (1 fold), training/epochs 1 (1 fold)" in call.said
    now = stored(copy)
    assert {path: now[path] for path in before} == before
    assert sorted({path.split("/")[2] for path in set(now) - set(before)}) == ["adapters", "candidates", "rescored"]
    score = copy.read(SCORE)
    assert score["complete"] is False
    cut = {"training": {"epochs": 1}, "search": {"views": 1}, "rescoring": {"views": 0}}
    assert score["cuts"] == [{"fold": 0, "settings": cut}]
    assert score["misses"]["reasons"]["out_of_time"]["n"] == score["misses"]["n_outputs"] - sum(
        len(task["outputs"]) for name, task in score["tasks"].items() if "hole" not in task["outputs"][0]
    )
    assert [failed["fold"] for failed in score["failed"]] == [1]
    # what was planned beside it has the settings of the fold, too
    beside = score["provenance"]["plan"]
    for count in ("steps", "tokens", "prompt_tokens"):
        assert beside["planned"][count] == beside["true"][count] > 0
    answers = copy.path(f"{RUN}/submission.json").read_bytes()
    check_schema(json.loads(answers), "submission", "submission")
    assert copy.path(f"{RUN}/submission_so_far.json").read_bytes() == answers

    # elsewhere the budget gives the same bytes
    other = copied(copy, tmp_path / "other")
    shutil.rmtree(other.path("results"))
    other.write("cut.json", copy.read(f"{RUN}/budget.json"))
    call = other(SCORE, budget="cut.json")
    assert call.status == 0, call.said
    assert other.path(f"{RUN}/submission.json").read_bytes() == answers
    # the other folder has no full run, so only what was asked for is there
    made = {path: without_provenance(json.loads(content)) for path, content in stored(other).items()}
    assert made == {path: without_provenance(json.loads(now[path])) for path in made}
    assert without_provenance(other.read(SCORE)) == without_provenance(score)

    # a full run takes nothing of the cut one, and finds its own
    call = copy(SCORE, "-n")
    assert set(call.jobs) == {"link_run", "select_attempts", "score_run"}, call.said
    refused(other(SCORE, budget="cut.json", settings={"search": {"min_prob": 0.3}}), "that of run tiny with other")


@pytest.mark.slow
def test_a_training_that_takes_too_long_is_stopped_and_the_run_ends_in_time(fresh: Workflow) -> None:
    """Its guess is far too short: a training of minutes, which a quarter of a thousandth of its epochs replaces."""
    call = fresh(
        SCORE, deadline=3, settings={"training": {"epochs": 50_000}}, gives_way=[{"training": {"epochs": 0.0001}}]
    )
    assert call.status == 0, call.said
    assert "the training took too long and is stopped" in call.said
    assert "before the deadline" in call.said
    score = fresh.read(SCORE)
    assert score["cuts"], call.said
    assert {cut["settings"]["training"]["epochs"] for cut in score["cuts"]} == {5}
    assert [path for path in fresh.path("results/store").rglob("*") if path.name == "failed.json"] == []

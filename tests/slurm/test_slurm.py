"""The profile for SLURM on a real one, which `make test-slurm` starts: four pretended GPUs, enforced memory.

What SLURM itself has of a job is compared with what the workflow should have asked for.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from eight_folds import make_workflow
from tiny_workflow import Call, Workflow

pytestmark = pytest.mark.slurm

SCORE = "results/score_8folds.json"
PROFILE = ("--workflow-profile", "profiles/slurm")
FOLD = ("train_adapter", "search_candidates", "rescore_candidates")


def for_fold(resource: str) -> list[str]:
    """An option that gives a resource to all rules of a fold."""
    return [f"{rule}:{resource}" for rule in FOLD]


def command(workflow: Workflow, *arguments: str) -> tuple[list[str], dict[str, str]]:
    given, environment = workflow.command(SCORE, *PROFILE, *arguments)
    # SLURM says which devices there are; a cluster has no --cores
    del environment["CUDA_VISIBLE_DEVICES"]
    place = given.index("--cores")
    return [*given[:place], *given[place + 2 :]], environment


def call(workflow: Workflow, *arguments: str) -> Call:
    return workflow.run(*command(workflow, *arguments))


def started(workflow: Workflow, *arguments: str) -> subprocess.Popen[str]:
    """A call that goes on."""
    given, environment = command(workflow, *arguments)
    return subprocess.Popen(
        given,
        cwd=workflow.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a shell's background jobs ignore interrupts, and so would this
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def ask(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def newest() -> int:
    """The number of SLURM's last job."""
    rows = ask("sacct", "-n", "-X", "-P", "-a", "-S", "now-1days", "-o", "JobIDRaw").split()
    return max(map(int, rows), default=0)


def jobs_since(number: int, *fields: str) -> list[dict[str, str]]:
    """SLURM's record of each job after one."""
    time.sleep(2)  # the database is told a little later
    names = ("JobIDRaw", *fields)
    rows = ask("sacct", "-n", "-X", "-P", "-a", "-S", "now-1days", "-o", ",".join(names)).splitlines()
    found = [dict(zip(names, row.split("|"), strict=True)) for row in rows]
    return [row for row in found if int(row["JobIDRaw"]) > number]


def wait_for(what: str, seconds: float = 180.0) -> None:
    """Waits until squeue shows a job in that state."""
    until = time.monotonic() + seconds
    while not ask("squeue", "-h", "-t", what, "-o", "%i").split():
        assert time.monotonic() < until, f"no job {what}"
        time.sleep(0.3)


def queue_is_empty(seconds: float = 60.0) -> bool:
    until = time.monotonic() + seconds
    while ask("squeue", "-h"):
        if time.monotonic() > until:
            return False
        time.sleep(0.5)
    return True


@pytest.fixture(scope="module")
def expected(slurm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The results of the same workflow on this machine."""
    local = make_workflow(tmp_path_factory.mktemp("local") / "clone")
    ended = local(SCORE)
    assert ended.status == 0, ended.said
    return local.contents()


@pytest.fixture(autouse=True)
def nothing_left(slurm: Path) -> Iterator[None]:
    yield
    subprocess.run(["scancel", "--user", "root"], check=False)
    assert queue_is_empty()


def test_eight_folds_are_eight_jobs_each_with_its_device_and_the_bytes_of_a_local_run(
    slurm: Path, workflow: Workflow, expected: dict[str, object]
) -> None:
    before = newest()
    ended = call(workflow, "--set-resources", *for_fold("gpu_model=h100"))
    assert ended.status == 0, ended.said
    assert workflow.contents() == expected
    jobs = jobs_since(before, "State", "Timelimit", "ReqMem", "AllocTRES", "Start", "End")
    assert len(jobs) == 8
    for job in jobs:
        assert job["State"] == "COMPLETED"
        # ten minutes each for training, search and rescoring, and a little for so small a model
        assert job["Timelimit"] == "00:33:00"
        assert job["ReqMem"] == "2900M"
        assert "gres/gpu:h100=1" in job["AllocTRES"].split(",")
    # no two on one device at a time
    devices = dict(line.split() for line in (slurm / "devices").read_text().splitlines())
    held: dict[str, list[tuple[datetime, datetime]]] = {}
    for job in jobs:
        begun, over = (datetime.fromisoformat(job[key]) for key in ("Start", "End"))
        held.setdefault(devices[job["JobIDRaw"]], []).append((begun, over))
    assert set(held) == {"0", "1", "2", "3"}
    for times in held.values():
        times.sort()
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(times))


def test_a_job_that_runs_out_of_memory_says_so_and_is_tried_again_with_more(
    workflow: Workflow, expected: dict[str, object]
) -> None:
    before = newest()
    ended = call(workflow, "--set-resources", *for_fold("mem_mb=150*20**(attempt-1)"))
    assert ended.status == 0, ended.said
    assert workflow.contents() == expected
    jobs = jobs_since(before, "ReqMem", "State")
    assert sorted(job["ReqMem"] for job in jobs) == ["150M"] * 8 + ["3000M"] * 8
    lines = ended.our_lines
    assert len(lines) == 8, lines
    assert all(": out of memory: it had 150M (mem_mb) (SLURM job " in line for line in lines)


def lose_the_node(workflow: Workflow, *arguments: str) -> tuple[int, str]:
    """A call in whose middle the node is lost, with all its jobs."""
    process = started(workflow, *arguments)
    wait_for("RUNNING")
    time.sleep(5)
    ask("scontrol", "update", "nodename=n1", "state=down", "reason=test")
    time.sleep(1)
    # it may be back by itself
    subprocess.run(["scontrol", "update", "nodename=n1", "state=resume"], capture_output=True, check=False)
    said = process.communicate(timeout=600)[0]
    return process.returncode, said


def test_slurm_starts_the_jobs_of_a_lost_node_again(workflow: Workflow, expected: dict[str, object]) -> None:
    status, said = lose_the_node(workflow, "--retries", "0")
    assert status == 0, said
    assert workflow.contents() == expected


def test_where_it_may_not_a_line_says_so_and_the_next_call_completes(
    workflow: Workflow, expected: dict[str, object]
) -> None:
    status, said = lose_the_node(workflow, "--retries", "0", "--slurm-no-requeue")
    assert status == 1, said
    assert re.search(r"^error: .*fold-\d.*: node n1 was lost \(SLURM job \d+\)$", said, re.M), said
    assert queue_is_empty()
    ended = call(workflow)
    assert ended.status == 0, ended.said
    assert workflow.contents() == expected


def test_an_interrupt_cancels_the_jobs_and_the_next_call_completes(
    workflow: Workflow, expected: dict[str, object]
) -> None:
    before = newest()
    process = started(workflow)
    wait_for("RUNNING")
    time.sleep(5)  # all are submitted
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=300)[0]
    assert process.returncode != 0, said
    assert "Traceback" not in said
    assert queue_is_empty()
    assert {job["State"].split()[0] for job in jobs_since(before, "State")} == {"CANCELLED"}
    # what the jobs had started ends with them
    assert not [path for path in Path("/proc").glob("[0-9]*/cwd") if reads(path) == str(workflow.folder)]
    ended = call(workflow)
    assert ended.status == 0, ended.said
    assert workflow.contents() == expected


def reads(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def test_what_a_partition_cannot_run_is_said_before_any_job(workflow: Workflow) -> None:
    before = newest()
    asked = ("--default-resources", "slurm_partition=short", "mem_mb=3000", "runtime=30")
    ended = call(workflow, *asked)
    assert ended.status == 1
    (line,) = ended.our_lines
    assert "asks for 33 minutes, and partition short has at most 5" in line
    assert not jobs_since(before)


def test_groups_of_folds_are_one_job_on_one_device_one_fold_after_the_other(
    slurm: Path, workflow: Workflow, expected: dict[str, object]
) -> None:
    """How hundreds of folds go to a cluster."""
    before = newest()
    scopes = ("--group-components", "fold=4", "--set-resource-scopes", "gpu=local", "--resources", "gpu=1")
    ended = call(workflow, *scopes)
    assert ended.status == 0, ended.said
    assert workflow.contents() == expected
    jobs = jobs_since(before, "AllocTRES", "Timelimit")
    assert len(jobs) == 2
    for job in jobs:
        assert "gres/gpu=1" in job["AllocTRES"].split(",")
        assert job["Timelimit"] == "02:12:00"

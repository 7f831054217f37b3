"""What SLURM's programs write, read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arcfold.jobs.files import InputError
from arcfold.jobs.slurm import Limits, Request, check_requests, minutes_of, read_limits, why_failed

SINFO = """\
gpu*|1-00:00:00|515000|gpu:h100:8(S:0-1)
gpu*|1-00:00:00|256000+|gpu:a100:4
short|30:00|64000|(null)
long|infinite|64000|gpu:2,shard:4
"""


@pytest.mark.parametrize(
    ("time", "minutes"),
    [
        ("5:00", 5),
        ("5:01", 6),
        ("30:00", 30),
        ("1:00:00", 60),
        ("2-03:04:05", 3065),
        ("infinite", None),
        ("UNLIMITED", None),
    ],
)
def test_times_as_slurm_writes_them(time: str, minutes: int | None) -> None:
    assert minutes_of(time) == minutes


def test_limits_are_those_of_the_largest_node_and_of_the_default_partition() -> None:
    limits = read_limits(SINFO)
    assert limits["gpu"] == limits[None] == Limits("gpu", 1440, 515000, 8)
    assert limits["short"] == Limits("short", 30, 64000, 0)
    assert limits["long"] == Limits("long", None, 64000, 2)
    assert read_limits("") == {}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request("train_adapter", None, 1441, 3000, 1), "asks for 1441 minutes, and partition gpu has at most 1440"),
        (Request("train_adapter", "short", 20, 3000, 1), "asks for 1 GPUs, and partition short has at most 0"),
        (
            Request("train_adapter", "long", 20, 70000, 1),
            "asks for 70000 MiB of memory, and partition long has at most",
        ),
        (Request("train_adapter", "lnog", 20, 100, 1), "no partition lnog, expected one of gpu, long, short"),
    ],
)
def test_what_no_node_could_ever_run_is_one_line(request_: Request, words: str) -> None:
    fits = Request("make_shards", "short", 30, 64000, 0)
    with pytest.raises(InputError, match=words):
        check_requests([fits, request_], read_limits(SINFO))
    # a cluster that tells nothing
    check_requests([fits, request_], {})


# --- why a job failed --------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose programs stand in the place of SLURM's, which write what those of version 22.05 wrote."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    for name in ("sacct", "scontrol"):
        says(tmp_path / "bin", name, "", status=1)
    return tmp_path / "bin"


def says(folder: Path, name: str, text: str, status: int = 0) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {status}\n")
    path.chmod(0o755)


OOM = "FAILED|100M|365-00:00:00|n1\nFAILED|||n1\nOUT_OF_MEMORY|||n1"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (OOM, "out of memory: it had 100M (mem_mb)"),
        ("TIMEOUT|2900M|00:01:00|n1\nCANCELLED|||n1", "its time was over: it had 00:01:00 (runtime)"),
        ("NODE_FAIL|2900M|00:33:00|n17\nCANCELLED|||n17", "node n17 was lost"),
        ("CANCELLED by 0|2900M|00:33:00|n1", "it was cancelled by user 0"),
        ("PREEMPTED|2900M|00:33:00|n1", "another job took its place (preempted)"),
        ("FAILED|2900M|00:33:00|n1\nFAILED|||n1", None),
    ],
)
def test_the_accounting_database_says_why(program: Path, rows: str, reason: str | None) -> None:
    says(program, "sacct", rows)
    assert why_failed("12") == reason


def test_without_one_it_is_the_controller_and_the_log(program: Path, tmp_path: Path) -> None:
    job = (
        "JobId=12 JobName=x\n   JobState={} Reason=NonZeroExitCode\n"
        "   TimeLimit=00:33:00\n   NodeList=n1\n   MinMemoryNode=2900M"
    )
    says(program, "scontrol", job.format("TIMEOUT"))
    assert why_failed("12") == "its time was over: it had 00:33:00 (runtime)"
    says(program, "scontrol", job.format("FAILED"))
    assert why_failed("12") is None
    log = tmp_path / "12.log"
    log.write_text("slurmstepd-n1: error: Detected 1 oom-kill event(s) in StepId=2.0.")
    assert why_failed("12", log) == "out of memory: it had 2900M (mem_mb)"


def test_a_cluster_that_does_not_answer_says_nothing(program: Path) -> None:
    assert why_failed("12") is None

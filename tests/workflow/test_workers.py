"""The real rules with workers and without: the same bytes, an end at once, nothing left running."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from environments import needs_gpu
from processes import until, workers
from tiny_workflow import Workflow, copied, refused

LONG = {"training": {"epochs": 50000}}


def test_the_bytes_are_the_same_with_workers_and_without(fresh: Workflow, done: Workflow) -> None:
    score = "results/score_tiny.json"
    assert fresh(score, workers=False).status == 0
    mine, theirs = fresh.contents(), done.contents()
    assert len(mine) > 15
    assert mine == {name: theirs[name] for name in mine}


@needs_gpu
def test_on_a_gpu_the_bytes_are_the_same_with_workers_and_without(blank: Workflow, tmp_path: Path) -> None:
    bigram = {"bigram": {"path": "models/bigram", "format": "embedded", "dtype": "bfloat16"}}
    made = []
    for workers_too in (False, True):
        workflow = Workflow(copied(blank, tmp_path / str(workers_too)).folder, devices="0")
        call = workflow("results/score_tiny.json", "--resources", "gpu=1", workers=workers_too, models=bigram)
        assert call.status == 0, call.said
        score = workflow.read("results/score_tiny.json")
        devices = score["provenance"]["devices_of_folds"].values()
        assert {device["kind"] for of_step in devices for device in of_step} == {"cuda"}
        made.append(workflow.contents())
    assert len(made[0]) > 15
    assert made[0] == made[1]


def test_turning_workers_off_repeats_nothing(copy: Workflow) -> None:
    assert "Nothing to be done" in copy("--dry-run", "results/score_tiny.json", workers=False).said


@contextlib.contextmanager
def running(workflow: Workflow, *arguments: str, at_once: int = 2) -> Iterator[subprocess.Popen[str]]:
    """A call that trains for hours, in a group of its own as a terminal has it, once so many trainings go on."""
    command, environment = workflow.command("results/score_tiny.json", *arguments, settings=LONG)
    process = subprocess.Popen(
        command, cwd=workflow.folder, env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        until(lambda: len(workers_of(workflow)) == len(list(begun(workflow))) == at_once, 60)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def begun(workflow: Workflow) -> Iterator[Path]:
    """The logs of trainings that have begun to step."""
    for log in workflow.path("results/logs/train_adapter").rglob("*.log"):
        if "backend packed" in log.read_text():
            yield log


def clients_of(workflow: Workflow) -> Iterator[int]:
    """The processes of the clients whose jobs are the workflow's."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = path.joinpath("cmdline").read_bytes().split(b"\0")
            if command[1:3] == [b"-I", b"-S"] and path.joinpath("cwd").resolve() == workflow.folder.resolve():
                yield int(path.name)


def workers_of(workflow: Workflow) -> list[int]:
    """The processes of the workers whose folder is the workflow's."""
    return [process for process, _, folder in workers() if folder == workflow.folder.resolve()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_one_job_more_than_there_are_devices_is_begun_and_waits_for_the_worker(blank: Workflow, tmp_path: Path) -> None:
    one_device = Workflow(copied(blank, tmp_path).folder, devices="0")
    with running(one_device, "--resources", "gpu=1", at_once=1):
        until(lambda: len(list(clients_of(one_device))) == 2, 20)
        assert len(workers_of(one_device)) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_an_interrupt_ends_a_run_whose_trainings_would_take_hours(fresh: Workflow) -> None:
    with running(fresh) as process:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(20)
        until(lambda: not workers_of(fresh), 10)
    assert not list(fresh.path("results/store/adapters").rglob("adapter_model.safetensors"))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_killed_snakemake_leaves_no_worker_and_the_next_call_goes_on(fresh: Workflow) -> None:
    with running(fresh) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        until(lambda: not workers_of(fresh), 20)
    call = fresh("results/score_tiny.json")
    assert call.status == 0
    assert "the lock of a Snakemake that is dead was removed" in call.said


def test_without_hooks_a_job_says_what_it_lacks(fresh: Workflow) -> None:
    call = fresh("results/runs/hidden_1folds/adapters/fold-0", "--no-hooks")
    refused(call, ".job.json: no such file", "--no-hooks keeps it from that")


@needs_gpu
@pytest.mark.parametrize("mebibytes", [50, 700], ids=lambda left: f"{left} MiB left")
def test_a_device_whose_memory_others_have_is_one_line_and_the_next_call_goes_on(
    blank: Workflow, tmp_path: Path, mebibytes: int
) -> None:
    """Too little for CUDA itself, and for CUDA and what the libraries allocate on top."""
    workflow = Workflow(copied(blank, tmp_path).folder, devices="0")
    adapter = "results/runs/tiny/adapters/fold-0"
    held = torch.empty(torch.cuda.mem_get_info()[0] - (mebibytes << 20), dtype=torch.uint8, device="cuda")
    call = workflow(adapter, "--resources", "gpu=1")
    if mebibytes < 100 or call.status:
        refused(call, "out of memory")
    del held
    torch.cuda.empty_cache()
    call = workflow(adapter, "--resources", "gpu=1")
    assert call.status == 0, call.said

"""Faults with seeds: who gets which signal at which of a run's writes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import until
from tiny_workflow import Workflow

WRITES = 650
"""A run of the tiny workflow's score opens, renames, links and removes files some 700 times."""
SCORE = "results/score_tiny.json"
KILLS = [("job", True), ("snakemake", True), ("group", True), ("job", False), ("snakemake", False), ("group", False)]
REQUESTS = [
    ("group", signal.SIGINT),
    ("snakemake", signal.SIGTERM),
    ("snakemake", signal.SIGINT),
    ("group", signal.SIGTERM),
]


@dataclass(frozen=True)
class Fault:
    """A signal to a job, to Snakemake or to its whole process group, when the run makes its write number `at`.

    inside: whoever makes that write dies in the middle of it, else the signal comes from outside soon after
    """

    whom: str
    signal: signal.Signals
    at: int
    inside: bool = False

    def __str__(self) -> str:
        return f"{self.signal.name} to the {self.whom}, {'inside' if self.inside else 'after'} write {self.at}"


def kill_of(seed: int) -> Fault:
    whom, inside = KILLS[seed % len(KILLS)]
    return Fault(whom, signal.SIGKILL, random.Random(seed).randint(1, WRITES), inside)


def request_of(seed: int) -> Fault:
    whom, number = REQUESTS[seed % len(REQUESTS)]
    return Fault(whom, number, random.Random(seed).randint(1, WRITES))


def strike(workflow: Workflow, fault: Fault, *targets: str) -> str:
    """Calls Snakemake, lets the fault happen, and gives what was said once Snakemake has ended.

    Jobs that it has left behind run on, and end by themselves.
    """
    command, environment = workflow.command(*(targets or (SCORE,)))
    counter, said = workflow.path("writes"), workflow.path("said")
    dying = {"counter": str(counter), "at": fault.at if fault.inside else 0, "whom": fault.whom}
    path = [str(Path(__file__).with_name("dying")), *filter(None, [environment.get("PYTHONPATH")])]
    environment |= {"DYING": json.dumps(dying), "PYTHONPATH": os.pathsep.join(path)}
    counter.touch()
    with said.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=workflow.folder, env=environment, start_new_session=True, stdout=stream, stderr=stream
        )
    try:
        if not fault.inside:
            until(lambda: counter.stat().st_size >= fault.at or process.poll() is not None, 120)
            send(workflow, process, fault)
        process.wait(120)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    assert counter.stat().st_size >= fault.at, f"the run has ended before: {said.read_text()}"
    return said.read_text(errors="replace")


def send(workflow: Workflow, process: subprocess.Popen, fault: Fault) -> None:
    if fault.whom == "group":
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.killpg(process.pid, fault.signal)
    elif fault.whom == "snakemake":
        process.send_signal(fault.signal)
    else:
        jobs: list[int] = []

        def found() -> bool:
            jobs[:] = sorted(set(processes_of(workflow)) - {process.pid})
            return bool(jobs) or process.poll() is not None

        until(found, 120)
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(random.Random(fault.at).choice(jobs), fault.signal)


def processes_of(workflow: Workflow, *, without: bytes | None = None) -> Iterator[int]:
    """Processes that work in a workflow's folder, but those with a word in their command."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if path.joinpath("cwd").resolve() == workflow.folder.resolve():
                words = path.joinpath("cmdline").read_bytes().split(b"\0")
                if any(words) and without not in words:  # one without words has ended
                    yield int(path.name)


def left_behind(workflow: Workflow) -> list[str]:
    """Temporary files and folders in the results, when all jobs have ended."""
    until(lambda: not list(processes_of(workflow, without=b"arcfold.worker.serve")), 120)
    found = workflow.path("results").rglob(".*")
    return [str(path) for path in found if path.name != ".snakemake_timestamp"]


@contextlib.contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[None]:
    """A file system of that size in a folder; the test is skipped where there can be none."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"needs to mount a file system: {made.stderr.strip()}")
    try:
        yield
    finally:
        # workers live on for some seconds in a folder of it
        subprocess.run(["umount", "--lazy", folder], check=True)


def leave_room(folder: Path, kibibytes: int) -> Path:
    """Fills the disk of a folder but for so much; gives the file that does."""
    filler = folder / "filler"
    found = os.statvfs(folder)
    with filler.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, found.f_bavail * found.f_frsize - kibibytes * 1024)
    return filler


def unprivileged() -> list[str]:
    """What stands before a command that is to obey permissions; root's process must give up its power for it."""
    if os.geteuid() != 0:
        return []
    words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    if shutil.which("setpriv") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("root needs setpriv to give up what it may do")
    return words

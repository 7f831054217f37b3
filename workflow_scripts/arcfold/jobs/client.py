"""What Snakemake starts for a job that a worker does: hands the job's file over, repeats what is said, waits.

    python -I -S client.py FOLDER results/logs/train_adapter/….log

Standard library only, no import of this package: it starts in some 30 ms, a hundred times a run. FOLDER is that of
the workers of one code, environment, config and working folder. In it each worker has a slot:

    slot-0.lock     flock: whoever holds it may give the worker a job; the kernel frees it when a client dies
    slot-0.sock     the worker listens here; a connection is a job
    slot-0.log      what the worker says outside of jobs
    waiting.lock    flock, held by a worker that waits for a device

For example two jobs and one GPU: the first client finds no slot, makes slot 0 and starts its worker, which leases
the GPU. The second finds slot 0 taken, and as many workers busy as there are GPUs, and waits. When the first ends, its
lock is free, and the second goes on with the warm worker 20 ms later.

On the connection the client sends one JSON line, `{"job": path}`; the worker answers with lines `{"said": text}`
for standard error, `{"began": true}` once it has a device, and `{"status": number}` at the end. A client that dies
closes the connection, and the worker ends with all that it has begun.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable

LOOK = 0.02
"""Seconds between two looks for a free worker."""
PATIENCE = 30.0
"""Seconds that a job waits for a busy worker where there are as many as devices; then it starts one of its own, for
the devices may have been counted wrongly, or be another workflow's by now."""
DEATHS = 2
"""How often a job is begun whose worker dies."""
PARENT = "ARCFOLD_SNAKEMAKE"
"""Variable with the Snakemake that the job belongs to, as `identity_of` writes it."""
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main(folder: str, log: str) -> None:
    """Does the job with that log by a worker; the status is the job's."""
    job = f"{log.removesuffix('.log')}.job.json"
    if not os.path.exists(job):
        sys.exit(f"error: {job}: no such file, expected Snakemake to have written it (--no-hooks keeps it from that)")
    check_folder(folder)
    died = 0.0
    while died < DEATHS:
        status, began = try_once(folder, job)
        if status is not None:
            sys.exit(status)
        # one that was about to end when it was asked has cost nothing
        died += began or 1 / DEATHS
        if began and died < DEATHS:
            print(f"{job}: its worker died, doing it again with another", file=sys.stderr, flush=True)
    line = f"its worker died twice, see {folder}/slot-*.log"
    print(f"error: {job}: {line}", file=sys.stderr, flush=True)
    sys.exit(give_up(job, line))


def give_up(job: str, reason: str) -> int:
    """The status of a job that no worker survives: 1, or that of leaving holes if the run goes on without the job."""
    with open(job, encoding="utf-8") as file:
        given = json.load(file)
    if not (given["config"].get("keep_going") and given["params"].get("of_a_fold")):
        return 1
    outputs = given["output"] if isinstance(given["output"], list) else list(given["output"].values())
    print("keep_going: the run goes on without this fold", file=sys.stderr, flush=True)
    return subprocess.run(
        [sys.executable, "-m", "arcfold.jobs.holes", given["rule"], reason, *outputs], env=environment(), check=False
    ).returncode


def environment() -> dict[str, str]:
    """The variables of a Python that finds this package."""
    paths = [os.path.dirname(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def check_folder(folder: str) -> None:
    """Makes the folder; it and those above it must be this user's alone.

    Whoever can write there can run code as this user.
    """
    try:
        workflow = os.path.dirname(folder)
        for path in (os.path.dirname(workflow), workflow, folder):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, mode=0o700)
            found = os.lstat(path)
            if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700 or not stat.S_ISDIR(found.st_mode):
                sys.exit(f"error: {path}: expected a folder of this user alone (mode 0700), remove it")
    except OSError as error:
        sys.exit(
            f"error: {folder}: cannot be used for workers ({error.strerror}), set ARCFOLD_WORKERS to another folder"
        )


def try_once(folder: str, job: str) -> tuple[int | None, bool]:
    """The job's status, None if its worker died, and whether it had begun.

    Moves to another worker that is free while its own has no device yet.
    """
    slot = free_slot(folder) or freed_slot(folder) or new_slot(folder)
    while True:
        ended = slot.run(job, lambda: free_slot(folder))
        if not isinstance(ended, Slot):
            slot.close()
            return ended, slot.began
        slot.abandon()
        slot = ended


def free_slot(folder: str) -> Slot | None:
    """A slot with a worker that has nothing to do, if there is one."""
    for name in sorted(os.listdir(folder)):
        if name.endswith(".sock") and (slot := Slot.take(folder, name.removesuffix(".sock"))):
            if slot.connect():
                return slot
            slot.close()
    return None


def freed_slot(folder: str) -> Slot | None:
    """The slot of the next worker that has nothing to do, as long as all devices have busy workers."""
    wanted = int(folder.rpartition("gpu")[2])
    devices = count_devices() // wanted if wanted else 0
    until = time.monotonic() + PATIENCE
    while devices and count_busy(folder) >= devices and time.monotonic() < until:
        time.sleep(LOOK)
        exit_without_parent()
        if slot := free_slot(folder):
            return slot
    return None


def count_busy(folder: str) -> int:
    """The number of slots that clients hold, whether their workers have begun or not."""
    busy = 0
    for name in os.listdir(folder):
        if name.startswith("slot-") and name.endswith(".lock"):
            if slot := Slot.take(folder, name.removesuffix(".lock")):
                slot.close()
            else:
                busy += 1
    return busy


def count_devices() -> int:
    """The GPUs that jobs may use, counted without asking a driver; 0 where none is seen or a card may be divided."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return 0 if named.strip() in ("", "-1") else named.count(",") + 1
    # two files stand there on every driver that can divide cards, further ones for the parts of a divided one
    if os.path.isdir("/dev/nvidia-caps") and len(os.listdir("/dev/nvidia-caps")) > 2:
        return 0
    return sum(name.removeprefix("nvidia").isdigit() for name in os.listdir("/dev") if name.startswith("nvidia"))


def new_slot(folder: str) -> Slot:
    """A slot whose worker is started, or one that is freed before.

    While a worker waits for a device, none is started.
    """
    while is_locked(f"{folder}/waiting.lock"):
        time.sleep(LOOK)
        exit_without_parent()
        if slot := free_slot(folder):
            return slot
    number = 0
    while (slot := Slot.take(folder, f"slot-{number}")) is None:
        number += 1
    if not slot.connect():
        slot.start()
    return slot


class Slot:
    """One worker's slot, locked by this client."""

    def __init__(self, path: str, lock: int) -> None:
        self.path = path
        self.lock = lock
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.began = False

    @classmethod
    def take(cls, folder: str, name: str) -> Slot | None:
        """The slot if nobody holds it, else None."""
        lock = os.open(f"{folder}/{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cls(f"{folder}/{name}", lock)
        except BlockingIOError:
            os.close(lock)
            return None

    def abandon(self) -> None:
        """Lets a worker end that has not begun; nobody finds its slot before it has."""
        os.unlink(f"{self.path}.sock")
        self.close()

    def close(self) -> None:
        """Lets the worker and the slot go."""
        self.connection.close()
        os.close(self.lock)

    def connect(self) -> bool:
        """Whether there is a worker behind the slot that takes a connection."""
        try:
            self.connection.connect(f"{self.path}.sock")
            return True
        except OSError:  # it has just ended, or does not listen yet
            self.connection.close()
            self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            return False

    def start(self) -> None:
        """Starts a worker for the slot and waits until it listens."""
        if os.path.lexists(f"{self.path}.sock"):  # of a worker that was killed
            os.unlink(f"{self.path}.sock")
        with open(f"{self.path}.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "arcfold.worker.serve", self.path],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # an interrupt on the terminal is for the clients
            )
        while not self.connect():
            if process.poll() is not None:
                sys.exit(f"error: a worker ended with status {process.returncode} at once, see {self.path}.log")
            time.sleep(LOOK)
            exit_without_parent()

    def run(self, job: str, other: Callable[[], Slot | None]) -> int | Slot | None:
        """The status of the job, None if the worker died, or another slot if one is free before this has a device."""
        pending = b""
        try:
            self.connection.sendall(json.dumps({"job": job}).encode() + b"\n")
            while True:
                ready, _, _ = select.select([self.connection], [], [], 0.5 if self.began else 0.1)
                if not ready:
                    exit_without_parent()
                    if not self.began and (slot := other()) is not None:
                        return slot
                    continue
                data = self.connection.recv(1 << 16)
                if not data:
                    return None
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    self.began = self.began or "began" in message
                    if "said" in message:
                        sys.stderr.write(message["said"])
                        sys.stderr.flush()
                    if "status" in message:
                        return int(message["status"])
        except ConnectionError:
            return None


def is_locked(path: str) -> bool:
    """Whether another process holds the lock of a file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def exit_without_parent() -> None:
    """Ends when the Snakemake that the job belongs to is gone: its jobs would run on, for nobody."""
    parent = os.environ.get(PARENT, "")
    host, _, number = parent.rpartition("/")[0].rpartition("/")
    # a cluster hands variables on to other machines, where the same number is another process or none
    if host == os.uname().nodename and identity_of(number) != parent:
        sys.exit(f"error: Snakemake (process {number}) is gone")


def identity_of(process: str | int) -> str:
    """host/id/time of a process on this machine; the time, in the kernel's clock ticks, is empty if it is gone."""
    return f"{os.uname().nodename}/{process}/{_start_time(process)}"


def _start_time(process: str | int) -> str:
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            state, *fields = file.read().rpartition(")")[2].split()
            # one that nobody has asked for its status is as good as gone
            return "" if state == "Z" else fields[18]
    except OSError:
        return ""


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)

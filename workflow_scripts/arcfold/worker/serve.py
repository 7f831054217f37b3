"""A worker: does the jobs that clients hand it, one after another, in one process.

    python -m arcfold.worker.serve FOLDER/slot-0

The protocol stands in `jobs.client`. For example, with one GPU:

    client 1 connects     torch is imported, the GPU leased, the job done     4 s
    client 2 connects     the job is done                                      no start at all
    nobody connects       after 10 s, or as soon as another process waits for the GPU, the worker ends

A client that goes away in the middle of its job takes the worker with it: kernels that run cannot be called back,
and the end of a process frees a device at once. So does a job that fails, for who knows what it left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import runpy
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO, cast

from arcfold.jobs import devices
from arcfold.jobs.files import InputError
from arcfold.jobs.inside import forget
from arcfold.jobs.job import Ended
from arcfold.jobs.request import read_request
from arcfold.models.loading import keeping_models

IDLE = 10.0
"""Seconds without a job after which a worker ends."""
LOOK = 0.1
"""Seconds between two looks whether another process waits for the device."""
TENURE = 10.0
"""Seconds that a worker keeps its device at least while others wait: starting anew for each job would help nobody."""


class Said:
    """A text stream whose text goes to the client, as standard error."""

    encoding = "utf-8"

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send

    def write(self, text: str) -> int:
        self._send({"said": text})
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def main(slot: str) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"{slot}.sock")
    listener.listen(8)
    listener.settimeout(LOOK)
    worker = Worker(slot)
    with devices.kept_lease(worker.keeper), keeping_models():
        idle_since = time.monotonic()
        while True:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                if time.monotonic() - idle_since < IDLE and not worker.gives_way():
                    continue
                with _own(slot) as mine:
                    if not mine:  # a client has taken the slot in this very moment
                        continue
                    _close(listener, slot)
                    return
            with connection:
                status, sound = worker.serve(connection)
                # as long as the client holds the slot no other connects, so none is sent away
                if ending := not sound or worker.gives_way():
                    _close(listener, slot)
                worker.send({"status": status})
            if ending:
                return
            idle_since = time.monotonic()


class Worker:
    """Does one job after another, and tells its client of the moment how it goes."""

    def __init__(self, slot: str) -> None:
        folder = Path(slot).parent
        self.keeper = devices.Keeper(folder.parent.name, self._note_waiting, self._note_taken)
        self._waiting_file = folder / "waiting.lock"
        self._waiting: int | None = None
        self._taken: float | None = None
        self._connection: socket.socket | None = None
        self._sending = threading.Lock()

    def gives_way(self) -> bool:
        """Whether another process waits for the device, and this one has had it for long enough."""
        return self._taken is not None and time.monotonic() - self._taken > TENURE and self.keeper.somebody_waits()

    def send(self, message: dict[str, Any]) -> None:
        """Tells the client; one that is gone is noticed elsewhere."""
        with self._sending, contextlib.suppress(OSError):
            if self._connection is not None:
                self._connection.sendall(json.dumps(message).encode() + b"\n")

    def serve(self, connection: socket.socket) -> tuple[int, bool]:
        """Does the job that a client asks for; its status, and whether this process is fit for another job."""
        self._connection = connection
        request = json.loads(_line(connection))
        done = threading.Event()
        threading.Thread(target=_end_with_client, args=(connection, done), daemon=True).start()
        if self._taken is not None:
            self.send({"began": True})
        status, sound = _run(request["job"], Said(self.send))
        done.set()
        return status, sound

    def _note_waiting(self) -> None:
        """Keeps clients from starting further workers as long as this one has no device."""
        self._waiting = os.open(self._waiting_file, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._waiting, fcntl.LOCK_SH)

    def _note_taken(self) -> None:
        self._taken = time.monotonic()
        self.send({"began": True})
        if self._waiting is not None:
            os.close(self._waiting)
            self._waiting = None


def _run(job: str, said: Said) -> tuple[int, bool]:
    """Runs the script of a job's file with the streams of its client; its status, and whether this process is sound.

    After a script that has failed it is not, also when a run that keeps going gives it status 0.
    """
    streams = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = cast(TextIO, said)
    try:
        given = read_request(job)
        runpy.run_path(str(given.script), init_globals={"snakemake": given}, run_name="__main__")
        return 0, True
    except SystemExit as end:
        sound = isinstance(end, Ended) and end.sound
        return (end.code if isinstance(end.code, int) else int(end.code is not None)), sound
    except InputError as error:  # a job says its own line; this one's file is none
        print(f"error: {error}", file=sys.stderr)
        return 1, False
    except BaseException:
        traceback.print_exc()
        return 1, False
    finally:
        sys.stdout, sys.stderr = streams
        forget()


def _line(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\n"):
        data = connection.recv(1 << 16)
        if not data:
            raise SystemExit(0)
        received += data
    return received


def _end_with_client(connection: socket.socket, done: threading.Event) -> None:
    """Ends the process, and what it has started, when the client is gone before its job is done."""
    while not done.is_set():
        with contextlib.suppress(OSError):
            if connection.recv(1) and not done.is_set():
                continue
        if not done.is_set():
            os.killpg(0, signal.SIGKILL)


@contextlib.contextmanager
def _own(slot: str) -> Iterator[bool]:
    """Whether this worker's slot is taken by no client; none can take it in the block then."""
    descriptor = os.open(f"{slot}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _close(listener: socket.socket, slot: str) -> None:
    listener.close()
    Path(f"{slot}.sock").unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1])

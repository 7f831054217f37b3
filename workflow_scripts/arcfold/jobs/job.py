"""How a job of the workflow starts and ends: its log, its thread count, its one line when the input is wrong."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO, cast

from arcfold.jobs import checksums
from arcfold.jobs.files import Declined, InputError, no_room, one_line
from arcfold.jobs.holes import leave_hole
from arcfold.jobs.records import drop_records, paths_of, write_records
from arcfold.jobs.request import Request, command_of, write_request
from arcfold.jobs.stored import is_stored, paths_here


class _Log:
    """A job's log. Once it cannot be written to, that is said on the terminal, and the job goes on without it."""

    encoding = "utf-8"

    def __init__(self, path: str | Path, terminal: TextIO, first_line: str | None) -> None:
        """Raises InputError if not even the first line can be written."""
        self._path, self._terminal = path, terminal
        self._stream: TextIO | None = None
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._stream = open(path, "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
            if first_line is not None:
                self._stream.write(f"{first_line}\n")
        except OSError as error:
            self._close_quietly()
            remedy = "make room there" if no_room(error) else "expected a folder that this user may write to"
            raise InputError(f"{path}: the log cannot be written ({error.strerror}); {remedy}") from None

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                self._stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        pass  # each line is written as it ends

    def close(self) -> None:
        if self._stream is not None:
            try:
                self._stream.close()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._close_quietly()
        print(f"{self._path}: the log ends here ({error.strerror})", file=self._terminal, flush=True)

    def _close_quietly(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()
        self._stream = None


class _Tee:
    """A text stream that writes to the terminal and to the log."""

    encoding = "utf-8"

    def __init__(self, terminal: TextIO, log: _Log) -> None:
        self._terminal, self._log = terminal, log

    def write(self, text: str) -> int:
        self._terminal.write(text)
        return self._log.write(text)

    def flush(self) -> None:
        self._terminal.flush()

    def isatty(self) -> bool:
        return self._terminal.isatty()


class Ended(SystemExit):
    """A job that has ended its process with a status. sound: whether the process is fit for another job"""

    def __init__(self, status: int, *, sound: bool) -> None:
        super().__init__(status)
        self.sound = sound


@contextlib.contextmanager
def job(given: Any) -> Iterator[None]:
    """The frame around the work of a rule's script.

    given: the object `snakemake` of a script, or what `request.read_request` makes of a job's file

    Writes that file beside the log, if it does not come from there, and the command that does the job again
    into the log's first line, and at the end what the outputs were made from; the rest is `logged`. Inputs that are
    results must have the hashes that `checksums` has of them, and outputs get theirs when the work is done.
    """
    in_storage = is_stored(paths_of(given.output))
    if in_storage:
        given.input, given.output, given.log = map(paths_here, (given.input, given.output, given.log))
    log = given.log[0]
    debugged = getattr(given, "debugged", False)
    # a run can do without one of its folds: it leaves holes in the place of its outputs, and ends well
    keeps_going = given.params.get("of_a_fold") and given.config.get("keep_going")

    def leave_holes(error: Exception) -> None:
        # a hole has neither a record nor a hash, also where the job ended before it dropped those of its outputs
        drop_records(given)
        checksums.drop(paths_of(given.output))
        for output in given.output:
            leave_hole(output, given.rule, error)

    with logged(
        log,
        given.params.get("threads", 1),
        first_line=command_of(log),
        debugged=debugged,
        instead=leave_holes if keeps_going else None,
    ):
        if not isinstance(given, Request):  # one that comes from its file
            write_request(given)
        if in_storage:
            yield
            return
        checksums.check(paths_of(given.input))
        drop_records(given)
        checksums.prune(paths_of(given.output))
        yield
        write_records(given)
        checksums.record(paths_of(given.output))


@contextlib.contextmanager
def logged(
    log: str | Path,
    threads: int,
    first_line: str | None = None,
    debugged: bool = False,
    instead: Callable[[Exception], None] | None = None,
) -> Iterator[None]:
    """Keeps a log of a job's work, and ends the process with one line when something is wrong.

    Standard error goes to the log too. An InputError ends the process with status 1, its line last on
    both; any other error leaves its traceback in the log and a line on standard error that says so.

    debugged: errors are said and raised, for a debugger to show where
    instead: what is done when the work has failed, after which the process ends with status 0. A full disk and its
        like are no failure of the work: they would end the next job too.
    """
    # before torch is loaded: its thread pools read the first two once; with the third it asks NVML
    # whether there are devices, which leaves CUDA untouched until the job has leased its own
    os.environ |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    os.environ |= {"PYTORCH_NVML_BASED_CUDA_CHECK": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    original = sys.stderr
    try:
        stream = _Log(log, original, first_line)
    except InputError as error:
        sys.exit(f"error: {error}")
    sys.stderr = cast(TextIO, _Tee(original, stream))
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    for chatty in ("httpx", "transformers", "peft", "datasets", "filelock"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # what a library will change in a later version is for those who pin it, not for a job's log
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        if debugged:
            raise
        raise Ended(_end(error, instead), sound=isinstance(error, Declined)) from None
    except Exception as error:
        if is_out_of_memory(error):
            said = one_line(error, 120) or type(error).__name__
            print(f"error: out of memory ({said}); run fewer jobs at a time (--cores 1) or give them more",
                  file=sys.stderr, flush=True)  # fmt: skip
        elif reason := no_room(error):  # of a file that a library writes: temporary ones, caches
            name = getattr(error, "filename", None) or "a file of the job"
            print(f"error: {name}: cannot be written ({reason}); make room there and run the same command again",
                  file=sys.stderr, flush=True)  # fmt: skip
        else:
            stream.write(traceback.format_exc())
            line = f"internal error: {type(error).__name__}: {one_line(error, 200)}"
            print(f"{line} (traceback in {log})", file=sys.stderr, flush=True)
        if debugged:
            raise
        sys.exit(_end(error, instead))
    finally:
        sys.stderr = original
        stream.close()


_OUT_OF_MEMORY = ("out of memory", "allocate memory", "failed to map segment", "bad_alloc", "bad allocation")
"""What the loader of libraries, the allocators and CUDA say, each in its own class of error."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the host's or a device's memory does not suffice."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def _end(error: Exception, instead: Callable[[Exception], None] | None) -> int:
    """The status that a failed job ends with."""
    if instead is None or isinstance(error, OSError):
        return 1
    try:
        instead(error)
    except OSError as problem:
        print(f"error: {problem}", file=sys.stderr, flush=True)
        return 1
    print("keep_going: the run goes on without this fold", file=sys.stderr, flush=True)
    return 0

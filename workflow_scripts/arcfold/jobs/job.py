"""How a job of the workflow starts and ends: its log, its thread count, its one line when the input is wrong."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from arcfold.jobs.files import InputError
from arcfold.jobs.holes import leave_hole
from arcfold.jobs.records import drop_records, write_records
from arcfold.jobs.request import Request, command_of, write_request


class _Tee:
    """A text stream that writes to two others."""

    def __init__(self, first: TextIO, second: TextIO) -> None:
        self._both = (first, second)

    def write(self, text: str) -> int:
        for stream in self._both:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self._both:
            stream.flush()

    def isatty(self) -> bool:
        return self._both[0].isatty()

    @property
    def encoding(self) -> str:
        return "utf-8"


@contextlib.contextmanager
def job(given: Any) -> Iterator[None]:
    """The frame around the work of a rule's script.

    given: the object `snakemake` of a script, or what `request.read_request` makes of a job's file

    Writes that file beside the log, if it does not come from there, and the command that does the job again
    into the log's first line, and at the end what the outputs were made from; the rest is `logged`.
    """
    log = given.log[0]
    debugged = getattr(given, "debugged", False)
    # a run can do without one of its folds: it leaves holes in the place of its outputs, and ends well
    keeps_going = given.params.get("of_a_fold") and given.config.get("keep_going")

    def leave_holes(error: Exception) -> None:
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
        drop_records(given)
        yield
        write_records(given)


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
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    original = sys.stderr
    with open(log, "w", encoding="utf-8", buffering=1) as stream:
        if first_line is not None:
            print(first_line, file=stream)
        sys.stderr = _Tee(original, stream)
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
            sys.exit(_end(error, instead))
        except Exception as error:
            traceback.print_exc(file=stream)
            line = f"internal error: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            print(f"{line} (traceback in {log})", file=sys.stderr, flush=True)
            if debugged:
                raise
            sys.exit(_end(error, instead))
        finally:
            sys.stderr = original


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

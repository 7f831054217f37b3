"""A job of another rule within the job that runs: the same script, file, log and record as if Snakemake had begun it.

A job that decides what its next step is cannot be many jobs of Snakemake, which wants to know them all beforehand.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import runpy
import sys
from collections.abc import Collection, Mapping
from typing import Any

from arcfold.jobs.records import hash_of_path, paths_of, read_record, what_differs
from arcfold.jobs.request import SCRIPTS, Request, Values, request_path, write_request_of


def job_inside(
    rule: str, *, config: Mapping[str, Any], threads: int, **parts: Mapping[str, Any] | list[Any]
) -> Request:
    """The job of a rule whose script has its name.

    parts: input, output, params, wildcards, resources and log, as the rule's own job would have them
    """
    values = {name: Values(content, f"{rule}: {name}") for name, content in parts.items()}
    # what fails is the outer job's to say
    given = {**config, "keep_going": False}
    return Request(rule=rule, script=SCRIPTS / f"{rule}.py", threads=threads, config=given, debugged=True, **values)


def run_inside(job: Request) -> None:
    """Does it in this process. Raises what the script raises."""
    log = str(job.log[0])
    request_path(log).parent.mkdir(parents=True, exist_ok=True)
    write_request_of(job, job.rule, job.script.name, job.config)
    try:
        runpy.run_path(str(job.script), init_globals={"snakemake": job}, run_name="__main__")
    finally:
        forget()


def is_done(job: Request, gone: Collection[str] = ()) -> bool:
    """Whether the job's outputs are there, made by this code from these parameters and inputs.

    gone: inputs that need not be there any more
    """
    try:
        inputs = {path: hash_of_path(path) for path in paths_of(job.input) if path not in gone}
        return all(_is_made(output, dict(job.params.items()), inputs, gone) for output in paths_of(job.output))
    except OSError:
        return False


def _is_made(output: str, params: Mapping[str, Any], inputs: Mapping[str, str], gone: Collection[str]) -> bool:
    record = read_record(output)
    if record is None or not os.path.exists(output):
        return False
    made_from = {path: digest for path, digest in record["inputs"].items() if path not in gone}
    return made_from == inputs and what_differs(output, params, code_counts=True) is None


def forget() -> None:
    """Leaves nothing of a job to the next: what hangs in cycles, free memory in pieces, peaks."""
    gc.collect()
    # after hundreds of jobs of all sizes what is free lies between what is not, and the process only grows
    with contextlib.suppress(OSError, AttributeError):  # a C library of another kind
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()

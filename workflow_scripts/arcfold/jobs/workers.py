"""Which workers a workflow may use: those of the same code, environment, config and folder, and of this user alone."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from arcfold.jobs.files import InputError, hash_of
from arcfold.jobs.provenance import versions

CLIENT = Path(__file__).with_name("client.py")
"""What a job starts instead of its script."""
LONGEST = 68
"""Bytes of a folder in which the path of a socket, `/0123456789abcdef/gpu1/slot-0.sock` more, stays below 104."""

_OF_ENVIRONMENT = ("CUDA", "NVIDIA", "TORCH", "PYTORCH", "TRITON", "HF_", "ARCFOLD_LEASES", "LD_LIBRARY_PATH")
"""Beginnings of the variables that a worker reads once, at its start."""


def workers_folder(config: Mapping[str, Any], code: Iterable[str]) -> Path:
    """The folder of the workers that may do the jobs of a workflow; two that could give other bytes have two.

    config: the whole one; code: hashes of what the workers run
    Under SLURM the workers of an allocation are its own, for they end with it.
    """
    identity = {
        "code": sorted(code),
        "python": [sys.executable, versions()],
        "config": config,
        "folder": str(Path.cwd()),
        "environment": {key: value for key, value in os.environ.items() if key.startswith(_OF_ENVIRONMENT)},
        "allocation": os.environ.get("SLURM_JOB_ID"),
    }
    return _root() / hash_of(identity, 16)


def _root() -> Path:
    """$ARCFOLD_WORKERS, else a folder of this user's in the temporary one, or in /tmp where that path is too long.

    Raises InputError for a given folder whose path is too long.
    """
    given = os.environ.get("ARCFOLD_WORKERS")
    root = Path(given or Path(tempfile.gettempdir()) / f"arcfold-workers-{os.getuid()}").absolute()
    if len(os.fsencode(root)) <= LONGEST:
        return root
    if given:
        raise InputError(f"ARCFOLD_WORKERS: {root}: expected a path of at most {LONGEST} bytes, for its sockets")
    return Path("/tmp") / root.name

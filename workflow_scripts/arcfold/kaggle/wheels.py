"""The wheels of a locked environment for another machine's Python: Linux on x86-64, which contest notebooks are.

    pins = locked("envs/gpu.lock", "3.12", leave_out={"torch"})
    fetch(pins, "3.12", "wheels")

What is fetched has a hash of the lock. torch, and what torch brings, is the notebook's own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from arcfold.jobs.files import InputError, hash_of_file, one_line

REQUIREMENTS = "requirements.txt"
SOURCES = frozenset({"connection-pool"})
"""Packages without a wheel; they are built, and have no compiled parts."""
OLDEST_GLIBC, NEWEST_GLIBC = 5, 28
"""Of the wheels, as in manylinux_2_28: an older one does everywhere, and no image is as old as the newest."""
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\\n]+)(?: ; (?P<marker>[^\\\n]+?))? \\$", re.MULTILINE)
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
_BUILT_AT = "315532800"
"""1 January 1980, the first moment that a zip knows, in seconds: what is built has the same bytes every time."""


@dataclass(frozen=True)
class Pin:
    """One package of a lock."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={each}" for each in self.hashes)])


def locked(lock: str | Path, python: str, leave_out: Collection[str] = ()) -> list[Pin]:
    """The packages that a lock has for a Python (`3.12`) on Linux with x86-64, in its order."""
    from packaging.markers import Marker

    text = Path(lock).read_text(encoding="utf-8")
    environment = {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    found = list(_PIN.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    pins = []
    for match, end in zip(found, ends, strict=True):
        wanted = match["marker"] is None or Marker(match["marker"]).evaluate(environment)
        if wanted and match["name"] not in leave_out:
            pins.append(Pin(match["name"], match["version"], tuple(_HASH.findall(text[match.end() : end]))))
    return pins


def platforms() -> list[str]:
    """The tags of wheels that run on Linux with x86-64; pip takes each as it is written."""
    return [*(f"manylinux_2_{minor}_x86_64" for minor in range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1)),
            "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]  # fmt: skip


def fetch(pins: Collection[Pin], python: str, folder: str | Path) -> None:
    """Puts the wheels of all pins into a folder, and `requirements.txt`, which has each with its own hash.

    Where pip looks is its own affair: its configuration, PIP_INDEX_URL, PIP_NO_INDEX and PIP_FIND_LINKS.
    Raises InputError with what pip says if one cannot be had.
    """
    folder = Path(folder)
    ready = [pin for pin in pins if pin.name not in SOURCES]
    target = ["--python-version", python, "--implementation", "cp"]
    target += [word for tag in platforms() for word in ("--platform", tag)]
    _pip("download", ready, [*target, "--only-binary", ":all:", "--dest", str(folder)])
    if built := [pin for pin in pins if pin.name in SOURCES]:
        _pip("wheel", built, ["--no-build-isolation", "--no-cache-dir", "--wheel-dir", str(folder)])
    write_requirements(folder, pins)


def write_requirements(folder: Path, pins: Collection[Pin]) -> None:
    """Writes what pip installs from the wheels in a folder. Raises InputError if there is not one for each pin."""
    from packaging.utils import canonicalize_name

    wheels: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        wheels[canonicalize_name(name), version] = path
    lines = []
    for pin in pins:
        key = canonicalize_name(pin.name), pin.version
        if key not in wheels:
            raise InputError(
                f"{folder}: no wheel of {pin.name} {pin.version}, expected one of each package in the lock"
            )
        path = wheels.pop(key)
        lines.append(str(Pin(pin.name, pin.version, (f"sha256:{hash_of_file(path)}",))))
    if wheels:
        raise InputError(f"{folder}: {min(wheels.values()).name} is in no lock, expected the wheels of the lock alone")
    (folder / REQUIREMENTS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _pip(command: str, pins: Sequence[Pin], arguments: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "locked.txt")
        listed.write_text("".join(f"{pin}\n" for pin in pins), encoding="utf-8")
        given = [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", "--no-input"]
        done = subprocess.run(
            [*given, "--no-deps", "--require-hashes", *arguments, "--requirement", str(listed)],
            env=os.environ | {"SOURCE_DATE_EPOCH": _BUILT_AT},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or [done.stderr or done.stdout]
        raise InputError(
            f"pip {command}: {one_line(said[-1].removeprefix('ERROR: '), 400)}; expected an index of packages within "
            "reach, or a folder of wheels (PIP_NO_INDEX=1 PIP_FIND_LINKS=folder)"
        )

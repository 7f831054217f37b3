"""Writes an environment's lock and conda file from its direct requirements.

    python3.11 envs/lock.py cpu gpu dev      resolve anew and write
    python3.11 envs/lock.py --conda          only write the conda files again, from the locks

It asks the package index that pip is set up with, installs nothing, and needs pip 23 or later.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ENVS = Path(__file__).resolve().parent

# torch's own wheel names these exactly, and which ones depends on the CUDA that it is built for.
LEFT_TO_TORCH = ("nvidia-", "cuda-", "triton")


def main(arguments: list[str]) -> None:
    names = [name for name in arguments if name != "--conda"]
    if not arguments or not set(names) <= {"cpu", "gpu", "dev"}:
        sys.exit("usage: python3.11 envs/lock.py [--conda] [cpu] [gpu] [dev]")
    for name in names:
        pins = resolve(name)
        if name == "dev":  # it comes on top of the others, and must agree with what they have
            present = {normal(pin) for pin in read_pins("cpu")}
            pins = [pin for pin in pins if normal(pin) not in present]
        header = f"# Made by `python envs/lock.py {name}` from {name}.in; do not edit.\n"
        (ENVS / f"{name}.lock").write_text(header + "".join(f"{pin}\n" for pin in pins), encoding="utf-8")
    for name in ("cpu", "gpu"):
        (ENVS / f"{name}.yaml").write_text(conda_file(name), encoding="utf-8")


def resolve(name: str) -> list[str]:
    """`package==version` of everything that {name}.in needs, sorted, without local versions (+cpu)."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--report", str(report), "--requirement", str(ENVS / f"{name}.in")]
        if name == "dev":
            command += ["--constraint", str(ENVS / "cpu.lock")]
        subprocess.run(command, check=True)
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    pins = [f"{item['metadata']['name']}=={item['metadata']['version'].partition('+')[0]}" for item in found]
    return sorted((pin for pin in pins if not normal(pin).startswith(LEFT_TO_TORCH)), key=normal)


def read_pins(name: str) -> list[str]:
    """The requirements of a lock, in its order."""
    lines = (ENVS / f"{name}.lock").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def conda_file(name: str) -> str:
    """The environment for `--sdm conda`. It repeats the lock, because Snakemake copies this file
    away from its folder, where a reference to the lock leads nowhere, and takes its text alone for
    the version of the environment."""
    pins = "".join(f"      - {pin}\n" for pin in read_pins(name))
    return (
        f"# Made by envs/lock.py from {name}.lock; do not edit.\n"
        "channels:\n  - conda-forge\n  - nodefaults\n"
        "dependencies:\n  - python=3.11\n  - pip\n  - pip:\n" + pins
    )


def normal(pin: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", pin.partition("==")[0]).lower()


if __name__ == "__main__":
    main(sys.argv[1:])

"""Writes the locks and conda files of the environments from their direct requirements.

    make lock                       every lock anew, with the versions that stand there
    make lock ARGS=--upgrade        with the newest that the requirements allow
    make lock ARGS="cpu tools"      only these
    make lock ARGS=--conda          only the conda files, from the locks as they are

uv resolves for every platform and Python from 3.11 on, and installs nothing. It asks PyPI, or the index that
UV_DEFAULT_INDEX names. Each requirement has the hashes of all files of its release: any platform's wheel passes.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

ENVS = Path(__file__).resolve().parent
LOCKS = ("cpu", "gpu", "cuda", "dev", "pip", "tools", "gpu.nodeps")
"""In the order in which they are made: the later ones agree with the earlier ones."""

# torch's own wheel names these exactly, and which ones depends on the CUDA that it is built for.
LEFT_TO_TORCH = ("nvidia-", "cuda-", "triton")
BUILDS = "builds.sha256"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make lock ARGS=…")
    parser.add_argument("--upgrade", action="store_true")
    parser.add_argument("--conda", action="store_true")
    parser.add_argument("names", nargs="*", metavar="|".join(LOCKS))
    given = parser.parse_args()
    if unknown := set(given.names) - set(LOCKS):
        parser.error(f"no lock {', '.join(sorted(unknown))}; expected some of {', '.join(LOCKS)}")
    names = [] if given.conda else [name for name in LOCKS if name in (given.names or LOCKS)]
    for name in names:
        header = f"# Made by `make lock` from {source(name).name}; do not edit.\n"
        text = "".join(f"{entry}\n" for entry in made(name, given.upgrade))
        (ENVS / f"{name}.lock").write_text(header + text, encoding="utf-8")
    for name in ("cpu", "gpu"):
        (ENVS / f"{name}.yaml").write_text(conda_file(name), encoding="utf-8")


def source(name: str) -> Path:
    """The direct requirements that a lock is made from."""
    return ENVS / ("cpu.in" if name == "cuda" else f"{name}.in")


def made(name: str, upgrade: bool) -> list[str]:
    """The entries of a lock."""
    if name == "cuda":  # what PyPI's torch brings: on top, where the build that was installed asks for it
        return [entry for entry in resolve(name, upgrade) if left_to_torch(entry)]
    entries = [entry for entry in resolve(name, upgrade) if not left_to_torch(entry)]
    if name == "dev":  # it comes on top of the others, and must agree with what they have
        present = {normal(pin) for pin in read_pins("cpu")}
        entries = [entry for entry in entries if normal(entry) not in present]
    return [with_builds(entry) for entry in entries]


def resolve(name: str, upgrade: bool) -> list[str]:
    """`package==version ; marker`, each with its hashes, of everything that a lock's requirements need."""
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
    if name == "gpu.nodeps":
        options += ["--no-deps"]
    if upgrade:
        options += ["--upgrade"]
    with tempfile.TemporaryDirectory() as folder:
        result, limits = Path(folder, "made.lock"), Path(folder, "limits.txt")
        # uv keeps the versions of the file that it writes to; it would keep its hashes too
        before = read_pins(name) if (ENVS / f"{name}.lock").is_file() else []
        for path, pins in ((result, before), (limits, limits_of(name))):
            path.write_text("".join(f"{pin}\n" for pin in pins), encoding="utf-8")
        command = ["uv", "pip", "compile", "--quiet", *options, "--constraint", str(limits)]
        subprocess.run([*command, "--output-file", str(result), str(source(name))], check=True)
        return entries_of(result.read_text(encoding="utf-8"))


def limits_of(name: str) -> list[str]:
    """The pins that a lock must agree with, because it is installed into the same environment."""
    return read_pins("cpu") if name in ("cuda", "dev", "pip") else []


def with_builds(entry: str) -> str:
    """The entry with the hashes of those builds of its version that PyPI does not have."""
    pin = entry.partition(" ")[0]
    for line in (ENVS / BUILDS).read_text(encoding="utf-8").splitlines():
        digest, _, file = line.partition("  ")
        if line and not line.startswith("#") and pin == "==".join(file.split("+")[0].split("-")[:2]):
            entry += f" \\\n    --hash=sha256:{digest}"
    return entry


def entries_of(text: str) -> list[str]:
    """The requirements of a lock's text with their hashes, in its order."""
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    return re.split(r"\n(?=\S)", "\n".join(lines)) if lines else []


def read_pins(name: str) -> list[str]:
    """The requirements of a lock without their hashes, in its order."""
    entries = entries_of((ENVS / f"{name}.lock").read_text(encoding="utf-8"))
    return [entry.partition("\n")[0].removesuffix("\\").strip() for entry in entries]


def conda_file(name: str) -> str:
    """The environment for `--sdm conda`. It repeats the lock, because Snakemake copies this file
    away from its folder, where a reference to the lock leads nowhere, and takes its text alone for
    the version of the environment. Without hashes: with them pip refuses what torch brings itself."""
    return (
        f"# Made by `make lock` from {name}.lock; do not edit.\n"
        "channels:\n  - conda-forge\n  - nodefaults\n"
        "dependencies:\n  - python=3.11\n  - pip\n  - pip:\n" + _listed(read_pins(name))
    )


def _listed(pins: Iterable[str]) -> str:
    return "".join(f"      - {pin}\n" for pin in pins)


def left_to_torch(entry: str) -> bool:
    return normal(entry).startswith(LEFT_TO_TORCH)


def normal(entry: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", entry.partition("==")[0]).lower()


if __name__ == "__main__":
    main()

"""A process that finds this folder on its path is killed at one of its writes.

    PYTHONPATH=tests/helpers/dying DYING='{"counter": "/tmp/writes", "at": 120, "whom": "group"}' snakemake …

All Pythons of the call count in one file each time they are about to open a file for writing, or to rename, link or
remove one, below results/ or .snakemake/. The one that makes the count reach `at` sends SIGKILL: to itself ("job"), to
Snakemake, or to Snakemake's whole process group. A file that it was about to open is opened, so that it lies there
without its content: that is what a kill inside a write leaves.
"""

import json
import os
import signal
import sys

GIVEN = json.loads(os.environ.get("DYING", "{}"))
WATCHED = ("results", ".snakemake")
EVENTS = ("os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def is_watched(path: object) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    relative = os.path.relpath(os.path.realpath(os.path.dirname(os.fsdecode(path))), FOLDER)
    return relative.split(os.sep)[0] in WATCHED


def count() -> int:
    """The number of writes of all processes, this one's among them."""
    descriptor = os.open(GIVEN["counter"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b".")
    reached = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.close(descriptor)
    return reached


def die(event: str, arguments: tuple) -> None:
    if event == "open":
        os.close(os.open(arguments[0], arguments[2], 0o644))
    snakemake = int(os.environ["DYING_SNAKEMAKE"])
    if GIVEN["whom"] == "group":
        os.killpg(snakemake, signal.SIGKILL)
    os.kill(snakemake if GIVEN["whom"] == "snakemake" else os.getpid(), signal.SIGKILL)


def watch(event: str, arguments: tuple) -> None:
    global watching
    if not watching or event not in (*EVENTS, "open"):
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
        return
    watching = False
    # of two names the one that is made counts
    if is_watched(arguments[1] if event in EVENTS[:3] else arguments[0]) and count() == GIVEN["at"]:
        die(event, arguments)
    watching = True


if GIVEN:
    FOLDER = os.path.realpath(os.getcwd())
    # the first of them is Snakemake itself, which leads the group
    os.environ.setdefault("DYING_SNAKEMAKE", str(os.getpid()))
    watching = True
    sys.addaudithook(watch)

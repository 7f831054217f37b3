"""A run asks nothing of the network, and goes through where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shipped import ROOT
from tiny_workflow import Workflow

# Python runs it at its start, in each process; it writes down what would leave the machine.
WATCH = """
import os, socket, sys

def watch(event, arguments):
    # a look whether this machine knows IPv6 binds a port of the loopback
    if event == "socket.getaddrinfo" or (
        event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind")
        and arguments[0].family in (socket.AF_INET, socket.AF_INET6)
        and not (event == "socket.bind" and arguments[1][0] in ("127.0.0.1", "::1"))
    ):
        with open(os.environ["WATCHED"], "a") as file:
            file.write(f"{event} {arguments[1:]} {sys.argv}\\n")

sys.addaudithook(watch)
open(os.environ["WATCHED"] + ".on", "a").write("x")
"""


@pytest.fixture
def watched(tmp_path: Path) -> dict[str, str]:
    """The variables of a process that writes down what it, and all that it starts, asks of the network."""
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    return {"PYTHONPATH": str(tmp_path), "WATCHED": str(tmp_path / "asked")}


def test_a_process_that_asks_is_seen(watched: dict[str, str]) -> None:
    # where there is no network: nothing is sent
    program = "import socket\ntry: socket.create_connection(('192.0.2.1', 9), 0.01)\nexcept OSError: pass"
    command = ["sh", str(ROOT / "tests" / "without_network.sh"), sys.executable, "-c", program]
    subprocess.run(command, env={**os.environ, **watched}, check=True)
    assert "192.0.2.1" in Path(watched["WATCHED"]).read_text()


def test_a_run_asks_nothing_of_the_network(fresh: Workflow, watched: dict[str, str]) -> None:
    command, environment = fresh.command("results/score_tiny.json", "results/runs/tiny/pictures/first.svg")
    del environment["HF_HUB_OFFLINE"]  # of its own accord
    command = ["sh", str(ROOT / "tests" / "without_network.sh"), *command]
    done = subprocess.run(
        command,
        cwd=fresh.folder,
        env={**environment, **watched},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert fresh.path("results/score_tiny.json").is_file()
    asked = Path(watched["WATCHED"])
    assert not asked.exists(), asked.read_text()
    assert len(Path(f"{asked}.on").read_text()) > 5  # Snakemake and its jobs were all looked at

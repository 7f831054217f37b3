"""What `make` hands on to pip and to Python, whatever a user's shell says."""

from __future__ import annotations

import os
import subprocess

import pytest
from shipped import ROOT


@pytest.mark.parametrize(
    ("name", "value", "handed_on"),
    [
        ("PIP_USER", "1", "0"),  # pip would install into the home folder
        ("PIP_REQUIRE_VIRTUALENV", "1", "0"),  # pip would refuse to make the first environment
        ("PIP_TARGET", "/elsewhere", None),
        ("PYTHONPATH", "/elsewhere", None),
        ("PYTHONHOME", "/elsewhere", None),
    ],
)
def test_settings_of_a_users_shell_for_other_installations_are_left_out(
    name: str, value: str, handed_on: str | None
) -> None:
    show = "show:; @env"
    done = subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT), "--eval", show, "show"],
        env=os.environ | {name: value},
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert found.get(name) == handed_on

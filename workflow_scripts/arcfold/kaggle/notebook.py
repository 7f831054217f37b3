"""The notebook of a bundle: three cells, each of which ends without an error whatever happens."""

from __future__ import annotations

from typing import Any

INSTALL = """\
# 1. Unpack the bundle where files can be written, and install what this image lacks. Nothing is fetched.
import sys
from pathlib import Path

INPUT = Path("/kaggle/input")  # the bundle is somewhere below it
WORK = Path("/tmp/arcfold")  # results, which the notebook need not keep
SUBMISSION = Path("/kaggle/working/submission.json")

contest = None
for bundle in sorted(path.parent for path in INPUT.rglob("bundle.json") if (path.parent / "workflow").is_dir())[:1]:
    sys.path.insert(0, str(bundle / "workflow" / "workflow_scripts"))
    from arcfold.kaggle.inside import Contest

    contest = Contest(bundle, WORK, SUBMISSION)
    contest.prepare()
if contest is None:
    print(f"error: no bundle below {INPUT}, expected it among the notebook's inputs (Add Input)")
"""

RUN = """\
# 2. The run on the hidden tasks, in the time that is left. Whatever ends it, the third cell has its answers so far.
if contest is not None:
    contest.run()
"""

LEAVE = """\
# 3. The submission: the final one, or the best so far.
if contest is not None:
    contest.leave()
"""


def notebook(run: str) -> dict[str, Any]:
    """The notebook of a run, in nbformat 4."""
    about = (
        f"# {run}\n\nTest-time training on the contest's hidden tasks: a bundle of arcfold. Accelerator: GPU L4 x4. "
        "Internet: off. Inputs: the bundle, as a dataset, and the contest's data."
    )
    return {
        "cells": [
            {"cell_type": "markdown", "id": "about", "metadata": {}, "source": _lines(about)},
            *(_code(name, source) for name, source in (("install", INSTALL), ("run", RUN), ("leave", LEAVE))),
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _code(name: str, source: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": name,
        "metadata": {},
        "outputs": [],
        "source": _lines(source.rstrip("\n")),
    }


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)

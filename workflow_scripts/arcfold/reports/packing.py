"""A task's data as a short text: what the browser unpacks when the task is opened.

    base64 of gzip of   4 bytes: length of the text, little-endian
                        the text: JSON in UTF-8, what the task is and which run found which candidate at which rank
                        one byte for each probability, in the order of the text's findings

A probability is a log-probability in 255 levels, finer the closer it is to 1: 99 % is told from 98.7 %, 1 % from
1.1 %. The mean by which candidates are ranked stands in the text as it is.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from arcfold.arc.tasks import Grid
from arcfold.reports.candidates import Findings

FINENESS, BEND = 40.0, 8.0
"""Level of a log-probability x: FINENESS · ln(1 − BEND · x). The browser takes both from the summary."""
NOT_THERE = 255


def pack_tasks(found: Findings) -> dict[str, str]:
    """The text of each task, by its id."""
    return {task_id: pack(*describe(found, task_id)) for task_id in found.by_task}


def describe(found: Findings, task_id: str) -> tuple[dict[str, Any], npt.NDArray[np.float64]]:
    """What the page of a task knows, and its log-probabilities in the order of its findings, NaN where there is none.

    views: the different pairs of symmetries, of search and scoring; runs: by run the number of its pair
    Of each test input: the candidates that are shown; how many more there are over all runs; the findings, each as
    [run, place of the candidate, rank, value, searched views, scoring views]; the number of candidates of each run.
    """
    task, known = found.tasks[task_id], found.by_task[task_id]
    pairs = sorted(set(known.views.values()))
    tests, values = [], []
    for pair, output in zip(task.test, known.outputs, strict=True):
        shown = output.shown(pair.output)
        findings = []
        for place, grid in enumerate(shown):
            for run, finding in sorted(output.findings[grid].items()):
                value = None if finding.value is None else round(finding.value, 3)
                findings.append([run, place, finding.rank, value, len(finding.found), len(finding.scored)])
                values += [finding.found, finding.scored]
        tests.append(
            {
                "input": _text(pair.input),
                "output": None if pair.output is None else _text(pair.output),
                "candidates": [_text(grid) for grid in shown],
                "more": len(output.findings) - len(shown),
                "findings": findings,
                "counts": output.counts,
            }
        )
    text = {
        "id": task_id,
        "train": [[_text(pair.input), _text(pair.output)] for pair in task.train if pair.output is not None],
        "test": tests,
        "views": pairs,
        "runs": {run: pairs.index(views) for run, views in known.views.items()},
    }
    return text, np.concatenate([np.empty(0), *(np.frombuffer(each, np.float32) for each in values if each)])


def pack(text: dict[str, Any], values: npt.NDArray[np.float64]) -> str:
    """The packed text; equal bytes for equal data."""
    head = json.dumps(text, separators=(",", ":"), ensure_ascii=False).encode()
    content = len(head).to_bytes(4, "little") + head + levels(values).tobytes()
    return base64.b64encode(gzip.compress(content, compresslevel=9, mtime=0)).decode()


def levels(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """The level of each log-probability, NOT_THERE of NaN."""
    bent = np.minimum(np.round(FINENESS * np.log1p(BEND * np.maximum(-values, 0.0))), NOT_THERE - 1)
    return np.where(np.isnan(values), NOT_THERE, np.nan_to_num(bent)).astype(np.uint8)


def _text(grid: Grid) -> str:
    return "/".join("".join(map(str, row)) for row in grid)

"""Names, ids and notes that would be markup if a page read them as such."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from made_reports import MadeStudy

HOSTILE = "</script><script>hurt()</script><img src=x onerror=hurt()>\u202e&amp;'\"{{7*7}}<!--"


def made_hostile(study: MadeStudy) -> MadeStudy:
    """The study with such a text behind every name, id and sentence of it."""
    comparison, scores = copy.deepcopy(study.comparison), copy.deepcopy(study.scores)
    comparison["study"] += HOSTILE
    comparison["notes"] = comparison["base"] = HOSTILE
    comparison["warnings"], comparison["missing"] = [HOSTILE], [HOSTILE]
    comparison["data"] |= {"name": HOSTILE, "source": HOSTILE}
    renamed: dict[str, str] = {}
    for configuration in comparison["configurations"]:
        configuration["name"] += HOSTILE
        configuration["settings"] = {f"{key}{HOSTILE}": HOSTILE for key in configuration["settings"]}
        for run in configuration["runs"]:
            renamed[run["run"]] = run["run"] + HOSTILE
            run |= {"run": renamed[run["run"]], "commit": HOSTILE, "devices": [HOSTILE], "code": HOSTILE}
            run["versions"] = {HOSTILE: HOSTILE}
            run["model"] = {"name": HOSTILE, "hash": HOSTILE}
    for pair in comparison["pairs"]:
        pair |= {"a": pair["a"] + HOSTILE, "b": pair["b"] + HOSTILE, "sentence": HOSTILE}
    tasks = [dataclasses.replace(task, id=task.id + HOSTILE) for task in study.tasks]
    made: dict[str, Any] = {}
    for name, score in scores.items():
        score["tasks"] = {key + HOSTILE: value for key, value in score["tasks"].items()}
        score["provenance"]["run"] |= {"dataset": HOSTILE, "model": HOSTILE}
        score["provenance"]["machine"] = {"platform": HOSTILE, "cores": HOSTILE}
        made[renamed[name]] = score
    return dataclasses.replace(
        study,
        tasks=tasks,
        comparison=comparison,
        scores=made,
        names=[renamed[name] for name in study.names],
        pools={key + HOSTILE: value for key, value in study.pools.items()},
        strengths={renamed[name]: value for name, value in study.strengths.items()},
    )

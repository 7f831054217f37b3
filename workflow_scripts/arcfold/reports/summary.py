"""What a page knows from the start: runs with their figures, pairs, and how each output of each task went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_lowercase, digits
from typing import Any

from arcfold.arc.misses import Reason
from arcfold.arc.pictures import PALETTE
from arcfold.arc.tasks import Task
from arcfold.arc.views import SYMMETRIES
from arcfold.comparisons.compare import flat_settings
from arcfold.planning.plan import STEPS
from arcfold.reports.packing import BEND, FINENESS

CORRECT, UNKNOWN = "correct", "wrong"
"""What became of an output, beside the reasons; of a submission from elsewhere no reason is known."""

OUTCOMES: dict[str, tuple[str, str]] = {
    CORRECT: ("correct", "one of the two attempts is right"),
    Reason.RANKED_LATER: ("ranked third or later", "the right grid was found, behind the two attempts"),
    Reason.ONLY_SIZE: ("only the size wrong", "an attempt is right but for rows or columns at its edges"),
    Reason.NOT_FOUND: ("not found", "the right grid is none of the candidates"),
    Reason.FALLBACK: ("no candidate", "the search found nothing, the fallback answered"),
    Reason.DID_NOT_FIT: ("did not fit", "too long to be searched"),
    Reason.OUT_OF_TIME: ("out of time", "the deadline left no time for its fold"),
    Reason.FAILED: ("fold failed", "a job of its fold failed for good"),
    UNKNOWN: ("wrong", "wrong, in a submission from elsewhere"),
}
"""Name and meaning of each, in the order of pictures and tables."""

_DIGITS = digits + ascii_lowercase


def summarize(
    comparison: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]], tasks: Sequence[Task]
) -> dict[str, Any]:
    """The summary of a page.

    comparison: as its schema has it; scores: the score of each of its runs, by name; tasks: all that they are scored on
    """
    outcomes = list(OUTCOMES)
    configurations = []
    for configuration in comparison["configurations"]:
        runs = [_run(run, scores[run["run"]], tasks, outcomes) for run in configuration["runs"]]
        settings = flat_settings(scores[configuration["runs"][0]["run"]])
        configurations.append({**configuration, "all_settings": settings, "runs": runs})
    return {
        **{key: comparison[key] for key in ("study", "notes", "base", "data", "scorer", "n_tasks", "n_outputs")},
        **{key: comparison[key] for key in ("pairs", "missing", "warnings")},
        "configurations": configurations,
        "columns": columns(comparison["configurations"]),
        "tasks": [_task(task) for task in tasks],
        "outcomes": [{"key": str(key), "name": name, "means": means} for key, (name, means) in OUTCOMES.items()],
        "stages": [{"key": rule, "name": name} for rule, name in STEPS.items()],
        "symmetries": [name.replace("_", " ") for name in SYMMETRIES],
        "palette": PALETTE,
        "levels": {"fineness": FINENESS, "bend": BEND},
    }


def columns(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings in which configurations differ, in the order in which they name them."""
    return list(dict.fromkeys(key for configuration in configurations for key in configuration["settings"]))


def _run(
    run: Mapping[str, Any], score: Mapping[str, Any], tasks: Sequence[Task], outcomes: Sequence[str]
) -> dict[str, Any]:
    """A run of the comparison with what only its score has.

    outcomes: of each task the place of each output's outcome among the outcomes, as a digit or letter
    """
    provenance = score["provenance"]
    return {
        **run,
        "outcomes": [
            "".join(_DIGITS[outcomes.index(outcome_of(output))] for output in score["tasks"][task.id]["outputs"])
            for task in tasks
        ],
        "misses": score.get("misses"),
        "laps": laps(provenance.get("seconds_of_folds", {})),
        "machine": provenance.get("machine", {}),
        "scorer": score["scorer"],
        "written": provenance.get("written"),
        "leakage": [{"by": leak["by"], "tasks": len(leak["tasks"])} for leak in score.get("leakage", [])],
        "failed": score.get("failed", []),
        "folds": score.get("folds", []),
    }


def outcome_of(output: Mapping[str, Any]) -> str:
    """What became of an output of a score; `wrong` where the score does not say why."""
    return CORRECT if output["correct"] else str(output.get("reason", UNKNOWN))


def laps(seconds_of_folds: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """The seconds of each step of a stage's jobs, over all folds; their total is left out."""
    found: dict[str, dict[str, float]] = {}
    for stage, folds in seconds_of_folds.items():
        added = found.setdefault(stage, {})
        for fold in folds:
            for lap, seconds in fold.items():
                if lap != "total":
                    added[lap] = round(added.get(lap, 0.0) + seconds, 3)
    return found


def _task(task: Task) -> dict[str, Any]:
    sizes = [[len(pair.output), len(pair.output[0])] for pair in task.test if pair.output is not None]
    return {"id": task.id, "sizes": sizes, "demonstrations": len(task.train)}

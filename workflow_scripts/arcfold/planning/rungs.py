"""What gives way when time is short: the settings of a run, rung by rung, each cheaper than the one before.

The config lists factors of the run's own values, one rung after the other. With

    gives_way:
      - rescoring: { views: 0.5 }
      - search: { min_prob: 1.5 }
      - rescoring: { views: 0.25 }

a run with 8 scoring views and min_prob 0.2 has the rungs

    0   8 views, 0.2      as the run says
    1   4 views, 0.2
    2   4 views, 0.3
    3   2 views, 0.3

    4   0 views           every list ends so: what the search found is answered without scores

Which rungs there are depends on the config alone. Which one a fold takes is decided before its job starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arcfold.jobs.holes import read_hole
from arcfold.jobs.provenance import read_provenance
from arcfold.runs.steps import report_of

UNSCORED = {"rescoring": {"views": 0.0}}
"""The last rung of all."""
SECTIONS = {"training": ("epochs", "views"), "search": ("views", "min_prob"), "rescoring": ("views",)}
"""What may give way: tasks are seen in fewer views or epochs, searches find less, candidates are judged by less."""
LARGEST_MIN_PROB = 0.5
"""Above it no search finds two replies."""

Settings = Mapping[str, Mapping[str, Any]]


def rungs_of(
    settings: Settings, gives_way: Sequence[Mapping[str, Mapping[str, float]]]
) -> list[dict[str, dict[str, Any]]]:
    """A run's settings on each rung, the run's own first; a rung that changes nothing is left out."""
    rungs = [{section: dict(values) for section, values in settings.items()}]
    for step in (*gives_way, UNSCORED):
        lower = {section: dict(values) for section, values in rungs[-1].items()}
        for section, factors in step.items():
            for key, factor in factors.items():
                lower[section][key] = _scaled(section, key, settings[section][key], factor)
        if lower != rungs[-1]:
            rungs.append(lower)
    return rungs


def _scaled(section: str, key: str, value: Any, factor: float) -> Any:
    if key == "min_prob":
        return max(value, min(round(value * factor, 6), LARGEST_MIN_PROB))
    least = 0 if section == "rescoring" else 1
    return max(min(round(value * factor), value), least)


def cuts(full: Settings, settings: Settings) -> dict[str, dict[str, Any]]:
    """What differs from the run's own settings, section by section."""
    found = {
        section: {key: value for key, value in values.items() if value != full[section].get(key)}
        for section, values in settings.items()
    }
    return {section: values for section, values in found.items() if values}


def cuts_of_folds(
    run: Mapping[str, Any], adapters: Sequence[str], candidates: Sequence[str], rescored: Sequence[str]
) -> list[dict[str, Any]]:
    """The folds that had other settings than their run, with these settings; a fold that was not searched is none.

    run: as `Run.to_json` gives it; adapters, candidates, rescored: a path for each fold
    """
    found = []
    for fold, paths in enumerate(zip(map(report_of, adapters), candidates, rescored, strict=True)):
        if read_hole(rescored[fold]) is None:
            made = {section: read_provenance(path)["settings"] for section, path in zip(SECTIONS, paths, strict=True)}
            given = {section: {key: made[section][key] for key in keys} for section, keys in SECTIONS.items()}
            if cut := cuts(run["settings"], given):
                found.append({"fold": fold, "settings": cut})
    return found

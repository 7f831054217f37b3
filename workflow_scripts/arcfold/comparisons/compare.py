"""Score files of a study, put side by side: what results/compare_{study}.json says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from arcfold.comparisons import statistics
from arcfold.comparisons.scores import check_same_tasks
from arcfold.comparisons.words import sentence
from arcfold.jobs.files import InputError
from arcfold.runs.runs import score_file
from arcfold.runs.timeline import held_seconds
from arcfold.runs.versions import MIXED

Score = Mapping[str, Any]
DIGITS = 4
"""Decimals of percentages and points."""
_SIGNIFICANT = 6
"""Digits of a p-value."""


def compare(study: Mapping[str, Any], scores: Mapping[str, Score], missing: Sequence[str]) -> dict[str, Any]:
    """The content of a comparison, its provenance aside.

    study: `name`, `base`, `notes`, `configurations` (`name` and `runs` of each), `pairs`
    scores: the score file's content of each run that has one, by the run's name; missing: the names of the others
    Raises InputError for scores of different data, and where there is none at all.
    """
    groups = {
        each["name"]: {run: scores[run] for run in each["runs"] if run in scores} for each in study["configurations"]
    }
    groups = {name: of_runs for name, of_runs in groups.items() if of_runs}
    if not groups:
        raise InputError(f"comparison {study['name']}: no score is finished, expected one at least")
    files = {score_file(run): score for of_runs in groups.values() for run, score in of_runs.items()}
    check_same_tasks(files)
    first = next(iter(files.values()))
    ids = list(first["tasks"])
    base = flat_settings(next(iter(groups.get(study["base"], next(iter(groups.values()))).values())))
    pairs = [pair for pair in study["pairs"] if all(name in groups for name in pair)]
    return {
        "study": study["name"],
        "notes": study["notes"],
        "base": study["base"],
        "data": first["data"],
        "scorer": first["scorer"],
        "n_tasks": first["n_tasks"],
        "n_outputs": first["n_outputs"],
        "configurations": [_configuration(name, of_runs, base, ids) for name, of_runs in groups.items()],
        "pairs": _pairs(pairs, groups, ids),
        "tasks": {
            task_id: {
                name: [round(score["tasks"][task_id]["score"], 6) for score in of_runs.values()]
                for name, of_runs in groups.items()
            }
            for task_id in ids
        },
        "missing": list(missing),
        "warnings": list(_warnings(groups)),
    }


def _configuration(
    name: str, of_runs: Mapping[str, Score], base: Mapping[str, Any], ids: Sequence[str]
) -> dict[str, Any]:
    runs = [_run(run, score) for run, score in of_runs.items()]
    scores = list(of_runs.values())
    own = flat_settings(scores[0])
    outputs = np.array([len(scores[0]["tasks"][task_id]["outputs"]) for task_id in ids], dtype=float)
    shares = _shares(scores, ids)
    # of other kinds of runs most settings are not known, or their members'
    keys = {*own, *base} if _kind(scores[0]) == "run" else {*own}
    oracle = None
    if all("oracle" in score for score in scores):
        oracle = _group(_reachable(scores, ids), [score["oracle"] for score in scores])
    boards = [score["leaderboard"] for score in scores if "leaderboard" in score]
    return {
        "name": name,
        "kind": _kind(scores[0]),
        "settings": {key: own.get(key) for key in sorted(keys) if own.get(key) != base.get(key)},
        "runs": runs,
        "score": _group(shares, [score["score"] for score in scores]),
        "score_outputs": _group(shares, [score["score_outputs"] for score in scores], outputs),
        "oracle": oracle,
        "device_seconds": _mean(
            [None if run["device_seconds"] is None else run["device_seconds"]["total"] for run in runs]
        ),
        "peak_host_mib": _largest([run["peak_host_mib"] for run in runs]),
        "peak_device_mib": _largest([run["peak_device_mib"] for run in runs]),
        "tokens": _mean([run["tokens"] for run in runs]),
        "leaderboard": boards[0] if boards else None,
    }


def _run(name: str, score: Score) -> dict[str, Any]:
    """What a comparison says of one run."""
    made = score["provenance"]
    seconds, devices = made.get("seconds_of_folds"), made.get("devices_of_folds", {})
    held = None
    if seconds is not None:
        held = {step: round(sum(map(held_seconds, of_folds)), 3) for step, of_folds in seconds.items()}
        held["total"] = round(sum(held.values()), 3)
    used = [device for of_folds in devices.values() for device in of_folds]
    peaks = [device["peak_mib"] for device in used if "peak_mib" in device]
    tokens = [fold["tokens"] for fold in score.get("folds", [])]
    return {
        "run": name,
        "seed": made["run"].get("seed"),
        "file": score_file(name),
        **{key: score[key] for key in ("score", "score_outputs")},
        **{key: score.get(key) for key in ("oracle", "n_fallback")},
        "complete": score["complete"],
        "device_seconds": held,
        "devices": sorted({device.get("name", "CPU") for device in used}),
        "peak_host_mib": max(made["peak_host_mib"].values()) if isinstance(made["peak_host_mib"], Mapping) else None,
        "peak_device_mib": max(peaks) if peaks else None,
        "tokens": sum(tokens) if tokens else None,
        "model": made.get("model"),
        "code": score["code"],
        "commit": made["git_commit"],
        "versions": made["versions"],
    }


def _pairs(
    pairs: Sequence[Sequence[str]], groups: Mapping[str, Mapping[str, Score]], ids: Sequence[str]
) -> list[dict[str, Any]]:
    """Each pair of configurations against each other; Holm's correction is over all of them."""
    if not pairs:
        return []
    # the smallest p-value of so many is held against this level
    level = 1 - (1 - statistics.LEVEL) / len(pairs)
    made = [_pair(a, b, groups[a], groups[b], ids, level) for a, b in pairs]
    for pair, corrected in zip(made, statistics.holm([pair["p"] for pair in made]), strict=True):
        pair["p_holm"] = _rounded(corrected)
        told = corrected < 1 - statistics.LEVEL
        pair["verdict"] = ("better" if pair["difference"] > 0 else "worse") if told else "unclear"
        pair["more_seeds"] = 0 if told else pair["more_seeds"]
        pair["sentence"] = sentence(pair, len(made))
    return made


def _pair(
    a: str, b: str, one: Mapping[str, Score], other: Mapping[str, Score], ids: Sequence[str], level: float
) -> dict[str, Any]:
    paired = _same_draws(list(one.values()), list(other.values()))
    first, second = (_shares(list(of_runs.values()), ids) for of_runs in (one, other))
    found = statistics.difference(first, second, paired=paired)
    won, lost = int(found.won), int(found.lost)
    return {
        "a": a,
        "b": b,
        "difference": _points(found.value),
        "interval": [_points(found.low), _points(found.high)],
        "noise": "tasks and seeds" if found.noise.seeds_freedom else "tasks",
        "seeds": {"a": len(one), "b": len(other), "paired": paired},
        "standard_error": _points(found.error),
        "degrees_of_freedom": round(float(found.freedom), 2),
        "p": _rounded(float(found.p)),
        "won": won,
        "lost": lost,
        "p_mcnemar": _rounded(statistics.mcnemar(won, lost)),
        "detectable": _points(found.detectable(level)),
        "more_seeds": statistics.more_seeds(found, max(len(one), len(other)), level),
    }


def _same_draws(one: Sequence[Score], other: Sequence[Score]) -> bool:
    """Whether two configurations have the same seeds, and for each the same adapters: what a seed does is in both."""

    def adapters(score: Score) -> Any:
        return score["provenance"]["run"].get("seed"), score.get("steps", {}).get("adapters")

    drawn = [adapters(score) for score in one]
    return len(one) > 1 and drawn == [adapters(score) for score in other] and all(steps for _, steps in drawn)


def _shares(scores: Sequence[Score], ids: Sequence[str]) -> statistics.Array:
    """The share of right outputs of each task in each run (T, S)."""
    return np.array([[score["tasks"][task_id]["score"] for score in scores] for task_id in ids], dtype=float)


def _reachable(scores: Sequence[Score], ids: Sequence[str]) -> statistics.Array:
    """Whether all outputs of each task are among the candidates of each run (T, S)."""
    return np.array(
        [
            [all(output["rank"] is not None for output in score["tasks"][task_id]["outputs"]) for score in scores]
            for task_id in ids
        ],
        dtype=float,
    )


def _group(
    values: statistics.Array, totals: Sequence[float], weights: statistics.Array | None = None
) -> dict[str, Any]:
    """Mean, spread, best, number and interval of a configuration's runs.

    values: of each task in each run (T, S), 0 to 1; totals: of each run, in percent
    """
    found = statistics.mean(values, weights)
    deviation = statistics.spread(np.array(totals, dtype=float))
    return {
        "mean": round(float(np.mean(totals)), DIGITS),
        "sd": None if deviation is None else round(deviation, DIGITS),
        "best": max(totals),
        "n": len(totals),
        "interval": [_points(found.low), _points(found.high)],
    }


def flat_settings(score: Score) -> dict[str, Any]:
    """What a run was made with, but its name and seed: `training.rank` and the like, `folds`, `model`, `dataset`."""
    run = score["provenance"]["run"]
    flat = {key: run[key] for key in ("dataset", "folds", "model", "submission") if key in run}
    if "ensemble" in run:
        flat["ensemble"] = [member["name"] for member in run["ensemble"]]
    for section, keys in run.get("settings", {}).items():
        flat |= {f"{section}.{key}": value for key, value in keys.items()}
    return flat


def _kind(score: Score) -> str:
    run = score["provenance"]["run"]
    return "ensemble" if "ensemble" in run else "submission" if "submission" in run else "run"


def _warnings(groups: Mapping[str, Mapping[str, Score]]) -> Iterator[str]:
    """What to know before believing a comparison."""
    scores = {run: score for of_runs in groups.values() for run, score in of_runs.items()}
    single = [
        name for name, of_runs in groups.items() if len(of_runs) == 1 and _kind(next(iter(of_runs.values()))) == "run"
    ]
    if single:
        yield f"one seed alone of {_names(single)}: its interval knows nothing of what another seed would change"
    ours = {run: score for run, score in scores.items() if "submission" not in score}
    mixed = [run for run, score in ours.items() if score["code"] == MIXED]
    if mixed:
        yield f"made by other code than there was when it was scored, or nobody knows by which: {_names(mixed)}"
    if len({score["code"] for score in ours.values()} - {MIXED}) > 1:
        yield "not all runs were made by the same code: `code` says which by which"
    devices = {
        device.get("name", "CPU")
        for score in ours.values()
        for of_folds in score["provenance"].get("devices_of_folds", {}).values()
        for device in of_folds
    }
    if len(devices) > 1:
        yield f"computed on different devices, whose rounding differs: {', '.join(sorted(devices))}"
    incomplete = [run for run, score in scores.items() if not score["complete"]]
    if incomplete:
        yield f"not all test inputs were searched, and those count as wrong: {_names(incomplete)}"
    cut = [run for run, score in scores.items() if score.get("cuts")]
    if cut:
        yield f"settings gave way to a deadline, in folds that `cuts` of the score names: {_names(cut)}"
    leaking = [run for run, score in scores.items() if score.get("leakage")]
    if leaking:
        yield f"what they start from has seen tasks that they are scored on: {_names(leaking)}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 3) if known else None


def _largest(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _points(share: Any) -> float:
    return round(100 * float(share), DIGITS) + 0.0


def _rounded(p: float) -> float:
    return float(f"{p:.{_SIGNIFICANT}g}")

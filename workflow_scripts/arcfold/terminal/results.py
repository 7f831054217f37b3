"""What a run ends with: its score, where seeds exist with the mean of all and its interval, oracle, misses, seconds.

Other seeds are scores that lie beside this one and differ from it in nothing else: `score_8folds-seed1.json` is beside
`score_8folds.json`.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcfold.arc.misses import Reason
from arcfold.jobs.files import InputError, read_json

WORDS: dict[str, str] = {
    Reason.RANKED_LATER: "ranked third or later",
    Reason.ONLY_SIZE: "with only the size wrong",
    Reason.NOT_FOUND: "not found",
    Reason.FALLBACK: "without a candidate",
    Reason.DID_NOT_FIT: "too long",
    Reason.OUT_OF_TIME: "out of time",
    Reason.FAILED: "in folds that failed",
}
"""How a line says of a number of outputs why they were missed."""

MOST = 12
"""Runs that are named at the end; a study has more, and a page for them."""
COMPARISON = re.compile(r"compare_.+\.json")
_NAME = re.compile(r"score_(?P<run>.+?)(?:-seed(?P<seed>\d+))?\.json")
_KEPT = {"--configfile", "--configfiles", "--config", "-C", "--profile", "--workflow-profile", "--snakefile", "-s"}
"""Options without which a command of Snakemake would mean something else."""


@dataclass(frozen=True)
class Seeds:
    """The mean of several seeds, in percent, with its 95 % interval for other tasks and seeds."""

    number: int
    mean: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Result:
    """What a score's file says, in percent and seconds; None for what it does not say."""

    path: str
    run: str
    score: float
    oracle: float | None
    n_outputs: int
    missed: Mapping[str, int]
    """Number of outputs by reason; those that cost none are left out."""
    seconds: float | None
    seeds: Seeds | None


def result_of(path: str | Path) -> Result:
    """The result in a score's file. Raises InputError for one that is none."""
    score = read_json(path, "score")
    run = score["provenance"]["run"]["name"]
    reasons = score["misses"]["reasons"] if "misses" in score else {}
    return Result(
        path=str(path),
        run=run,
        score=score["score"],
        oracle=score.get("oracle"),
        n_outputs=score["n_outputs"],
        missed={reason: each["n"] for reason, each in reasons.items() if each["n"]},
        seconds=_seconds(score),
        seeds=_seeds(Path(path), score),
    )


def beside(path: Path, score: Mapping[str, Any]) -> dict[str, Any]:
    """The scores of a run's seeds by name, this one among them, one of each seed."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return {}
    found = {score["provenance"]["run"].get("seed"): (match["run"], score)}
    for other in sorted(path.parent.glob(f"score_{match['run']}*.json")):
        of = _NAME.fullmatch(other.name)
        if other == path or of is None or of["run"] != match["run"]:
            continue
        try:
            content = read_json(other, "score")
        except InputError:  # another version's, say: it is no score of this run's
            continue
        if _differs_in_seed_alone(content, score):
            found.setdefault(content["provenance"]["run"]["seed"], (other.name, content))
    return {name: content for _, (name, content) in sorted(found.items(), key=lambda item: item[0] or 0)}


def _differs_in_seed_alone(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    runs = [{**score["provenance"]["run"], "name": "", "seed": None} for score in (one, other)]
    versions = [(score["data"]["sha256"], score["scorer"], score["complete"]) for score in (one, other)]
    # what a deadline has cut had other settings than its run says
    cut = any(score.get("cuts") for score in (one, other))
    return bool(runs[0] == runs[1] and versions[0] == versions[1] and not cut and "seed" in one["provenance"]["run"])


def _seeds(path: Path, score: Mapping[str, Any]) -> Seeds | None:
    scores = beside(path, score)
    if len(scores) < 2:
        return None
    import numpy as np

    from arcfold.comparisons import statistics

    shares = np.array([[each["tasks"][task]["score"] for each in scores.values()] for task in score["tasks"]])
    found = statistics.mean(shares)
    return Seeds(len(scores), 100 * float(found.value), (100 * float(found.low), 100 * float(found.high)))


def _seconds(score: Mapping[str, Any]) -> float | None:
    """Seconds in which the run's jobs held a device."""
    of_steps = score["provenance"].get("seconds_of_folds")
    if of_steps is None:
        return None
    from arcfold.runs.timeline import held_seconds

    return sum(held_seconds(fold) for folds in of_steps.values() for fold in folds)


def results_of(paths: Iterable[str]) -> list[Result]:
    """The results of those of some files that are scores, whole, and of this version."""
    found = []
    for path in paths:
        if _NAME.fullmatch(Path(path).name):
            with contextlib.suppress(InputError):
                found.append(result_of(path))
    return found


def comparisons_of(paths: Iterable[str]) -> dict[str, list[str]]:
    """The sentences of those of some files that are comparisons, by the file."""
    found = {}
    for path in paths:
        if COMPARISON.fullmatch(Path(path).name):
            with contextlib.suppress(InputError):
                found[path] = [pair["sentence"] for pair in read_json(path, "compare")["pairs"]]
    return found


def endings(paths: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """What is said at the end where no terminal is. paths: of the files that were made; arguments: of the command"""
    results = results_of(paths)
    lines = [line for result in results[:MOST] for line in plain(result, arguments)]
    if len(results) > MOST:
        lines.append(f"and {len(results) - MOST} more runs")
    # a comparison's job has said its sentences already
    return [*lines, *(f"{path}: report: {report(path, arguments)}" for path in comparisons_of(paths))]


def plain(result: Result, arguments: Sequence[str]) -> list[str]:
    """The result as lines for where no terminal is. arguments: those of the command that runs"""
    facts = [f"score {result.score:.2f} %"]
    if result.seeds is not None:
        seeds, (low, high) = result.seeds, result.seeds.interval
        facts.append(f"mean of {seeds.number} seeds {seeds.mean:.2f} % (95 % interval {low:.1f} to {high:.1f})")
    if result.oracle is not None:
        facts.append(f"oracle {result.oracle:.2f} %")
    if result.seconds is not None:
        facts.append(f"device time {duration(result.seconds)}")
    said = missed(result)
    return [
        f"{result.run}: {', '.join(facts)}",
        *([f"  {said}"] if said else []),
        f"  report: {report(result.path, arguments)}",
    ]


def duration(seconds: float | None, digits: int = 1) -> str:
    """A duration in the two units that matter."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.{digits}f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def missed(result: Result) -> str:
    """Why outputs were missed, the reason that cost most first; nothing where the score does not say."""
    if not result.missed:
        return ""
    parts = sorted(result.missed.items(), key=lambda item: (-item[1], item[0]))
    said = ", ".join(f"{number} {WORDS.get(reason, reason.replace('_', ' '))}" for reason, number in parts)
    return f"missed {sum(result.missed.values())} of {result.n_outputs} outputs: {said}"


def report(path: str, arguments: Sequence[str]) -> str:
    """Where the page of a score or a comparison is, or the command that makes it. arguments: those of this command"""
    of, page = Path(path), Path(path).with_suffix(".html")
    if page.is_file() and of.is_file() and page.stat().st_mtime >= of.stat().st_mtime:
        return str(page)
    return shlex.join(["snakemake", str(page), *_options(arguments)])


def _options(arguments: Sequence[str]) -> list[str]:
    kept, keeps = [], False
    for argument in arguments:
        if argument.startswith("-"):
            keeps = argument.partition("=")[0] in _KEPT
        # a target may stand behind the values of an option
        if keeps and not argument.startswith("results/"):
            kept.append(argument)
    return kept

"""A plan's figures beside what a run then did: `provenance.plan` of its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arcfold.jobs.files import read_json
from arcfold.jobs.holes import read_hole
from arcfold.planning.costs import fold_seconds
from arcfold.planning.plan import STEPS, Subject, fold_work
from arcfold.planning.rates import cpu_name, find_rates
from arcfold.planning.work import PromptWork, TrainingWork, total
from arcfold.runs.steps import report_of

UNCOUNTED = ("import", "wait for a device")
"""What of a job's seconds is no work of its own: a worker's first job does it for all."""


def worked(seconds: Mapping[str, float]) -> float:
    """Seconds that a job has worked on a device that was warm, of those in its provenance."""
    return seconds["total"] - sum(seconds.get(part, 0.0) for part in UNCOUNTED)


def planned_and_true(
    subject: Subject,
    record: Mapping[str, Any],
    adapters: Sequence[str],
    candidates: Sequence[str],
    made_by: Mapping[str, Sequence[Mapping[str, Any]]],
    cuts: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Counts and seconds of the folds that were searched: as planned, and as their files say.

    record: of the base model; adapters, candidates: a path for each fold; made_by: provenances of the steps
    cuts: the folds that had settings of their own, with these, as `cuts_of_folds` gives them
    Seconds are of jobs one after the other on a warm device; planned ones are None where there are no rates of it.
    """
    searched = [fold for fold, path in enumerate(candidates) if read_hole(path) is None]
    own = {cut["fold"]: cut["settings"] for cut in cuts}
    settings = [laid_over(subject.settings, own.get(fold, {})) for fold in searched]
    works = [
        fold_work(subject.folds[fold], subject.codec, subject.seed, each)
        for fold, each in zip(searched, settings, strict=True)
    ]
    found = None
    if made_by["train_adapter"]:
        first = made_by["train_adapter"][0]
        device = first["device"]
        name = device["name"] if device["kind"] == "cuda" else cpu_name()
        found = find_rates(name, record, subject.size.parameters, device.get("threads", 1))
    seconds = None
    if found is not None:
        each_of = zip(works, settings, strict=True)
        seconds = [fold_seconds(work, subject.size, each, found[0]) for work, each in each_of]
    training = total((work.training for work in works), TrainingWork)
    prompts = total((work.search for work in works), PromptWork)
    planned = {
        "steps": training.steps,
        "tokens": training.tokens,
        "prompt_tokens": prompts.tokens,
        "reply_tokens": round(prompts.reply_tokens),
        "seconds": {
            rule: None if seconds is None else round(sum(getattr(each, part) for each in seconds), 2)
            for rule, part in STEPS.items()
        },
    }
    return {"rates": None if found is None else found[1], "planned": planned,
            "true": _true(subject, searched, adapters, candidates, made_by)}  # fmt: skip


def laid_over(settings: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A run's settings with those of a fold in their place."""
    return {**settings, **{section: {**settings[section], **values} for section, values in own.items()}}


def _true(
    subject: Subject,
    searched: Sequence[int],
    adapters: Sequence[str],
    candidates: Sequence[str],
    made_by: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    reports = [read_json(report_of(adapters[fold]), "training") for fold in searched]
    prompts, replies = 0, 0
    for fold in searched:
        for entry in read_json(candidates[fold], "candidates")["tasks"].values():
            for output in entry["test"]:
                prompts += sum(output["prompt_tokens"])
                replies += sum(
                    len(subject.codec.reply(candidate["grid"])) * len(candidate["found"])
                    for candidate in output["candidates"]
                )
    return {
        "steps": sum(report["steps"] for report in reports),
        "tokens": sum(report["tokens"] for report in reports),
        "prompt_tokens": prompts,
        "reply_tokens": replies,
        "seconds": {rule: round(sum(worked(each["seconds"]) for each in made_by[rule]), 2) for rule in STEPS},
    }

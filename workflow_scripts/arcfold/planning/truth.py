"""A plan's figures beside what a run then did: `provenance.plan` of its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arcfold.jobs.files import read_json
from arcfold.jobs.holes import read_hole
from arcfold.planning.costs import fold_seconds
from arcfold.planning.plan import STEPS, Subject
from arcfold.planning.rates import cpu_name, find_rates
from arcfold.planning.work import PromptWork, TrainingWork, total
from arcfold.runs.steps import report_of


def planned_and_true(
    subject: Subject,
    record: Mapping[str, Any],
    adapters: Sequence[str],
    candidates: Sequence[str],
    made_by: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """Counts and seconds of the folds that were searched: as planned, and as their files say.

    record: of the base model; adapters, candidates: a path for each fold; made_by: provenances of the steps
    Seconds are of jobs one after the other, and planned ones are None where there are no rates of the device.
    """
    searched = [fold for fold, path in enumerate(candidates) if read_hole(path) is None]
    all_works = subject.works()
    works = [all_works[fold] for fold in searched]
    found = None
    if made_by["train_adapter"]:
        first = made_by["train_adapter"][0]
        device = first["device"]
        name = device["name"] if device["kind"] == "cuda" else cpu_name()
        found = find_rates(name, record, subject.size.parameters, device.get("threads", 1))
    seconds = (
        None if found is None else [fold_seconds(work, subject.size, subject.settings, found[0]) for work in works]
    )
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
        "seconds": {rule: round(sum(each["seconds"]["total"] for each in made_by[rule]), 2) for rule in STEPS},
    }

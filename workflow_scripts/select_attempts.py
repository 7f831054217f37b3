"""Chooses two attempts for each test input and writes Kaggle's submission, and what had to be filled in."""

import logging
from typing import Any

from arcfold.arc.folds import check_partition, read_folds
from arcfold.arc.selection import ranked, two_attempts
from arcfold.arc.tasks import read_tasks
from arcfold.jobs.files import InputError, write_json
from arcfold.jobs.job import job
from arcfold.runs.fallbacks import fallbacks, summary
from arcfold.runs.predictions import read_predictions

log = logging.getLogger("select_attempts")


def main(
    *,
    tasks: str,
    folds: str,
    rescored: list[str],
    run: str,
    settings: dict[str, Any],
    leaks: list[dict[str, Any]],
    in_time: bool,
    submission: str,
    filled: str,
) -> None:
    all_tasks = read_tasks(tasks)
    dealt = read_folds(folds)
    check_partition(dealt, [task.id for task in all_tasks], folds)
    found = read_predictions(all_tasks, dealt, rescored)
    report = fallbacks(found, leaks)
    # under a deadline the fallback's answers are better than none
    if found.n_holes == report["n_outputs"] and not in_time:
        first = next(hole.said for holes in found.holes.values() for hole in holes.values())
        raise InputError(f"run {run}: not one test input was searched ({first}), expected an answer for one at least")
    for line in summary(run, report):
        log.warning(line)
    attempts = {
        task.id: [
            two_attempts(ranked(candidates, settings["method"]), pair.input)
            for pair, candidates in zip(task.test, found.candidates[task.id], strict=True)
        ]
        for task in all_tasks
    }
    chosen = {
        task_id: [{"attempt_1": first, "attempt_2": second} for first, second in of_task]
        for task_id, of_task in attempts.items()
    }
    write_json(submission, chosen, "submission")
    write_json(filled, report, "fallbacks")


if "snakemake" in globals():
    with job(snakemake):
        main(
            tasks=snakemake.input.tasks,
            folds=snakemake.input.folds,
            rescored=snakemake.input.rescored,
            run=snakemake.wildcards.run,
            settings=snakemake.params.settings,
            leaks=snakemake.params.leaks,
            in_time="budget" in snakemake.params.steps,
            submission=snakemake.output.submission,
            filled=snakemake.output.fallbacks,
        )

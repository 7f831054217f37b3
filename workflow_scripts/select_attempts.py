"""Chooses two attempts for each test input and writes Kaggle's submission."""

from typing import Any

from arcfold.arc.selection import ranked, two_attempts
from arcfold.arc.tasks import read_tasks
from arcfold.jobs.files import write_json
from arcfold.jobs.job import job
from arcfold.runs.predictions import read_rescored


def main(tasks: str, rescored: list[str], settings: dict[str, Any], output: str) -> None:
    all_tasks = read_tasks(tasks)
    found = read_rescored(rescored, all_tasks)
    submission = {}
    for task in all_tasks:
        attempts = [
            two_attempts(ranked(candidates, settings["method"]), pair.input)
            for pair, candidates in zip(task.test, found[task.id], strict=True)
        ]
        submission[task.id] = [{"attempt_1": first, "attempt_2": second} for first, second in attempts]
    write_json(output, submission, "submission")


if "snakemake" in globals():
    with job(snakemake):
        main(
            snakemake.input.tasks,
            snakemake.input.rescored,
            snakemake.params.settings,
            snakemake.output[0],
        )

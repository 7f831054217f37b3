"""Writes the tasks of one dataset in one layout, wherever they come from: with the outputs of their tests, or none."""

from typing import Any

from arcfold.arc.datasets import load_dataset
from arcfold.arc.tasks import tasks_to_json, without_solutions
from arcfold.jobs.files import write_json
from arcfold.jobs.job import job


def main(config: dict[str, Any], dataset: str, solved: bool, output: str) -> None:
    tasks = load_dataset(config, dataset)
    write_json(output, tasks_to_json(tasks if solved else map(without_solutions, tasks)), "tasks")


if "snakemake" in globals():
    with job(snakemake):
        main(
            # no param: of files it is the content that counts, `made_of`
            snakemake.config,
            snakemake.wildcards.dataset,
            snakemake.params.solved,
            snakemake.output[0],
        )

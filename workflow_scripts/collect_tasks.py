"""Writes the tasks of one dataset in one layout, wherever they come from."""

from arcfold.arc.datasets import load_dataset
from arcfold.arc.tasks import tasks_to_json
from arcfold.jobs.files import write_json
from arcfold.jobs.job import job


def main(config: dict, dataset: str, output: str) -> None:
    write_json(output, tasks_to_json(load_dataset(config, dataset)), "tasks")


if "snakemake" in globals():
    with job(snakemake):
        main(snakemake.params.config, snakemake.wildcards.dataset, snakemake.output[0])

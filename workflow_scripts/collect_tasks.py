"""Writes the tasks of one dataset in one layout, wherever they come from."""

from arcfold.datasets import load_dataset
from arcfold.files import write_json
from arcfold.jobs import job
from arcfold.tasks import tasks_to_json


def main(config: dict, dataset: str, output: str) -> None:
    write_json(output, tasks_to_json(load_dataset(config, dataset)), "tasks")


if "snakemake" in globals():
    with job(snakemake.log[0]):
        main(snakemake.params.config, snakemake.wildcards.dataset, snakemake.output[0])

"""Splits a dataset's tasks into folds."""

from arcfold.arc.datasets import prompt_lengths
from arcfold.arc.folds import make_folds
from arcfold.arc.tasks import read_tasks
from arcfold.jobs.files import write_json
from arcfold.jobs.job import job


def main(tasks: str, n: int, seed: int, split: str, output: str) -> None:
    folds = make_folds(prompt_lengths(read_tasks(tasks)), n, seed, split)
    write_json(output, {"seed": seed, "folds": folds}, "folds")


if "snakemake" in globals():
    with job(snakemake):
        n_folds, draw_seed = snakemake.params.split
        main(snakemake.input.tasks, n_folds, draw_seed, snakemake.params.settings["split"], snakemake.output[0])

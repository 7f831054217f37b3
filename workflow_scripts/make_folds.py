"""Splits a dataset's tasks into folds."""

from arcfold.datasets import prompt_lengths
from arcfold.files import write_json
from arcfold.folds import make_folds
from arcfold.jobs import job
from arcfold.tasks import read_tasks


def main(tasks: str, n: int, seed: int, split: str, output: str) -> None:
    folds = make_folds(prompt_lengths(read_tasks(tasks)), n, seed, split)
    write_json(output, {"seed": seed, "folds": folds}, "folds")


if "snakemake" in globals():
    with job(snakemake.log[0]):
        n_folds, draw_seed = snakemake.params.split
        main(snakemake.input.tasks, n_folds, draw_seed, snakemake.params.settings["split"], snakemake.output[0])

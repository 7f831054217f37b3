"""Trains, searches and rescores one fold with the settings that a deadline leaves time for."""

from arcfold.jobs.job import job
from arcfold.planning.in_time import Fold, do_fold

if "snakemake" in globals():
    with job(snakemake):
        do_fold(
            Fold(
                int(snakemake.wildcards.fold),
                snakemake.params.run,
                {
                    "tasks": snakemake.input.tasks,
                    "folds": snakemake.input.folds,
                    "model": snakemake.input.model,
                    "weights": snakemake.input.weights,
                    "init": snakemake.input.get("init") or [],
                },
                snakemake.params.base,
                snakemake.params.loading,
                snakemake.params.cache_gib,
                snakemake.params.keep_adapters,
                snakemake.resources.gpu,
                snakemake.params.threads,
                snakemake.config,
            )
        )

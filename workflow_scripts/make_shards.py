"""Reads a corpus, holds out what models are chosen and measured on, and writes its shard."""

from typing import Any

from arcfold.jobs.job import job
from arcfold.pretraining.collecting import make_shard


def main(name: str, entry: dict[str, Any], archive: str | None, output: str, processes: int) -> None:
    make_shard(name, entry, archive, output, processes)


if "snakemake" in globals():
    with job(snakemake):
        main(
            snakemake.wildcards.corpus,
            snakemake.params.entry,
            snakemake.input.get("archive"),
            snakemake.output[0],
            snakemake.threads,
        )

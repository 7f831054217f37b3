"""Fetches the archive of a corpus and checks that it is the one expected."""

from arcfold.jobs.job import job
from arcfold.pretraining.corpora import fetch


def main(url: str, sha256: str, output: str) -> None:
    fetch(url, sha256, output)


if "snakemake" in globals():
    with job(snakemake):
        main(snakemake.params.url, snakemake.params.sha256, snakemake.output[0])

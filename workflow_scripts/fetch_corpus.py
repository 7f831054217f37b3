"""Fetches the archive of a corpus and checks that it is the one expected."""

from arcfold.corpora import fetch
from arcfold.jobs import job


def main(url: str, sha256: str, output: str) -> None:
    fetch(url, sha256, output)


if "snakemake" in globals():
    with job(snakemake.log[0]):
        main(snakemake.params.url, snakemake.params.sha256, snakemake.output[0])

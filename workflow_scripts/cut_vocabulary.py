"""Cuts a base model's vocabulary to the tokens of its text format."""

from arcfold.jobs.job import job
from arcfold.models.vocabulary import cut_vocabulary


def main(source: str, text_format: str, origin: dict[str, str], output: str) -> None:
    cut_vocabulary(source, text_format, output, origin)


if "snakemake" in globals():
    with job(snakemake):
        main(
            snakemake.params.source,
            snakemake.params.text_format,
            snakemake.params.origin,
            snakemake.output[0],
        )

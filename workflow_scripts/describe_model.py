"""Writes what later steps need to know of a base model: its content hash and the ids of its text format."""

from arcfold.jobs.files import write_json
from arcfold.jobs.job import job
from arcfold.models.folder import model_record


def main(name: str, folder: str, text_format: str, hub: dict[str, str], output: str) -> None:
    write_json(output, model_record(name, folder, text_format) | hub, "model")


if "snakemake" in globals():
    with job(snakemake):
        main(
            snakemake.wildcards.model,
            snakemake.params.folder,
            snakemake.params.text_format,
            snakemake.params.hub,
            snakemake.output[0],
        )

"""Merges a fold's adapter into its base model's weights, for programs that load a plain model."""

from arcfold.jobs.files import InputError, read_json
from arcfold.jobs.holes import read_hole
from arcfold.jobs.job import job
from arcfold.models.base import BaseModel


def main(*, model: str, folder: str, loading: dict[str, str], adapter: str, output: str) -> None:
    if hole := read_hole(adapter):
        raise InputError(f"{adapter}: {hole['reason']}")
    from arcfold.models.export import export_merged

    export_merged(BaseModel.open(folder, read_json(model, "model"), **loading), adapter, output)


if "snakemake" in globals():
    with job(snakemake):
        main(
            model=snakemake.input.model,
            folder=snakemake.params.base,
            loading=snakemake.params.loading,
            adapter=snakemake.input.adapter,
            output=snakemake.output[0],
        )

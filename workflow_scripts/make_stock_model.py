"""Makes a stock Qwen3 in the shapes of a base model, for what is compared with programs that do not know ours."""

from arcfold.jobs.files import write_json
from arcfold.jobs.job import job
from arcfold.models.folder import model_record
from arcfold.models.stock import write_stock_model


def main(*, name: str, source: str, text_format: str, seed: int, folder: str, record: str) -> None:
    write_stock_model(source, folder, seed)
    write_json(record, model_record(name, folder, text_format), "model")


if "snakemake" in globals():
    with job(snakemake):
        main(
            name=f"{snakemake.wildcards.model}-stock",
            source=snakemake.params.source,
            text_format=snakemake.params.text_format,
            seed=snakemake.params.seed,
            folder=snakemake.output.folder,
            record=snakemake.output.record,
        )

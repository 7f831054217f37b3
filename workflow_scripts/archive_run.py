"""Puts a run into one file."""

from typing import Any

from arcfold.jobs.files import InputError
from arcfold.jobs.holes import read_hole
from arcfold.jobs.job import job
from arcfold.runs.archive import write_archive


def main(*, run: dict[str, Any], files: dict[str, str], output: str) -> None:
    for path in files.values():
        if hole := read_hole(path):
            raise InputError(f"{path}: {hole['reason']}")
    write_archive(output, run, files)


if "snakemake" in globals():
    with job(snakemake):
        main(
            run=snakemake.params.run,
            files=dict(zip(snakemake.params.names, snakemake.input.files, strict=True)),
            output=snakemake.output[0],
        )

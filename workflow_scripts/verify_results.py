"""Says what of the results is damaged, missing or unknown, and how to make it again."""

import sys

from arcfold.jobs.files import InputError
from arcfold.jobs.job import job
from arcfold.runs.verify import verify


def main(models: dict[str, str]) -> None:
    found = verify(models)
    for line in found.lines():
        print(line, file=sys.stderr, flush=True)
    if damaged := len(found.damaged) + len(found.models):
        raise InputError(f"results: {damaged} damaged, see above what to delete or to bring back")


if "snakemake" in globals():
    with job(snakemake):
        main(snakemake.params.models)

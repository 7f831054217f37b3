"""Lists what of the store no run of the config needs, and deletes it where ARCFOLD_DELETE says yes."""

import os
import sys

from arcfold.jobs.job import job
from arcfold.runs.cleaning import delete, size_of


def main(unneeded: list[str], wanted: bool) -> None:
    total = 0
    for path in unneeded:
        size = size_of(path)
        total += size
        print(f"{size / 2**20:10.1f} MiB  {path}", file=sys.stderr, flush=True)
        if wanted:
            delete(path)
    if not unneeded:
        told = "nothing: the config's runs need all of results/store"
    elif wanted:
        told = f"{total / 2**20:10.1f} MiB  deleted"
    else:
        told = f"{total / 2**20:10.1f} MiB  that no run of this config needs; make clean-store DELETE=yes deletes it"
    print(told, file=sys.stderr, flush=True)


if "snakemake" in globals():
    with job(snakemake):
        main(list(snakemake.params.unneeded), os.environ.get("ARCFOLD_DELETE") == "yes")

"""Fetches the wheels of the locked GPU environment, without torch, for the Python of a contest's notebook."""

from collections.abc import Sequence

from arcfold.jobs.files import new_folder
from arcfold.jobs.job import job
from arcfold.kaggle.wheels import fetch, locked

OPTIONAL = {"bitsandbytes"}
"""What is fetched only for runs that compute with it; Unsloth needs it too."""


def main(python: str, extras: str, locks: Sequence[str], output: str) -> None:
    leave_out = {"torch", *(() if extras else OPTIONAL)}
    pins = [pin for lock in locks for pin in locked(lock, python, leave_out)]
    with new_folder(output) as folder:
        fetch({pin.name: pin for pin in pins}.values(), python, folder)


if "snakemake" in globals():
    with job(snakemake):
        main(snakemake.params.python, snakemake.params.extras, snakemake.input.locks, snakemake.output[0])

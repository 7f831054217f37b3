"""Makes the page of a run, with its other seeds where they are finished."""

from typing import Any

from arcfold.arc.tasks import read_tasks
from arcfold.comparisons.compare import compare
from arcfold.jobs import checksums
from arcfold.jobs.files import read_json
from arcfold.jobs.job import job
from arcfold.reports.sources import write_page
from arcfold.runs.runs import score_file


def main(study: dict[str, Any], tasks: str, output: str) -> None:
    (configuration,) = study["configurations"]
    files = {run: score_file(run) for run in configuration["runs"]}
    checksums.check(files.values())  # those of other seeds are no inputs
    comparison = compare(study, {run: read_json(file, "score") for run, file in files.items()}, [])
    write_page(output, comparison, read_tasks(tasks), tasks, title=f"Run {study['name']}")


if "snakemake" in globals():
    with job(snakemake):
        main(snakemake.params.study, snakemake.input.tasks, snakemake.output[0])

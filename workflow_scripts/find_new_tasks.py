"""Writes the tasks of some datasets that none of the old ones has, and a report on what was left out and why."""

from pathlib import Path

from arcfold.arc.tasks import new_tasks, read_tasks, tasks_to_json
from arcfold.jobs.files import write_json
from arcfold.jobs.job import job


def main(of: list[str], not_in: list[str], output: str, report: str) -> None:
    subset = new_tasks(*({Path(path).stem: read_tasks(path) for path in paths} for paths in (of, not_in)))
    write_json(output, tasks_to_json(subset.tasks), "tasks")
    write_json(report, subset.report, "subset_report")


if "snakemake" in globals():
    with job(snakemake):
        main(snakemake.input.of, snakemake.input.not_in, snakemake.output.tasks, snakemake.output.report)

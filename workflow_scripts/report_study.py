"""Makes the page of a comparison."""

from arcfold.arc.tasks import read_tasks
from arcfold.jobs.files import read_json
from arcfold.jobs.job import job
from arcfold.reports.sources import write_page


def main(comparison: str, tasks: str, output: str) -> None:
    found = read_json(comparison, "compare")
    one, _, other = found["study"].partition("--")
    title = f"{one} against {other}" if other else f"Study {one}"
    write_page(output, found, read_tasks(tasks), tasks, title=title)


if "snakemake" in globals():
    with job(snakemake):
        main(snakemake.input.comparison, snakemake.input.tasks, snakemake.output[0])

"""Draws which job of a run held which device when."""

from arcfold.jobs.files import new_file, write_json
from arcfold.jobs.job import job
from arcfold.runs.steps import provenance_of_steps
from arcfold.runs.timeline import draw_timeline, held_by_jobs, summary


def main(adapters: list[str], candidates: list[str], rescored: list[str], run: str, picture: str, figures: str) -> None:
    jobs = held_by_jobs(provenance_of_steps(adapters, candidates, rescored))
    write_json(figures, summary(jobs))
    with new_file(picture) as temporary:
        temporary.write_text(draw_timeline(f"Jobs of {run}", jobs), encoding="utf-8")


if "snakemake" in globals():
    with job(snakemake):
        main(
            snakemake.input.adapters,
            snakemake.input.candidates,
            snakemake.input.rescored,
            snakemake.wildcards.run,
            snakemake.output.picture,
            snakemake.output.figures,
        )

"""Draws a task with a run's attempts and their probabilities."""

from arcfold.arc.pictures import Panel, draw_rows
from arcfold.arc.selection import product_of_experts
from arcfold.arc.tasks import read_tasks
from arcfold.jobs.files import InputError, new_file
from arcfold.jobs.job import job
from arcfold.runs.predictions import read_rescored, read_submission


def main(tasks: str, task_id: str, rescored: list[str], submission: str, run: str, output: str) -> None:
    all_tasks = read_tasks(tasks)
    found = {task.id: task for task in all_tasks}
    if task_id not in found:
        raise InputError(f"{tasks}: no task {task_id}, expected one of {', '.join(list(found)[:20])} …")
    task = found[task_id]
    shown = [
        [Panel(f"demonstration {place}", pair.input), Panel("output", pair.output)]
        for place, pair in enumerate(task.train, start=1)
    ]
    rows = [[panel for pair in shown[start : start + 2] for panel in pair] for start in range(0, len(shown), 2)]
    attempts = read_submission(submission, all_tasks)[task_id]
    # a fold whose job failed has none
    candidates = read_rescored(rescored, all_tasks).get(task_id, [[] for _ in task.test])
    for place, pair in enumerate(task.test):
        values = {candidate.grid: product_of_experts(candidate) for candidate in candidates[place]}
        row = [Panel(f"test input {place + 1}", pair.input)]
        for number, grid in enumerate(attempts[place], start=1):
            told = f", log p {values[grid]:.1f}" if grid in values else ", filled"
            row.append(Panel(f"attempt {number}{told}", grid, None if pair.output is None else grid == pair.output))
        if pair.output is not None:
            row.append(Panel("output", pair.output))
        rows.append(row)
    with new_file(output) as temporary:
        temporary.write_text(draw_rows(f"{task_id} in {run}", rows), encoding="utf-8")


if "snakemake" in globals():
    with job(snakemake):
        main(
            snakemake.input.tasks,
            snakemake.wildcards.task,
            snakemake.input.rescored,
            snakemake.input.submission,
            snakemake.wildcards.run,
            snakemake.output[0],
        )

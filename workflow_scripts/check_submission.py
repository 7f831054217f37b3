"""Takes over a submission from elsewhere, after a look at whether it answers a dataset's tasks."""

from arcfold.arc.tasks import read_tasks
from arcfold.jobs.files import write_json
from arcfold.jobs.job import job
from arcfold.runs.predictions import read_submission


def main(tasks: str, submission: str, output: str) -> None:
    attempts = read_submission(submission, read_tasks(tasks))
    made = {
        task_id: [{"attempt_1": first, "attempt_2": second} for first, second in of_task]
        for task_id, of_task in attempts.items()
    }
    write_json(output, made, "submission")


if "snakemake" in globals():
    with job(snakemake):
        main(snakemake.input.tasks, snakemake.input.submission, snakemake.output[0])

"""Scores a submission from elsewhere: which outputs are right, and nothing of how they were found."""

from typing import Any

from arcfold.arc.datasets import check_solved
from arcfold.arc.scoring import score_task, total_score
from arcfold.arc.tasks import read_tasks
from arcfold.jobs.files import hash_of_file, write_json
from arcfold.jobs.job import job
from arcfold.jobs.provenance import hash_inputs, provenance
from arcfold.runs.predictions import read_submission
from arcfold.runs.versions import code_version, data_version, scorer_version


def main(tasks: str, submission: str, run: dict[str, Any], source: str, leaderboard: float | None, output: str) -> None:
    all_tasks = read_tasks(tasks)
    check_solved(all_tasks, run["dataset"])
    attempts = read_submission(submission, all_tasks)
    scores = {task.id: score_task(task, attempts[task.id]) for task in all_tasks}
    made: dict[str, Any] = {
        **total_score(scores),
        "data": data_version(run["dataset"], source, all_tasks),
        "scorer": scorer_version(),
        "code": code_version([submission]),
        "submission": hash_of_file(submission),
        "tasks": scores,
        **({} if leaderboard is None else {"leaderboard": leaderboard}),
    }
    made["provenance"] = provenance(inputs=hash_inputs(tasks=tasks, submission=submission), run=run)
    write_json(output, made, "score")
    print(
        f"{run['name']} on {run['dataset']}: score {made['score']:.2f} % of {made['n_tasks']} tasks, "
        f"{made['score_outputs']:.2f} % of {made['n_outputs']} outputs"
    )


if "snakemake" in globals():
    with job(snakemake):
        main(
            snakemake.input.tasks,
            snakemake.input.submission,
            snakemake.params.run,
            snakemake.params.data,
            snakemake.params.leaderboard,
            snakemake.output[0],
        )

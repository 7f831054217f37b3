"""Scores a run's submission and records where the result comes from."""

from typing import Any

from arcfold.arc.datasets import check_solved
from arcfold.arc.folds import check_partition, read_folds
from arcfold.arc.scoring import score_task, total_score
from arcfold.arc.selection import ranked
from arcfold.arc.tasks import read_tasks
from arcfold.jobs.files import read_json, write_json
from arcfold.jobs.job import job
from arcfold.jobs.provenance import hash_inputs, provenance, read_provenance
from arcfold.runs.predictions import read_rescored, read_submission
from arcfold.runs.versions import code_version, data_version, scorer_version


def main(
    tasks: str,
    folds: str,
    record: str,
    adapters: list[str],
    candidates: list[str],
    rescored: list[str],
    submission: str,
    run: dict[str, Any],
    steps: dict[str, str],
    source: str,
    leaks: list[dict[str, Any]],
    output: str,
) -> None:
    all_tasks = read_tasks(tasks)
    check_solved(all_tasks, run["dataset"])
    check_partition(read_folds(folds), [task.id for task in all_tasks], folds)
    attempts, found = read_submission(submission, all_tasks), read_rescored(rescored, all_tasks)
    method = run["settings"]["selection"]["method"]
    scores = {
        task.id: score_task(
            task,
            attempts[task.id],
            [[candidate.grid for candidate in ranked(outputs, method)] for outputs in found[task.id]],
        )
        for task in all_tasks
    }
    made_by = {
        "train_adapter": [read_provenance(f"{adapter}/training.json") for adapter in adapters],
        "search_candidates": [read_provenance(path) for path in candidates],
        "rescore_candidates": [read_provenance(path) for path in rescored],
    }
    # what the base model or a pretrained adapter had seen of these tasks: none, or allowed by the config
    made: dict[str, Any] = {
        **total_score(scores),
        "data": data_version(run["dataset"], source, all_tasks),
        "scorer": scorer_version(),
        "code": code_version([folds, *adapters, *candidates, *rescored, submission]),
        "steps": steps,
        "leakage": leaks,
        "tasks": scores,
    }
    made["provenance"] = provenance(
        inputs=hash_inputs(tasks=tasks, folds=folds, submission=submission),
        run=run,
        model={key: read_json(record, "model")[key] for key in ("name", "hash")},
        seconds_of_folds={step: [each["seconds"] for each in folds_of] for step, folds_of in made_by.items()},
        devices_of_folds={step: [each["device"] for each in folds_of] for step, folds_of in made_by.items()},
        peak_host_mib={step: max(each["peak_host_mib"] for each in folds_of) for step, folds_of in made_by.items()},
    )
    write_json(output, made, "score")
    print(
        f"{run['name']} on {run['dataset']}: score {made['score']:.2f} % of {made['n_tasks']} tasks, "
        f"{made['score_outputs']:.2f} % of {made['n_outputs']} outputs, oracle {made['oracle']:.2f} %"
    )


if "snakemake" in globals():
    with job(snakemake):
        main(
            snakemake.input.tasks,
            snakemake.input.folds,
            snakemake.input.model,
            snakemake.input.adapters,
            snakemake.input.candidates,
            snakemake.input.rescored,
            snakemake.input.submission,
            snakemake.params.run,
            snakemake.params.steps,
            snakemake.params.data,
            snakemake.params.leaks,
            snakemake.output[0],
        )

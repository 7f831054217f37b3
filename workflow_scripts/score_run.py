"""Scores a run's submission and records where the result comes from."""

import logging
from typing import Any

from arcfold.arc.datasets import check_solved
from arcfold.arc.folds import check_partition, read_folds
from arcfold.arc.misses import misses
from arcfold.arc.scoring import score_task, total_score
from arcfold.arc.selection import ranked
from arcfold.arc.tasks import read_tasks, without_solutions
from arcfold.jobs.checksums import followed
from arcfold.jobs.files import InputError, read_json, write_json
from arcfold.jobs.holes import read_hole
from arcfold.jobs.job import job
from arcfold.jobs.provenance import hash_inputs, provenance
from arcfold.planning.rungs import cuts_of_folds
from arcfold.planning.subjects import subject_of
from arcfold.planning.truth import planned_and_true
from arcfold.runs.fallbacks import fallbacks, summary
from arcfold.runs.predictions import read_predictions, read_submission
from arcfold.runs.steps import provenance_of_steps, trainings_of
from arcfold.runs.versions import code_version, data_version, scorer_version

log = logging.getLogger("score_run")


def main(
    tasks: str,
    folds: str,
    records: list[str],
    bases: list[str],
    loadings: list[dict[str, str]],
    adapters: list[str],
    candidates: list[str],
    rescored: list[str],
    scorings: list[str],
    submission: str,
    run: dict[str, Any],
    steps: dict[str, str],
    source: str,
    leaks: list[dict[str, Any]],
    leaderboard: float | None,
    keep_going: bool,
    output: str,
) -> None:
    all_tasks = read_tasks(tasks)
    check_solved(all_tasks, run["dataset"])
    dealt = read_folds(folds)
    check_partition(dealt, [task.id for task in all_tasks], folds)
    attempts, found = read_submission(submission, all_tasks), read_predictions(all_tasks, dealt, rescored)
    if found.holes and not keep_going:
        task_id, holes = next(iter(found.holes.items()))
        said = next(iter(holes.values())).said
        raise InputError(
            f"run {run['name']}: {found.n_holes} test inputs were not searched (task {task_id}: {said}), expected "
            "all of them; to count them as wrong, set keep_going: true in the config"
        )
    method = run["settings"]["selection"]["method"]
    scores = {
        task.id: score_task(
            task,
            attempts[task.id],
            [[candidate.grid for candidate in ranked(outputs, method)] for outputs in found.candidates[task.id]],
            found.holes.get(task.id),
        )
        for task in all_tasks
    }
    cuts = cuts_of_folds(run, adapters, candidates, rescored) if "budget" in steps else []
    losses, made_by = trainings_of(run, adapters), provenance_of_steps(adapters, candidates, scorings or rescored)
    results = [folds, *adapters, *candidates, *rescored, *scorings, submission]
    results = [str(followed(path)) for path in results if read_hole(path) is None]
    models = [{key: read_json(record, "model")[key] for key in ("name", "hash")} for record in records]
    # what the base model or a pretrained adapter had seen of these tasks: none, or allowed by the config
    made: dict[str, Any] = {
        **total_score(scores),
        "misses": misses(all_tasks, scores),
        "data": data_version(run["dataset"], source, all_tasks),
        "scorer": scorer_version(),
        "code": code_version(results),
        "steps": steps,
        "leakage": leaks,
        "folds": losses,
        "failed": list(found.failed),
        **({"cuts": cuts} if "budget" in steps else {}),
        "tasks": scores,
        **({} if leaderboard is None else {"leaderboard": leaderboard}),
    }
    plan: dict[str, Any] = {}
    if "ensemble" not in run:  # its members have plans of their own
        model = read_json(records[0], "model")
        by_id = {task.id: without_solutions(task) for task in all_tasks}
        tasks_of_folds = [[by_id[task_id] for task_id in ids] for ids in dealt]
        subject = subject_of(run, tasks_of_folds, model, bases[0], loadings[0])
        plan = {"plan": planned_and_true(subject, model, adapters, candidates, made_by, cuts)}
    made["provenance"] = provenance(
        inputs=hash_inputs(tasks=tasks, folds=folds, submission=submission),
        run=run,
        **({"model": models[0]} if len(models) == 1 else {"models": models}),
        **plan,
        seconds_of_folds={step: [each["seconds"] for each in folds_of] for step, folds_of in made_by.items()},
        devices_of_folds={step: [each["device"] for each in folds_of] for step, folds_of in made_by.items()},
        peak_host_mib={
            step: max((each["peak_host_mib"] for each in folds_of), default=0) for step, folds_of in made_by.items()
        },
    )
    write_json(output, made, "score")
    for fold in losses:
        if fold["first_loss"] is not None and fold["last_loss"] > fold["first_loss"]:
            log.warning(
                "warning: run %s: the loss of fold %d rose from %.4f to %.4f",
                run["name"], fold["fold"], fold["first_loss"], fold["last_loss"],
            )  # fmt: skip
    for line in summary(run["name"], fallbacks(found)):
        log.warning(line)
    print(
        f"{run['name']} on {run['dataset']}: score {made['score']:.2f} % of {made['n_tasks']} tasks, "
        f"{made['score_outputs']:.2f} % of {made['n_outputs']} outputs, oracle {made['oracle']:.2f} %"
        + ("" if made["complete"] else ", incomplete")
    )


if "snakemake" in globals():
    with job(snakemake):
        main(
            snakemake.input.tasks,
            snakemake.input.folds,
            list(snakemake.input.models),
            snakemake.params.bases,
            snakemake.params.loadings,
            snakemake.input.adapters,
            snakemake.input.candidates,
            snakemake.input.rescored,
            list(snakemake.input.scorings),
            snakemake.input.submission,
            snakemake.params.run,
            snakemake.params.steps,
            snakemake.params.data,
            snakemake.params.leaks,
            snakemake.params.leaderboard,
            # no param: what it would change is stale anyway, or refused
            snakemake.config["keep_going"],
            snakemake.output[0],
        )

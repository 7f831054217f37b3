"""Trains one fold's LoRA on the demonstrations of its tasks."""

from typing import Any

from arcfold.arc.folds import read_fold
from arcfold.arc.tasks import tasks_by_id
from arcfold.jobs.files import read_json
from arcfold.jobs.job import job
from arcfold.jobs.provenance import Stopwatch, hash_inputs
from arcfold.models.base import BaseModel


def main(
    *,
    tasks: str,
    folds: str,
    fold: int,
    model: str,
    folder: str,
    loading: dict[str, str],
    init: str | None,
    seed: int,
    settings: dict[str, Any],
    gpus: int,
    threads: int,
    report_to: str,
    log_file: str,
    output: str,
    report: str | None = None,
) -> None:
    watch = Stopwatch()
    # torch is loaded here, where the time counts; the other libraries when it is known which are needed
    from arcfold.training.adapt import adapt

    watch.lap("import")
    inputs = {"tasks": tasks, "folds": folds, "model": model}
    if init is not None:
        inputs["init"] = f"{init}/training.json"
    adapt(
        tasks_by_id(tasks, read_fold(folds, fold)),
        base=BaseModel.open(folder, read_json(model, "model"), **loading),
        init=init,
        seed=seed,
        settings=settings,
        gpus=gpus,
        threads=threads,
        inputs=hash_inputs(**inputs),
        watch=watch,
        report_to=report_to,
        log_file=log_file,
        output=output,
        report_file=report,
        skips=True,
    )


if "snakemake" in globals():
    with job(snakemake):
        main(
            tasks=snakemake.input.tasks,
            folds=snakemake.input.folds,
            fold=int(snakemake.wildcards.fold),
            model=snakemake.input.model,
            folder=snakemake.params.base,
            loading=snakemake.params.loading,
            init=snakemake.input.get("init") or None,
            seed=snakemake.params.seed,
            settings=snakemake.params.settings,
            gpus=snakemake.resources.gpu,
            threads=snakemake.params.threads,
            # no param: a training is not repeated for its curves
            report_to=snakemake.config["report_to"],
            log_file=snakemake.log[0],
            output=snakemake.output.folder,
            report=snakemake.output.get("report"),
        )

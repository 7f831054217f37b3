"""Pretrains a LoRA on all pairs of a subset's tasks, for runs to start from."""

from typing import Any

from arcfold.arc.tasks import read_tasks, with_all_pairs
from arcfold.jobs.files import read_json
from arcfold.jobs.job import job
from arcfold.jobs.provenance import Stopwatch, hash_inputs
from arcfold.models.base import BaseModel


def main(
    *,
    tasks: str,
    model: str,
    folder: str,
    loading: dict[str, str],
    seed: int,
    settings: dict[str, Any],
    gpus: int,
    threads: int,
    report_to: str,
    log_file: str,
    output: str,
) -> None:
    watch = Stopwatch()
    # torch is loaded here, where the time counts; the other libraries when it is known which are needed
    from arcfold.training.adapt import adapt

    watch.lap("import")
    adapt(
        [with_all_pairs(task) for task in read_tasks(tasks)],
        base=BaseModel.open(folder, read_json(model, "model"), **loading),
        init=None,
        seed=seed,
        settings=settings,
        gpus=gpus,
        threads=threads,
        inputs=hash_inputs(tasks=tasks, model=model),
        watch=watch,
        report_to=report_to,
        log_file=log_file,
        output=output,
    )


if "snakemake" in globals():
    with job(snakemake):
        main(
            tasks=snakemake.input.tasks,
            model=snakemake.input.model,
            folder=snakemake.params.base,
            loading=snakemake.params.loading,
            seed=snakemake.params.seed,
            settings=snakemake.params.settings,
            gpus=snakemake.resources.gpu,
            threads=snakemake.params.threads,
            # no param: a training is not repeated for its curves
            report_to=snakemake.config["report_to"],
            log_file=snakemake.log[0],
            output=snakemake.output[0],
        )

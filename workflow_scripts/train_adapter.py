"""Trains one fold's LoRA on the demonstrations of its tasks."""

from typing import Any

from arcfold.files import read_json
from arcfold.jobs import job
from arcfold.provenance import Stopwatch, hash_inputs
from arcfold.tasks import tasks_by_id


def main(
    *, tasks: str, folds: str, fold: int, record: str, init: str | None, settings: dict[str, Any], **more: Any
) -> None:
    watch = Stopwatch()
    # torch is loaded here, where the time counts; the other libraries when it is known which are needed
    from arcfold.adaptation import adapt

    watch.lap("import")
    inputs = {"tasks": tasks, "folds": folds, "model": record}
    if init is not None:
        inputs["init"] = f"{init}/training.json"
    adapt(
        tasks_by_id(tasks, read_json(folds, "folds")["folds"][fold]),
        record=read_json(record, "model"),
        init=init,
        settings=settings,
        inputs=hash_inputs(**inputs),
        watch=watch,
        **more,
    )


if "snakemake" in globals():
    with job(snakemake.log[0], snakemake.params.threads):
        main(
            tasks=snakemake.input.tasks,
            folds=snakemake.input.folds,
            fold=int(snakemake.wildcards.fold),
            record=snakemake.input.model,
            init=snakemake.input.get("init") or None,
            base=snakemake.params.base,
            loading=snakemake.params.loading,
            seed=snakemake.params.seed,
            settings=snakemake.params.settings,
            gpus=snakemake.resources.gpu,
            threads=snakemake.params.threads,
            output=snakemake.output[0],
        )

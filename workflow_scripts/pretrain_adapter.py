"""Pretrains a LoRA on all pairs of a subset's tasks, for runs to start from."""

from typing import Any

from arcfold.files import read_json
from arcfold.jobs import job
from arcfold.provenance import Stopwatch, hash_inputs
from arcfold.tasks import read_tasks, with_all_pairs


def main(*, tasks: str, record: str, **more: Any) -> None:
    watch = Stopwatch()
    # torch is loaded here, where the time counts; the other libraries when it is known which are needed
    from arcfold.adaptation import adapt

    watch.lap("import")
    adapt(
        [with_all_pairs(task) for task in read_tasks(tasks)],
        record=read_json(record, "model"),
        init=None,
        inputs=hash_inputs(tasks=tasks, model=record),
        watch=watch,
        **more,
    )


if "snakemake" in globals():
    with job(snakemake.log[0], snakemake.params.threads):
        main(
            tasks=snakemake.input.tasks,
            record=snakemake.input.model,
            base=snakemake.params.base,
            loading=snakemake.params.loading,
            seed=snakemake.params.seed,
            settings=snakemake.params.settings,
            gpus=snakemake.resources.gpu,
            threads=snakemake.params.threads,
            output=snakemake.output[0],
        )

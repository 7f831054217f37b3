"""Times the ways to train a fold's adapter against each other, on the same samples."""

from importlib.util import find_spec
from typing import Any

from arcfold.arc.folds import read_fold
from arcfold.jobs.devices import lease
from arcfold.jobs.files import write_json
from arcfold.jobs.job import job
from arcfold.jobs.provenance import Stopwatch, hash_inputs, provenance
from arcfold.training.benchmark import WAYS, compare, measure

SECONDS = 3600.0
"""What a way may take at most."""


def main(
    *, tasks: str, folds: str, record: str, base: str, loading: dict[str, str], run: str, seed: int,
    settings: dict[str, Any], gpus: int, threads: int, output: str,
) -> None:  # fmt: skip
    watch = Stopwatch()
    ids = read_fold(folds, 0)
    request = {"tasks": tasks, "ids": ids, "record": record, "base": base, "loading": loading, "seed": seed}
    request |= {"threads": threads, "settings": settings}
    rows = {}
    with lease(gpus):
        watch.lap("wait for a device")
        for way in WAYS:
            if way == "unsloth" and find_spec("unsloth") is None:
                rows[way] = {"error": "not installed", "last_lines": []}
            else:
                rows[way] = measure(way, request, SECONDS)
            watch.lap(way)
    made = {"run": run, "fold": 0, "rows": rows, "comparison": compare(rows)}
    inputs = hash_inputs(tasks=tasks, folds=folds, model=record)
    made["provenance"] = provenance(inputs=inputs, watch=watch, settings=settings)
    write_json(output, made, "training_benchmark")


if "snakemake" in globals():
    with job(snakemake):
        main(
            tasks=snakemake.input.tasks,
            folds=snakemake.input.folds,
            record=snakemake.input.model,
            base=snakemake.params.base,
            loading=snakemake.params.loading,
            run=snakemake.params.run,
            seed=snakemake.params.seed,
            settings=snakemake.params.settings,
            gpus=snakemake.resources.gpu,
            threads=snakemake.params.threads,
            output=snakemake.output[0],
        )

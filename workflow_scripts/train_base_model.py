"""Trains a base model from scratch, or goes on with one, and writes its folder with card and curve."""

import time
from pathlib import Path
from typing import Any

from arcfold.jobs.devices import lease
from arcfold.jobs.files import check_schema, read_json, write_json
from arcfold.jobs.job import job
from arcfold.jobs.provenance import Stopwatch, provenance


def main(
    *,
    name: str,
    recipe: dict[str, Any],
    shards: list[str],
    held_out: list[str],
    goes_on_from: str | None,
    seed: int,
    gpus: int,
    threads: int,
    output: str,
) -> None:
    watch, started = Stopwatch(), time.monotonic()
    with lease(gpus):
        # torch is loaded only now, when the job has its device
        import torch

        from arcfold.pretraining.base_folder import save_model
        from arcfold.pretraining.model_card import card
        from arcfold.pretraining.run import hashes_of, plan_of, train

        torch.set_num_threads(threads)
        watch.lap("import")
        workers = max(threads - 1, 4) if torch.cuda.is_available() else 0
        outcome = train(plan_of(recipe, seed, workers), shards, held_out, resume=goes_on_from, started=started)
        watch.lap("training")
        report = outcome.report | {
            "provenance": provenance(inputs=hashes_of(shards), watch=watch, settings=recipe),
        }
    check_schema(report, "base_training", output)
    corpora = [read_json(Path(shard) / "shard.json", "shard") for shard in shards]
    state = {"progress": outcome.progress.to_json()}
    save_model(output, outcome.network, state=state, texts={"README.md": card(name, report, corpora)})
    write_json(Path(output) / "training.json", report)


if "snakemake" in globals():
    with job(snakemake):
        main(
            name=snakemake.wildcards.base,
            recipe=snakemake.params.recipe,
            shards=list(snakemake.input.shards),
            held_out=list(snakemake.input.held_out),
            goes_on_from=snakemake.input.get("before") or None,
            seed=snakemake.params.seed,
            gpus=snakemake.resources.gpu,
            threads=snakemake.params.threads,
            output=snakemake.output[0],
        )

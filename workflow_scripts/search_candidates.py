"""Finds all replies of at least min_prob to a fold's test inputs, in several views."""

from typing import Any

from arcfold.files import read_json, write_json
from arcfold.jobs import job
from arcfold.progress import progress_bar
from arcfold.provenance import Stopwatch, hash_inputs, provenance
from arcfold.tasks import tasks_by_id


def main(
    *,
    tasks: str,
    folds: str,
    fold: int,
    record: str,
    base: str,
    loading: dict[str, str],
    adapter: str,
    seed: int,
    settings: dict[str, Any],
    cache_gib: float | str,
    gpus: int,
    threads: int,
    output: str,
) -> None:
    watch = Stopwatch()
    # torch is loaded here, where the time counts
    from arcfold.adapted import adapted
    from arcfold.candidates import Drafts, candidates_to_json, groups, queries, take_looks
    from arcfold.light_models import base_loader
    from arcfold.memory import memory_budget
    from arcfold.models import check_length, codec_of, compute_device, number_type
    from arcfold.search import search

    load = base_loader(base, loading)
    watch.lap("import")
    model_record = read_json(record, "model")
    check_length(model_record, settings["longest"], "search/longest")
    looks = take_looks(
        tasks_by_id(tasks, read_json(folds, "folds")["folds"][fold]),
        codec_of(model_record),
        views=settings["views"],
        longest=settings["longest"],
        seed=seed,
        purpose="inference views",
    )
    watch.lap("prompts")
    with compute_device(gpus, threads) as device:
        watch.lap("wait for a device")
        model = adapted(load(device), adapter, model_record)
        watch.lap("load")
        with progress_bar("search", len(looks.looks), len(set(groups(looks)))) as progress:
            found = search(
                model,
                queries(looks),
                end=looks.codec.end,
                min_prob=settings["min_prob"],
                drafts=Drafts(looks),
                groups=groups(looks),
                memory_budget=memory_budget(cache_gib),
                progress=progress,
            )
        watch.lap("search")
        made = {"fold": fold, "min_prob": settings["min_prob"], "tasks": candidates_to_json(looks, found)}
        inputs = hash_inputs(tasks=tasks, folds=folds, model=record, adapter=f"{adapter}/training.json")
        made["provenance"] = provenance(inputs=inputs, watch=watch, settings=settings, number_type=number_type(model))
    write_json(output, made, "candidates")


if "snakemake" in globals():
    with job(snakemake.log[0], snakemake.params.threads):
        main(
            tasks=snakemake.input.tasks,
            folds=snakemake.input.folds,
            fold=int(snakemake.wildcards.fold),
            record=snakemake.input.model,
            base=snakemake.params.base,
            loading=snakemake.params.loading,
            adapter=snakemake.input.adapter,
            seed=snakemake.params.seed,
            settings=snakemake.params.settings,
            cache_gib=snakemake.params.cache_gib,
            gpus=snakemake.resources.gpu,
            threads=snakemake.params.threads,
            output=snakemake.output[0],
        )

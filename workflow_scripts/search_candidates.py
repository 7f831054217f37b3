"""Finds all replies of at least min_prob to a fold's test inputs, in several views."""

from typing import Any

from arcfold.arc.folds import read_fold
from arcfold.arc.tasks import tasks_by_id
from arcfold.jobs.files import read_json, write_json
from arcfold.jobs.holes import refuse_holes
from arcfold.jobs.job import job
from arcfold.jobs.progress import progress_bar
from arcfold.jobs.provenance import Stopwatch, hash_inputs, provenance
from arcfold.models.base import BaseModel


def main(
    *,
    tasks: str,
    folds: str,
    fold: int,
    model: str,
    folder: str,
    loading: dict[str, str],
    adapter: str,
    seed: int,
    settings: dict[str, Any],
    cache_gib: float | str,
    gpus: int,
    threads: int,
    output: str,
) -> None:
    refuse_holes(adapter)
    watch = Stopwatch()
    # torch is loaded here, where the time counts
    from arcfold.jobs.compute import compute_device
    from arcfold.jobs.memory import memory_budget
    from arcfold.models.base import number_type
    from arcfold.models.loading import model_loader
    from arcfold.models.merged import merge_adapter
    from arcfold.search.candidates import Drafts, candidates_to_json, draw_input_views, groups, queries
    from arcfold.search.search import search

    base = BaseModel.open(folder, read_json(model, "model"), **loading)
    load = model_loader(base)
    watch.lap("import")
    base.check_length(settings["longest"], "search/longest")
    input_views = draw_input_views(
        tasks_by_id(tasks, read_fold(folds, fold)),
        base.codec,
        views=settings["views"],
        longest=settings["longest"],
        seed=seed,
        purpose="inference views",
    )
    watch.lap("prompts")
    with compute_device(gpus, threads) as device:
        watch.lap("wait for a device")
        merged = merge_adapter(load(device), adapter, base.record)
        watch.lap("load")
        with progress_bar("search", len(input_views.items), len(set(groups(input_views)))) as progress:
            found = search(
                merged,
                queries(input_views),
                end=input_views.codec.end,
                min_prob=settings["min_prob"],
                drafts=Drafts(input_views),
                groups=groups(input_views),
                memory_budget=memory_budget(cache_gib),
                progress=progress,
            )
        watch.lap("search")
        made = {"fold": fold, "min_prob": settings["min_prob"], "tasks": candidates_to_json(input_views, found)}
        inputs = hash_inputs(tasks=tasks, folds=folds, model=model, adapter=f"{adapter}/training.json")
        made["provenance"] = provenance(inputs=inputs, watch=watch, settings=settings, number_type=number_type(merged))
    write_json(output, made, "candidates")


if "snakemake" in globals():
    with job(snakemake):
        main(
            tasks=snakemake.input.tasks,
            folds=snakemake.input.folds,
            fold=int(snakemake.wildcards.fold),
            model=snakemake.input.model,
            folder=snakemake.params.base,
            loading=snakemake.params.loading,
            adapter=snakemake.input.adapter,
            seed=snakemake.params.seed,
            settings=snakemake.params.settings,
            cache_gib=snakemake.params.cache_gib,
            gpus=snakemake.resources.gpu,
            threads=snakemake.params.threads,
            output=snakemake.output[0],
        )

"""Scores every candidate of a fold in other views."""

from typing import Any

from arcfold.arc.candidate_files import read_candidates, unscored
from arcfold.jobs.files import read_json, write_json
from arcfold.jobs.holes import refuse_holes
from arcfold.jobs.job import job
from arcfold.jobs.progress import progress_bar
from arcfold.jobs.provenance import Stopwatch, hash_inputs, provenance
from arcfold.models.base import BaseModel


def main(
    *,
    tasks: str,
    candidates: str,
    fold: int,
    model: str,
    folder: str,
    loading: dict[str, str],
    adapter: str,
    seed: int,
    longest: int,
    settings: dict[str, Any],
    cache_gib: float | str,
    gpus: int,
    threads: int,
    output: str,
) -> None:
    refuse_holes(adapter, candidates)
    watch = Stopwatch()
    inputs = {"tasks": tasks, "candidates": candidates, "model": model, "adapter": f"{adapter}/training.json"}
    if not settings["views"]:  # a deadline leaves no time for them, nor for loading torch
        found, _ = read_candidates(candidates, fold, tasks)
        made = {"fold": fold, "tasks": unscored(found["tasks"])}
        made["provenance"] = provenance(inputs=hash_inputs(**inputs), watch=watch, settings=settings)
        write_json(output, made, "rescored")
        return
    # torch is loaded here, where the time counts
    from arcfold.jobs.compute import compute_device
    from arcfold.jobs.memory import memory_budget
    from arcfold.models.base import number_type
    from arcfold.models.loading import model_loader
    from arcfold.models.merged import merge_adapter
    from arcfold.search.candidates import draw_input_views, groups, questions, rescored_to_json
    from arcfold.search.rescoring import reply_log_probs

    base = BaseModel.open(folder, read_json(model, "model"), **loading)
    load = model_loader(base)
    watch.lap("import")
    base.check_length(longest, "search/longest")
    found, of_fold = read_candidates(candidates, fold, tasks)
    input_views = draw_input_views(
        of_fold,
        base.codec,
        views=settings["views"],
        longest=longest,
        seed=seed,
        purpose="scoring views",
    )
    watch.lap("prompts")
    with compute_device(gpus, threads) as device:
        watch.lap("wait for a device")
        merged = merge_adapter(load(device), adapter, base.record)
        watch.lap("load")
        with progress_bar("rescoring", len(input_views.items), len(set(groups(input_views)))) as progress:
            log_probs = reply_log_probs(
                merged,
                questions(input_views, found["tasks"]),
                groups=groups(input_views),
                memory_budget=memory_budget(cache_gib),
                progress=progress,
            )
        watch.lap("rescoring")
        made = {"fold": found["fold"], "tasks": rescored_to_json(input_views, found["tasks"], log_probs)}
        made["provenance"] = provenance(
            inputs=hash_inputs(**inputs), watch=watch, settings=settings, number_type=number_type(merged)
        )
    write_json(output, made, "rescored")


if "snakemake" in globals():
    with job(snakemake):
        main(
            tasks=snakemake.input.tasks,
            candidates=snakemake.input.candidates,
            fold=int(snakemake.wildcards.fold),
            model=snakemake.input.model,
            folder=snakemake.params.base,
            loading=snakemake.params.loading,
            adapter=snakemake.input.adapter,
            seed=snakemake.params.seed,
            longest=snakemake.params.longest,
            settings=snakemake.params.settings,
            cache_gib=snakemake.params.cache_gib,
            gpus=snakemake.resources.gpu,
            threads=snakemake.params.threads,
            output=snakemake.output[0],
        )

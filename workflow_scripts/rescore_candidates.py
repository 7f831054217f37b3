"""Scores every candidate of a fold in other views."""

from typing import Any

from arcfold.files import read_json, write_json
from arcfold.jobs import job
from arcfold.progress import progress_bar
from arcfold.provenance import Stopwatch, hash_inputs, provenance
from arcfold.tasks import tasks_by_id


def main(
    *,
    tasks: str,
    candidates: str,
    record: str,
    base: str,
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
    watch = Stopwatch()
    # torch is loaded here, where the time counts
    from arcfold.adapted import adapted
    from arcfold.candidates import groups, questions, rescored_to_json, take_looks
    from arcfold.light_models import base_loader
    from arcfold.memory import memory_budget
    from arcfold.models import check_length, codec_of, compute_device, number_type
    from arcfold.rescoring import reply_log_probs

    load = base_loader(base, loading)
    watch.lap("import")
    model_record = read_json(record, "model")
    check_length(model_record, longest, "search/longest")
    found = read_json(candidates, "candidates")
    looks = take_looks(
        tasks_by_id(tasks, list(found["tasks"])),
        codec_of(model_record),
        views=settings["views"],
        longest=longest,
        seed=seed,
        purpose="scoring views",
    )
    watch.lap("prompts")
    with compute_device(gpus, threads) as device:
        watch.lap("wait for a device")
        model = adapted(load(device), adapter, model_record)
        watch.lap("load")
        with progress_bar("rescoring", len(looks.looks), len(set(groups(looks)))) as progress:
            log_probs = reply_log_probs(
                model,
                questions(looks, found["tasks"]),
                groups=groups(looks),
                memory_budget=memory_budget(cache_gib),
                progress=progress,
            )
        watch.lap("rescoring")
        made = {"fold": found["fold"], "tasks": rescored_to_json(looks, found["tasks"], log_probs)}
        inputs = hash_inputs(tasks=tasks, candidates=candidates, model=record, adapter=f"{adapter}/training.json")
        made["provenance"] = provenance(inputs=inputs, watch=watch, settings=settings, number_type=number_type(model))
    write_json(output, made, "rescored")


if "snakemake" in globals():
    with job(snakemake.log[0], snakemake.params.threads):
        main(
            tasks=snakemake.input.tasks,
            candidates=snakemake.input.candidates,
            record=snakemake.input.model,
            base=snakemake.params.base,
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

"""Scores every candidate of a fold in other views."""

from typing import Any

from arcfold.devices import lease
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
    dtype: str,
    adapter: str,
    seed: int,
    longest: int,
    settings: dict[str, Any],
    threads: int,
    output: str,
) -> None:
    watch = Stopwatch()
    # torch is loaded only now, when the job has its device
    from arcfold.candidates import questions, rescored_to_json, take_looks
    from arcfold.models import check_length, codec_of, load_base, prepare_torch, with_adapter
    from arcfold.rescoring import reply_log_probs

    device = prepare_torch(threads)
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
    model = with_adapter(load_base(base, device, dtype), adapter, model_record)
    watch.lap("load")
    with progress_bar("rescoring", len(looks.looks)) as progress:
        log_probs = reply_log_probs(model, questions(looks, found["tasks"]), progress=progress)
    watch.lap("rescoring")
    made = {"fold": found["fold"], "tasks": rescored_to_json(looks, found["tasks"], log_probs)}
    inputs = hash_inputs(tasks=tasks, candidates=candidates, model=record, adapter=f"{adapter}/training.json")
    made["provenance"] = provenance(inputs=inputs, watch=watch, settings=settings)
    write_json(output, made, "rescored")


if "snakemake" in globals():
    with job(snakemake.log[0], snakemake.params.threads), lease(snakemake.resources.gpu):
        main(
            tasks=snakemake.input.tasks,
            candidates=snakemake.input.candidates,
            record=snakemake.input.model,
            base=snakemake.params.base,
            dtype=snakemake.params.dtype,
            adapter=snakemake.input.adapter,
            seed=snakemake.params.seed,
            longest=snakemake.params.longest,
            settings=snakemake.params.settings,
            threads=snakemake.params.threads,
            output=snakemake.output[0],
        )

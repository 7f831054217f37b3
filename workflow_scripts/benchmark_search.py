"""Times the search and the rescoring of a run's folds against the sequential references on the same inputs."""

from typing import Any

from arcfold.files import read_json, write_json
from arcfold.jobs import job
from arcfold.provenance import Stopwatch, hash_inputs, provenance
from arcfold.tasks import tasks_by_id


def main(
    *,
    tasks: str,
    folds: str,
    record: str,
    base: str,
    loading: dict[str, str],
    adapters: list[str],
    seed: int,
    run: str,
    search: dict[str, Any],
    rescoring: dict[str, Any],
    settings: dict[str, Any],
    cache_gib: float | str,
    gpus: int,
    threads: int,
    output: str,
) -> None:
    watch = Stopwatch()
    # torch and transformers are loaded here, where the time counts
    from arcfold.adapted import adapted
    from arcfold.candidates import take_looks
    from arcfold.light_models import base_loader
    from arcfold.memory import memory_budget
    from arcfold.models import check_length, codec_of, compute_device, load_base, load_libraries, with_adapter
    from arcfold.search_benchmark import measure, spread, totals

    load_libraries()
    load = base_loader(base, loading)
    watch.lap("import")
    model_record = read_json(record, "model")
    check_length(model_record, search["longest"], "search/longest")
    codec = codec_of(model_record)
    with compute_device(gpus, threads) as device:
        watch.lap("wait for a device")
        measured = []
        for fold, adapter in enumerate(adapters):
            of_fold = tasks_by_id(tasks, read_json(folds, "folds")["folds"][fold])
            chosen = spread(of_fold, codec, settings["tasks"], search["longest"])
            searched, scored = (
                take_looks(chosen, codec, views=views, longest=search["longest"], seed=seed, purpose=purpose)
                for views, purpose in ((search["views"], "inference views"), (rescoring["views"], "scoring views"))
            )
            facts = measure(
                adapted(load(device), adapter, model_record),
                with_adapter(load_base(base, device, **loading), adapter, model_record),
                searched,
                scored,
                min_probs=settings["min_prob"],
                seconds=settings["seconds"],
                profile=device.type == "cuda" and fold == 0,
                memory_budget=memory_budget(cache_gib),
                device=device,
            )
            measured.append({"fold": fold, **facts})
            watch.lap(f"fold {fold}")
        made = {"run": run, "totals": totals(measured), "folds": measured}
        inputs = hash_inputs(tasks=tasks, folds=folds, model=record)
        inputs |= hash_inputs(**{f"adapter_{k}": f"{adapter}/training.json" for k, adapter in enumerate(adapters)})
        made["provenance"] = provenance(inputs=inputs, watch=watch, settings=settings)
    write_json(output, made, "search_benchmark")


if "snakemake" in globals():
    with job(snakemake.log[0], snakemake.params.threads):
        main(
            tasks=snakemake.input.tasks,
            folds=snakemake.input.folds,
            record=snakemake.input.model,
            base=snakemake.params.base,
            loading=snakemake.params.loading,
            adapters=list(snakemake.input.adapters),
            seed=snakemake.params.seed,
            run=snakemake.params.run,
            search=snakemake.params.search,
            rescoring=snakemake.params.rescoring,
            settings=snakemake.params.settings,
            cache_gib=snakemake.params.cache_gib,
            gpus=snakemake.resources.gpu,
            threads=snakemake.params.threads,
            output=snakemake.output[0],
        )

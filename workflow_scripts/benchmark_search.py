"""Times the search and the rescoring of a run's folds against the sequential references on the same inputs."""

from typing import Any

from arcfold.arc.folds import read_fold
from arcfold.arc.tasks import tasks_by_id
from arcfold.jobs.files import read_json, write_json
from arcfold.jobs.holes import refuse_holes
from arcfold.jobs.job import job
from arcfold.jobs.provenance import Stopwatch, hash_inputs, provenance
from arcfold.models.base import BaseModel


def main(
    *,
    tasks: str,
    folds: str,
    model: str,
    folder: str,
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
    refuse_holes(*adapters)
    watch = Stopwatch()
    # torch and transformers are loaded here, where the time counts
    from arcfold.jobs.compute import compute_device
    from arcfold.jobs.memory import memory_budget
    from arcfold.models.loading import model_loader
    from arcfold.models.merged import merge_adapter, merge_with_peft
    from arcfold.search.benchmark import measure, spread, totals
    from arcfold.search.candidates import draw_input_views

    base = BaseModel.open(folder, read_json(model, "model"), **loading)
    load, load_reference = model_loader(base), model_loader(base, plain=False)
    watch.lap("import")
    base.check_length(search["longest"], "search/longest")
    codec = base.codec
    with compute_device(gpus, threads) as device:
        watch.lap("wait for a device")
        measured = []
        for fold, adapter in enumerate(adapters):
            of_fold = tasks_by_id(tasks, read_fold(folds, fold))
            chosen = spread(of_fold, codec, settings["tasks"], search["longest"])
            searched, scored = (
                draw_input_views(chosen, codec, views=views, longest=search["longest"], seed=seed, purpose=purpose)
                for views, purpose in ((search["views"], "inference views"), (rescoring["views"], "scoring views"))
            )
            facts = measure(
                merge_adapter(load(device), adapter, base.record),
                merge_with_peft(load_reference(device), adapter, base.record),
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
        inputs = hash_inputs(tasks=tasks, folds=folds, model=model)
        inputs |= hash_inputs(**{f"adapter_{k}": f"{adapter}/training.json" for k, adapter in enumerate(adapters)})
        made["provenance"] = provenance(inputs=inputs, watch=watch, settings=settings)
    write_json(output, made, "search_benchmark")


if "snakemake" in globals():
    with job(snakemake):
        main(
            tasks=snakemake.input.tasks,
            folds=snakemake.input.folds,
            model=snakemake.input.model,
            folder=snakemake.params.base,
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

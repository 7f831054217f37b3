"""Trains one fold's LoRA on the demonstrations of its tasks."""

from pathlib import Path
from typing import Any

from arcfold.devices import lease
from arcfold.files import hash_of, new_folder, read_json, write_json
from arcfold.jobs import job
from arcfold.provenance import Stopwatch, hash_inputs, provenance
from arcfold.tasks import tasks_by_id


def main(
    *,
    tasks: str,
    folds: str,
    fold: int,
    record: str,
    base: str,
    dtype: str,
    seed: int,
    settings: dict[str, Any],
    threads: int,
    checkpoints: Path,
    output: str,
) -> None:
    watch = Stopwatch()
    # torch is loaded only now, when the job has its device
    from arcfold.models import check_length, codec_of, load_base, prepare_torch
    from arcfold.samples import fold_samples
    from arcfold.training import TrainingSettings, train_adapter

    device = prepare_torch(threads)
    watch.lap("import")
    model = read_json(record, "model")
    check_length(model, settings["longest"], "training/longest")
    of_samples = {key: settings[key] for key in ("epochs", "views", "longest", "mask_first_output")}
    of_training = {key: value for key, value in settings.items() if key not in {*of_samples, "backend"}}
    samples = fold_samples(
        tasks_by_id(tasks, read_json(folds, "folds")["folds"][fold]), codec_of(model), seed=seed, **of_samples
    )
    watch.lap("samples")
    loaded = load_base(base, device, dtype)
    watch.lap("load")
    with new_folder(output) as folder:
        report = train_adapter(
            loaded,
            samples,
            TrainingSettings(**of_training | {"targets": tuple(settings["targets"])}, seed=seed, threads=threads),
            folder=folder,
            checkpoints=checkpoints,
            base_record=model,
            backend=settings["backend"],
        )
        watch.lap("training")
        measured = report.pop("measured")
        report["provenance"] = provenance(
            inputs=hash_inputs(tasks=tasks, folds=folds, model=record),
            watch=watch,
            settings=settings,
            training=measured,
        )
        write_json(folder / "training.json", report, "training")


if "snakemake" in globals():
    with job(snakemake.log[0], snakemake.params.threads), lease(snakemake.resources.gpu):
        adapter = Path(snakemake.output[0])
        # outputs are deleted when a job starts again: what it resumes from lies beside them, by its settings
        key = hash_of([dict(snakemake.params.settings), snakemake.params.seed], 12)
        main(
            tasks=snakemake.input.tasks,
            folds=snakemake.input.folds,
            fold=int(snakemake.wildcards.fold),
            record=snakemake.input.model,
            base=snakemake.params.base,
            dtype=snakemake.params.dtype,
            seed=snakemake.params.seed,
            settings=snakemake.params.settings,
            threads=snakemake.params.threads,
            checkpoints=adapter.with_name(f".{adapter.name}-{key}"),
            output=str(adapter),
        )

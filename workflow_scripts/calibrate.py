"""Measures for a minute how fast this machine computes a run's model: the rates that plans are made with."""

import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from arcfold.arc.folds import read_folds
from arcfold.arc.tasks import read_tasks
from arcfold.jobs.devices import visible_devices
from arcfold.jobs.files import InputError, read_json, write_json
from arcfold.jobs.job import job
from arcfold.jobs.provenance import Stopwatch, hash_inputs, provenance
from arcfold.models.base import BaseModel


def main(*, at_a_time: int, output: str, **given: Any) -> None:
    """at_a_time: jobs that a run has side by side; on a CPU they share its memory and its clock"""
    neighbours = 0 if visible_devices() else at_a_time - 1
    # before torch is loaded, whose threads no process takes over from another
    with_memory_of = multiprocessing.get_context("fork")
    processes = [with_memory_of.Process(target=go_on, kwargs=given, daemon=True) for _ in range(neighbours)]
    for process in processes:
        process.start()
    made = calibration(**given)
    for process in processes:
        process.kill()
    write_json(output, made, "rates")


def go_on(**given: Any) -> None:
    """A neighbour that is as busy as a job of the run, until it is killed."""
    while True:
        calibration(**given)


def calibration(
    *,
    tasks: str,
    folds: str,
    model: str,
    folder: str,
    loading: dict[str, str],
    seed: int,
    settings: dict[str, Any],
    cache_gib: float | str,
    gpus: int,
    threads: int,
) -> dict[str, Any]:
    """The content of results/calibration.json."""
    watch = Stopwatch()
    began = time.monotonic()
    # torch is loaded here, where the time counts
    from arcfold.jobs.compute import compute_device
    from arcfold.jobs.memory import memory_budget
    from arcfold.models.loading import model_loader
    from arcfold.planning.calibration import Bench
    from arcfold.training.backends import choose_backend

    base = BaseModel.open(folder, read_json(model, "model"), **loading)
    choice = choose_backend(settings["training"]["backend"], base, gpus=gpus, longest=settings["training"]["longest"])
    if choice.backend == "unsloth":
        raise InputError("calibration: unsloth changes the process that it trains in, expected backend packed or trl")
    start = time.monotonic() - began
    watch.lap("import")
    largest = max(map(len, read_folds(folds)))
    with compute_device(gpus, threads) as device, tempfile.TemporaryDirectory() as adapters:
        watch.lap("wait for a device")
        bench = Bench(
            base,
            load=model_loader(base),
            load_training=model_loader(base, plain=choice.backend == "packed"),
            backend=choice.backend,
            settings=settings,
            seed=seed,
            device=device,
            threads=threads,
            memory_budget=memory_budget(cache_gib),
            folder=Path(adapters),
            start_seconds=start,
            script_seconds=script_seconds(),
        )
        rates = bench.measure(read_tasks(tasks), largest)
        watch.lap("jobs")
    inputs = hash_inputs(tasks=tasks, folds=folds, model=model)
    made = {"rates": [rates.to_json()], "points": bench.points}
    return made | {"provenance": provenance(inputs=inputs, watch=watch, settings=settings)}


def script_seconds() -> float:
    """What a rule's small script takes: the start of a Snakemake of its own, above all."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "snakemake", "--version"], check=False, capture_output=True)
    return round(time.monotonic() - began, 2)


if "snakemake" in globals():
    with job(snakemake):
        main(
            at_a_time=snakemake.params.at_a_time,
            tasks=snakemake.input.tasks,
            folds=snakemake.input.folds,
            model=snakemake.input.model,
            folder=snakemake.params.base,
            loading=snakemake.params.loading,
            seed=snakemake.params.seed,
            settings=snakemake.params.settings,
            cache_gib=snakemake.params.cache_gib,
            gpus=snakemake.resources.gpu,
            threads=snakemake.params.threads,
            output=snakemake.output[0],
        )

# Benchmarks, by their names in the config or in the target.
from typing import NamedTuple

from arcfold.models.folder import CONFIG, is_ours


@says_its_line
def get_benchmark(name):
    """The config's entry of a benchmark."""
    if name not in config["benchmarks"]:
        raise InputError(f"benchmark {name}: unknown, expected one of {', '.join(config['benchmarks'])}")
    return config["benchmarks"][name]


def get_benchmark_run(name):
    """The run whose adapters a benchmark uses."""
    return get_single_run(get_benchmark(name)["run"])


def get_benchmark_adapters(wildcards):
    """The adapters of the first folds of a benchmark's run, as many as it asks for."""
    entry, run = get_benchmark(wildcards.benchmark), get_benchmark_run(wildcards.benchmark)
    folds = min(run.folds, entry.get("folds", run.folds))
    return [f"{run.store('adapters')}/fold-{fold}" for fold in range(folds)]


def get_benchmark_settings(wildcards):
    """What a benchmark's script reads of its entry."""
    return {key: get_benchmark(wildcards.benchmark)[key] for key in ("tasks", "min_prob", "seconds")}


def get_timed_name(wildcards):
    """The run whose first fold is trained on: `training` times the config's run, `training_{run}` another."""
    return wildcards.of.removeprefix("_") or config["run"]


def get_timed_run(wildcards):
    return get_single_run(get_timed_name(wildcards))


class TimedModel(NamedTuple):
    """What trainings are timed on: a run's base model, or a stock one in its shapes where Unsloth refuses it."""

    folder: str
    files: list
    record: str


@says_its_line
def get_timed_model(wildcards):
    name = get_timed_run(wildcards).model
    folder = get_model_folder(name)
    # one that is still to be fetched is none of ours
    if Path(folder, CONFIG).is_file() and is_ours(folder):
        return TimedModel(f"results/stock/{name}", [f"results/stock/{name}"], f"results/stock/{name}.json")
    return TimedModel(folder, get_model_inputs(name), f"results/models/{name}.json")

# Benchmarks, by their names in the config or in the target.


@says_its_line
def get_benchmark(name):
    """The config's entry of a benchmark."""
    if name not in config["benchmarks"]:
        raise InputError(f"benchmark {name}: unknown, expected one of {', '.join(config['benchmarks'])}")
    return config["benchmarks"][name]


def get_benchmark_run(name):
    """The run whose adapters a benchmark uses."""
    return get_run(get_benchmark(name)["run"])


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
    return get_run(get_timed_name(wildcards))

# Benchmarks: measured figures of what the other rules do, on the files of a run.


use rule gpu_job as benchmark_search with:
    input:
        tasks=lambda wildcards: get_challenges_file(get_benchmark_run(wildcards.benchmark).dataset),
        folds=lambda wildcards: f"{get_benchmark_run(wildcards.benchmark).store('folds')}/folds.json",
        model=lambda wildcards: f"results/models/{get_benchmark_run(wildcards.benchmark).model}.json",
        weights=lambda wildcards: get_model_inputs(get_benchmark_run(wildcards.benchmark).model),
        adapters=get_benchmark_adapters,
    output:
        "results/benchmark/{benchmark}.json",
    log:
        "results/logs/benchmark_search/{benchmark}.log",
    wildcard_constraints:
        benchmark=r"search[A-Za-z0-9_]*",
    params:
        script="benchmark_search",
        base=lambda wildcards: get_model_folder(get_benchmark_run(wildcards.benchmark).model),
        loading=lambda wildcards: get_model_loading(get_benchmark_run(wildcards.benchmark).model),
        seed=lambda wildcards: get_benchmark_run(wildcards.benchmark).seed,
        run=lambda wildcards: get_benchmark(wildcards.benchmark)["run"],
        steps=lambda wildcards: get_benchmark_run(wildcards.benchmark).steps(),
        search=lambda wildcards: get_benchmark_run(wildcards.benchmark).settings["search"],
        rescoring=lambda wildcards: get_benchmark_run(wildcards.benchmark).settings["rescoring"],
        settings=get_benchmark_settings,
        cache_gib=config["cache_gib"],
        code=get_code("benchmark_search"),
    message:
        "benchmark {wildcards.benchmark} on {params.run}"


# The ways to train an adapter against each other, on the first fold of the config's run or of another.
use rule gpu_job as benchmark_training with:
    input:
        tasks=lambda wildcards: get_challenges_file(get_timed_run(wildcards).dataset),
        folds=lambda wildcards: f"{get_timed_run(wildcards).store('folds')}/folds.json",
        model=lambda wildcards: get_timed_model(wildcards).record,
        weights=lambda wildcards: get_timed_model(wildcards).files,
    output:
        "results/benchmark/training{of}.json",
    log:
        "results/logs/benchmark_training/training{of}.log",
    wildcard_constraints:
        of=r"(_[^/]+)?",
    params:
        script="benchmark_training",
        base=lambda wildcards: get_timed_model(wildcards).folder,
        loading=lambda wildcards: get_model_loading(get_timed_run(wildcards).model),
        run=get_timed_name,
        steps=lambda wildcards: get_timed_run(wildcards).steps(),
        seed=lambda wildcards: get_timed_run(wildcards).seed,
        settings=lambda wildcards: get_timed_run(wildcards).settings["training"],
        code=get_code("benchmark_training"),
    message:
        "training of {params.run}, timed"

# Benchmarks: measured figures of what the other rules do, on the files of a run.


rule benchmark_search:
    input:
        tasks=lambda wildcards: get_tasks_file(get_benchmark_run(wildcards.benchmark).dataset),
        folds=lambda wildcards: f"results/runs/{get_benchmark(wildcards.benchmark)['run']}/folds.json",
        model=lambda wildcards: f"results/models/{get_benchmark_run(wildcards.benchmark).model}.json",
        weights=lambda wildcards: get_model_files(get_benchmark_run(wildcards.benchmark).model),
        adapters=get_benchmark_adapters,
    output:
        "results/benchmark/{benchmark}.json",
    log:
        "results/logs/benchmark_search/{benchmark}.log",
    wildcard_constraints:
        benchmark=r"search[A-Za-z0-9_]*",
    conda:
        "../envs/cpu.yaml"
    threads: config["threads"]
    resources:
        gpu=1,
    params:
        base=lambda wildcards: get_model_folder(get_benchmark_run(wildcards.benchmark).model),
        loading=lambda wildcards: get_model_loading(get_benchmark_run(wildcards.benchmark).model),
        seed=lambda wildcards: get_benchmark_run(wildcards.benchmark).seed,
        run=lambda wildcards: get_benchmark(wildcards.benchmark)["run"],
        search=lambda wildcards: get_benchmark_run(wildcards.benchmark).settings["search"],
        rescoring=lambda wildcards: get_benchmark_run(wildcards.benchmark).settings["rescoring"],
        settings=get_benchmark_settings,
        cache_gib=config["cache_gib"],
        threads=config["threads"],
        code=get_code("benchmark_search"),
    message:
        "benchmark {wildcards.benchmark} on {params.run}"
    script:
        "../workflow_scripts/benchmark_search.py"

# The ways to train an adapter against each other, on the first fold of the config's run or of another.


def get_run_of_training_benchmark(wildcards):
    """`training` is the config's run, `training_{run}` the run of that name."""
    return get_run(wildcards.of.removeprefix("_") or config["run"])


rule benchmark_training:
    input:
        tasks=lambda wildcards: get_tasks_file(get_run_of_training_benchmark(wildcards).dataset),
        folds=lambda wildcards: f"results/runs/{wildcards.of.removeprefix('_') or config['run']}/folds.json",
        model=lambda wildcards: f"results/models/{get_run_of_training_benchmark(wildcards).model}.json",
        weights=lambda wildcards: get_model_files(get_run_of_training_benchmark(wildcards).model),
    output:
        "results/benchmark/training{of}.json",
    log:
        "results/logs/benchmark_training/training{of}.log",
    wildcard_constraints:
        of=r"(_[^/]+)?",
    conda:
        "../envs/cpu.yaml"
    threads: config["threads"]
    resources:
        gpu=1,
    params:
        base=lambda wildcards: get_model_folder(get_run_of_training_benchmark(wildcards).model),
        run=lambda wildcards: wildcards.of.removeprefix("_") or config["run"],
        seed=lambda wildcards: get_run_of_training_benchmark(wildcards).seed,
        settings=lambda wildcards: get_run_of_training_benchmark(wildcards).settings["training"],
        threads=config["threads"],
        code=get_code("benchmark_training"),
    message:
        "training of {params.run}, timed"
    script:
        "../workflow_scripts/benchmark_training.py"

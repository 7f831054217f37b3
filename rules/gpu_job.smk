# What every rule has that can use a GPU: `use rule gpu_job as … with:` and the rest, and `use rule worker_job` for
# what workers do. Neither has an output, so neither runs; `params.script` names the script of the rule that uses it.


rule gpu_job:
    log:
        "results/logs/gpu_job.log",
    conda:
        "../envs/cpu.yaml"
    threads: config["threads"]
    resources:
        **NEEDS,
        gpu=1,
    params:
        threads=config["threads"],
    script:
        "../workflow_scripts/{params.script}.py"


if config["workers"]:

    rule worker_job:
        log:
            "results/logs/worker_job.log",
        conda:
            "../envs/cpu.yaml"
        threads: config["threads"]
        resources:
            **NEEDS,
            gpu=1,
        params:
            threads=config["threads"],
        shell:
            f"{get_client()}/gpu{{resources.gpu}} {{log}}"

else:

    use rule gpu_job as worker_job with:
        log:
            "results/logs/worker_job.log",

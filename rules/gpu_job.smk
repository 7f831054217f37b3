# What every rule has that can use a GPU: `use rule gpu_job as … with:` and the rest.


# It has no output and never runs. `params.script` names the script of the rule that uses it.
rule gpu_job:
    log:
        "results/logs/gpu_job.log",
    conda:
        "../envs/cpu.yaml"
    threads: config["threads"]
    resources:
        gpu=1,
    params:
        threads=config["threads"],
    script:
        "../workflow_scripts/{params.script}.py"

# Test-time training: one LoRA for each fold.


rule train_adapter:
    input:
        tasks=lambda wildcards: get_tasks_file(wildcards.dataset),
        folds=earlier_in_store("adapters", "folds", "folds.json"),
        model=stage_model_record("adapters"),
        weights=stage_model_files("adapters"),
    output:
        directory("results/store/adapters/{dataset}/{split}/{key}/fold-{fold}"),
    log:
        "results/logs/train_adapter/{dataset}/{split}/{key}/fold-{fold}.log",
    conda:
        "../envs/cpu.yaml"
    threads: config["threads"]
    resources:
        gpu=1,
    params:
        base=stage_model_folder("adapters"),
        dtype=stage_model_dtype("adapters"),
        seed=lambda wildcards: get_split(wildcards)[1],
        settings=stage_param("adapters", "training"),
        threads=config["threads"],
        code=get_code("train_adapter"),
    message:
        "training on fold {wildcards.fold} of {wildcards.dataset}, {wildcards.split}"
    script:
        "../workflow_scripts/train_adapter.py"


use rule link_folds as link_adapter with:
    input:
        in_store("adapters", "fold-{fold}"),
    output:
        directory("results/runs/{run}/adapters/fold-{fold}"),
    log:
        "results/logs/link_adapter/{run}/fold-{fold}.log",


localrules:
    link_adapter,

# LoRAs: one for each fold, trained at test time, and those that runs may start from.


use rule worker_job as train_adapter with:
    input:
        tasks=get_challenges_of_dataset,
        folds=earlier_in_store("adapters", "folds", "folds.json"),
        model=stage_model_record("adapters"),
        weights=stage_model_inputs("adapters"),
        init=get_init,
    output:
        **outputs_of_training("results/store/adapters/{dataset}/{split}/{key}/fold-{fold}"),
    log:
        "results/logs/train_adapter/{dataset}/{split}/{key}/fold-{fold}.log",
    params:
        script="train_adapter",
        of_a_fold=True,
        base=stage_model_folder("adapters"),
        loading=stage_model_loading("adapters"),
        seed=get_seed,
        settings=stage_param("adapters", "training"),
        code=get_code("train_adapter"),
    message:
        "training on fold {wildcards.fold} of {wildcards.dataset}, {wildcards.split}"


use rule worker_job as pretrain_adapter with:
    input:
        tasks=lambda wildcards: get_pretraining(wildcards.adapter)["tasks"],
        model=f"results/models/{config['model']}.json",
        weights=lambda wildcards: get_model_inputs(config["model"]),
    output:
        directory("results/adapters/{adapter}"),
    log:
        "results/logs/pretrain_adapter/{adapter}.log",
    params:
        script="pretrain_adapter",
        base=lambda wildcards: get_model_folder(config["model"]),
        loading=lambda wildcards: get_model_loading(config["model"]),
        seed=config["seed"],
        settings=lambda wildcards: get_pretraining(wildcards.adapter)["settings"],
        code=get_code("pretrain_adapter"),
    message:
        "pretraining {wildcards.adapter}"


use rule link_folds as link_adapter with:
    input:
        file=ancient(adapter_that_stays),
        marker=link_marker("adapters/fold-{fold}"),
    output:
        directory("results/runs/{run}/adapters/fold-{fold}"),
    log:
        "results/logs/link_adapter/{run}/fold-{fold}.log",


# For programs that load no adapter, or none with full matrices.
rule merge_adapter:
    input:
        model=lambda wildcards: f"results/models/{get_single_run(wildcards.run).model}.json",
        weights=lambda wildcards: get_model_inputs(get_single_run(wildcards.run).model),
        adapter=in_store("adapters", "fold-{fold}"),
    output:
        directory("results/runs/{run}/merged/fold-{fold}"),
    log:
        "results/logs/merge_adapter/{run}/fold-{fold}.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        **NEEDS,
    params:
        base=lambda wildcards: get_model_folder(get_single_run(wildcards.run).model),
        loading=lambda wildcards: get_model_loading(get_single_run(wildcards.run).model),
        code=get_code("merge_adapter"),
    message:
        "merging the adapter of fold {wildcards.fold} of {wildcards.run} into its model"
    script:
        "../workflow_scripts/merge_adapter.py"


localrules:
    link_adapter,

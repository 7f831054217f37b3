# Under a deadline: training, search and rescoring of a fold in one job, which decides their settings as it goes.

if IN_TIME:

    use rule worker_job as fold_in_time with:
        input:
            tasks=lambda wildcards: get_challenges_file(get_run(wildcards.run).dataset),
            folds=in_store("folds", "folds.json"),
            model=lambda wildcards: f"results/models/{get_run(wildcards.run).model}.json",
            weights=lambda wildcards: get_model_inputs(get_run(wildcards.run).model),
            init=get_init_of_run,
        output:
            adapter=link_of_adapter("results/runs/{run}/adapters/fold-{fold}"),
            candidates="results/runs/{run}/candidates/fold-{fold}.json",
            rescored="results/runs/{run}/rescored/fold-{fold}.json",
        log:
            "results/logs/fold_in_time/{run}/fold-{fold}.log",
        priority: easy_first
        params:
            script="fold_in_time",
            of_a_fold=True,
            run=lambda wildcards: get_run(wildcards.run).to_json(),
            base=lambda wildcards: get_model_folder(get_run(wildcards.run).model),
            loading=lambda wildcards: get_model_loading(get_run(wildcards.run).model),
            cache_gib=config["cache_gib"],
            keep_adapters=config["keep_adapters"],
            replayed=get_replayed_fold,
            code=get_code_in_time(),
        message:
            "fold {wildcards.fold} of {wildcards.run}, in time"

    ruleorder: fold_in_time > link_adapter
    ruleorder: fold_in_time > link_candidates
    ruleorder: fold_in_time > link_rescored

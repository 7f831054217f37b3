# Predictions: the search for candidates, and their log-probabilities in other views.


use rule worker_job as search_candidates with:
    input:
        tasks=get_challenges_of_dataset,
        folds=earlier_in_store("candidates", "folds", "folds.json"),
        model=stage_model_record("candidates"),
        weights=stage_model_inputs("candidates"),
        adapter=earlier_in_store("candidates", "adapters", "fold-{fold}"),
        whole=get_sign_of_whole_adapter,
    output:
        "results/store/candidates/{dataset}/{split}/{key}/fold-{fold}.json",
    log:
        "results/logs/search_candidates/{dataset}/{split}/{key}/fold-{fold}.log",
    params:
        script="search_candidates",
        of_a_fold=True,
        base=stage_model_folder("candidates"),
        loading=stage_model_loading("candidates"),
        seed=get_seed,
        settings=stage_param("candidates", "search"),
        cache_gib=config["cache_gib"],
        code=get_code("search_candidates"),
    message:
        "searching fold {wildcards.fold} of {wildcards.dataset}, {wildcards.split}"


use rule worker_job as rescore_candidates with:
    input:
        tasks=get_challenges_of_dataset,
        model=stage_model_record("rescored"),
        weights=stage_model_inputs("rescored"),
        adapter=earlier_in_store("rescored", "adapters", "fold-{fold}"),
        candidates=earlier_in_store("rescored", "candidates", "fold-{fold}.json"),
    output:
        "results/store/rescored/{dataset}/{split}/{key}/fold-{fold}.json",
    log:
        "results/logs/rescore_candidates/{dataset}/{split}/{key}/fold-{fold}.log",
    params:
        script="rescore_candidates",
        of_a_fold=True,
        base=stage_model_folder("rescored"),
        loading=stage_model_loading("rescored"),
        seed=get_seed,
        longest=stage_param("rescored", "search", "longest"),
        settings=stage_param("rescored", "rescoring"),
        cache_gib=config["cache_gib"],
        code=get_code("rescore_candidates"),
    message:
        "rescoring fold {wildcards.fold} of {wildcards.dataset}, {wildcards.split}"


use rule link_folds as link_candidates with:
    input:
        file=ancient(in_store("candidates", "fold-{fold}.json")),
        marker=link_marker("candidates/fold-{fold}.json"),
    output:
        "results/runs/{run}/candidates/fold-{fold}.json",
    log:
        "results/logs/link_candidates/{run}/fold-{fold}.log",


use rule link_folds as link_rescored with:
    input:
        file=ancient(in_store("rescored", "fold-{fold}.json")),
        marker=link_marker("rescored/fold-{fold}.json"),
    output:
        "results/runs/{run}/rescored/fold-{fold}.json",
    log:
        "results/logs/link_rescored/{run}/fold-{fold}.log",


localrules:
    link_candidates,
    link_rescored,

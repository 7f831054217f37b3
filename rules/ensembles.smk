# Ensembles: each member scores what only the others found, and all scores come together.


rule gather_others:
    input:
        tasks=get_challenges_of_dataset,
        folds=members_folds("others"),
        candidates=members_paths("others", "candidates"),
    output:
        "results/store/others/{dataset}/{split}/{key}/fold-{fold}.json",
    log:
        "results/logs/gather_others/{dataset}/{split}/{key}/fold-{fold}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        of_a_fold=True,
        of=lambda wildcards: get_scoring("others", wildcards),
        folds=get_number_of_folds("others"),
        code=get_code("gather_others"),
    message:
        "what others found in fold {wildcards.fold} of {wildcards.dataset}, {wildcards.split}"
    script:
        "../workflow_scripts/gather_others.py"


use rule rescore_candidates as rescore_others with:
    input:
        tasks=get_challenges_of_dataset,
        model=lambda wildcards: f"results/models/{get_scoring_member(wildcards).model}.json",
        weights=lambda wildcards: get_model_inputs(get_scoring_member(wildcards).model),
        adapter=lambda wildcards: get_scoring_member(wildcards).paths("adapters")[int(wildcards.fold)],
        candidates=get_others,
    output:
        "results/store/others_rescored/{dataset}/{split}/{key}/fold-{fold}.json",
    log:
        "results/logs/rescore_others/{dataset}/{split}/{key}/fold-{fold}.log",
    params:
        script="rescore_candidates",
        of_a_fold=True,
        base=lambda wildcards: get_model_folder(get_scoring_member(wildcards).model),
        loading=lambda wildcards: get_model_loading(get_scoring_member(wildcards).model),
        seed=get_seed,
        longest=lambda wildcards: get_scoring_member(wildcards).settings["search"]["longest"],
        settings=lambda wildcards: get_scoring_member(wildcards).settings["rescoring"],
        cache_gib=config["cache_gib"],
        code=get_code("rescore_candidates"),
    message:
        "rescoring what others found in fold {wildcards.fold} of {wildcards.dataset}, {wildcards.split}"


rule join_scores:
    input:
        tasks=get_challenges_of_dataset,
        folds=members_folds("ensembles"),
        own=members_paths("ensembles", "rescored"),
        others=members_others_rescored,
    output:
        "results/store/ensembles/{dataset}/{split}/{key}/fold-{fold}.json",
    log:
        "results/logs/join_scores/{dataset}/{split}/{key}/fold-{fold}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        of_a_fold=True,
        folds=get_number_of_folds("ensembles"),
        views=lambda wildcards: [each.settings["search"]["views"] for each in get_members("ensembles", wildcards)],
        code=get_code("join_scores"),
    message:
        "scores of all members for fold {wildcards.fold} of {wildcards.dataset}, {wildcards.split}"
    script:
        "../workflow_scripts/join_scores.py"


localrules:
    gather_others,
    join_scores,

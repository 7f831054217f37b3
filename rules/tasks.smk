# From datasets to task files, new-task subsets and folds.


rule collect_tasks:
    output:
        "results/tasks/{dataset}.json",
    log:
        "results/logs/collect_tasks/{dataset}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        solved=True,
        made_of=lambda wildcards: get_dataset_identity(wildcards.dataset, True),
        code=get_code("collect_tasks"),
    message:
        "tasks of {wildcards.dataset}"
    script:
        "../workflow_scripts/collect_tasks.py"


use rule collect_tasks as collect_challenges with:
    output:
        "results/challenges/{dataset}.json",
    log:
        "results/logs/collect_challenges/{dataset}.log",
    params:
        solved=False,
        made_of=lambda wildcards: get_dataset_identity(wildcards.dataset, False),
        code=get_code("collect_tasks"),
    message:
        "challenges of {wildcards.dataset}"


rule find_new_tasks:
    input:
        of=lambda wildcards: get_subset_files(wildcards.subset, "of"),
        not_in=lambda wildcards: get_subset_files(wildcards.subset, "not_in"),
    output:
        tasks="results/subsets/{subset}.json",
        report="results/subsets/{subset}.report.json",
    log:
        "results/logs/find_new_tasks/{subset}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        made_of=lambda wildcards: get_dataset_identity(wildcards.subset, True),
        code=get_code("find_new_tasks"),
    message:
        "new tasks: {wildcards.subset}"
    script:
        "../workflow_scripts/find_new_tasks.py"


rule make_folds:
    input:
        tasks=get_challenges_of_dataset,
    output:
        "results/store/folds/{dataset}/{split}/{key}/folds.json",
    log:
        "results/logs/make_folds/{dataset}/{split}/{key}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        split=get_split,
        settings=stage_param("folds", "folds"),
        code=get_code("make_folds"),
    message:
        "{wildcards.split} of {wildcards.dataset}"
    script:
        "../workflow_scripts/make_folds.py"


# The age of what a link leads to says nothing of the link; where it should lead, the marker looks at.
rule link_folds:
    input:
        file=ancient(in_store("folds", "folds.json")),
        marker=link_marker("folds.json"),
    output:
        "results/runs/{run}/folds.json",
    log:
        "results/logs/link_folds/{run}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        target=get_link_target,
    message:
        "link {output}"
    shell:
        "ln -sfn {params.target} {output} 2> {log}"


localrules:
    collect_tasks,
    collect_challenges,
    find_new_tasks,
    make_folds,
    link_folds,

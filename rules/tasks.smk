# From datasets to task files, new-task subsets and folds.


rule collect_tasks:
    input:
        lambda wildcards: get_dataset_files(wildcards.dataset),
    output:
        "results/tasks/{dataset}.json",
    log:
        "results/logs/collect_tasks/{dataset}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        config=lambda wildcards: get_dataset_config(wildcards.dataset),
        code=get_code("collect_tasks"),
    message:
        "tasks of {wildcards.dataset}"
    script:
        "../workflow_scripts/collect_tasks.py"


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
        code=get_code("find_new_tasks"),
    message:
        "new tasks: {wildcards.subset}"
    script:
        "../workflow_scripts/find_new_tasks.py"


rule make_folds:
    input:
        tasks=lambda wildcards: get_tasks_file(wildcards.dataset),
    output:
        "results/store/folds/{dataset}/{split}/{key}/folds.json",
    log:
        "results/logs/make_folds/{dataset}/{split}/{key}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        split=lambda wildcards: get_split(wildcards),
        settings=stage_param("folds", "folds"),
        code=get_code("make_folds"),
    message:
        "{wildcards.split} of {wildcards.dataset}"
    script:
        "../workflow_scripts/make_folds.py"


rule link_folds:
    input:
        file=in_store("folds", "folds.json"),
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
    find_new_tasks,
    make_folds,
    link_folds,

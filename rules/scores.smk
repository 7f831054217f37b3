# From rescored candidates to a submission, its score, and pictures of what was predicted.


# The links of a run's folder to the store, all at once; `link_folds` and its like make one that is asked for by name.
rule link_run:
    input:
        folds=in_store("folds", "folds.json"),
        adapters=what_stays(linked_in_store("adapters")),
        candidates=linked_in_store("candidates"),
        rescored=linked_in_store("rescored"),
        marker=failed_marker("results/runs/{run}/files.json"),
    output:
        "results/runs/{run}/files.json",
    log:
        "results/logs/link_run/{run}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        steps=run_steps,
        code=get_code("link_run"),
    message:
        "folder of {wildcards.run}"
    script:
        "../workflow_scripts/link_run.py"


rule select_attempts:
    input:
        tasks=lambda wildcards: get_challenges_file(get_run(wildcards.run).dataset),
        folds=in_store("folds", "folds.json"),
        rescored=all_in_store("rescored"),
        marker=failed_marker("results/runs/{run}/fallbacks.json"),
        before=whole("results/runs/{run}/submission.json"),
    output:
        submission="results/runs/{run}/submission.json",
        fallbacks="results/runs/{run}/fallbacks.json",
    log:
        "results/logs/select_attempts/{run}.log",
    wildcard_constraints:
        run=OURS,
    conda:
        "../envs/cpu.yaml"
    params:
        settings=run_param("selection"),
        steps=run_steps,
        leaks=lambda wildcards: get_leaks(wildcards.run),
        code=get_code("select_attempts"),
    message:
        "submission of {wildcards.run}"
    script:
        "../workflow_scripts/select_attempts.py"


rule score_run:
    input:
        tasks=unless_merged(get_solved_tasks_of_run),
        folds=unless_merged(in_store("folds", "folds.json")),
        files=unless_merged(get_run_file("files.json")),
        models=unless_merged(get_model_records),
        adapters=unless_merged(what_stays(all_in_store("adapters"))),
        candidates=unless_merged(all_in_store("candidates")),
        rescored=unless_merged(all_in_store("rescored")),
        scorings=unless_merged(get_other_scorings),
        submission=unless_merged(get_run_file("submission.json")),
        before=whole("results/score_{run}.json"),
    output:
        "results/score_{run}.json",
    log:
        "results/logs/score_run/{run}.log",
    wildcard_constraints:
        run=OURS,
    conda:
        "../envs/cpu.yaml"
    params:
        run=lambda wildcards: get_run(wildcards.run).to_json(),
        steps=run_steps,
        bases=lambda wildcards: [get_model_folder(model) for model in get_run(wildcards.run).models],
        loadings=lambda wildcards: [get_model_loading(model) for model in get_run(wildcards.run).models],
        data=lambda wildcards: get_data_source(get_run(wildcards.run).dataset),
        leaks=lambda wildcards: get_leaks(wildcards.run),
        leaderboard=get_leaderboard,
        code=get_code("score_run"),
    message:
        "score of {wildcards.run}"
    script:
        "../workflow_scripts/score_run.py"


# A run that is a submission from elsewhere.
rule check_submission:
    input:
        tasks=lambda wildcards: get_tasks_file(get_theirs(wildcards.run)["dataset"]),
        submission=lambda wildcards: get_theirs(wildcards.run)["submission"],
        before=whole("results/runs/{run}/submission.json"),
    output:
        "results/runs/{run}/submission.json",
    log:
        "results/logs/check_submission/{run}.log",
    wildcard_constraints:
        run=THEIRS,
    conda:
        "../envs/cpu.yaml"
    params:
        code=get_code("check_submission"),
    message:
        "submission of {wildcards.run}, from {input.submission}"
    script:
        "../workflow_scripts/check_submission.py"


rule score_submission:
    input:
        tasks=lambda wildcards: get_solved_tasks_file(get_theirs(wildcards.run)["dataset"]),
        submission="results/runs/{run}/submission.json",
        before=whole("results/score_{run}.json"),
    output:
        "results/score_{run}.json",
    log:
        "results/logs/score_submission/{run}.log",
    wildcard_constraints:
        run=THEIRS,
    conda:
        "../envs/cpu.yaml"
    params:
        run=lambda wildcards: get_theirs(wildcards.run),
        data=lambda wildcards: get_data_source(get_theirs(wildcards.run)["dataset"]),
        leaderboard=get_leaderboard,
        code=get_code("score_submission"),
    message:
        "score of {wildcards.run}"
    script:
        "../workflow_scripts/score_submission.py"


rule draw_task:
    input:
        tasks=lambda wildcards: get_tasks_file_with(get_run(wildcards.run).dataset, wildcards.task),
        rescored=all_in_store("rescored"),
        submission="results/runs/{run}/submission.json",
    output:
        "results/runs/{run}/pictures/{task}.svg",
    log:
        "results/logs/draw_task/{run}/{task}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        steps=run_steps,
        code=get_code("draw_task"),
    message:
        "picture of {wildcards.task} in {wildcards.run}"
    script:
        "../workflow_scripts/draw_task.py"


rule draw_timeline:
    input:
        adapters=what_stays(all_in_store("adapters")),
        candidates=all_in_store("candidates"),
        rescored=get_scorings,
    output:
        picture="results/runs/{run}/timeline.svg",
        figures="results/runs/{run}/timeline.json",
    log:
        "results/logs/draw_timeline/{run}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        steps=run_steps,
        code=get_code("draw_timeline"),
    message:
        "timeline of {wildcards.run}"
    script:
        "../workflow_scripts/draw_timeline.py"


# A run as one file, for elsewhere.
rule archive_run:
    input:
        files=archived_files,
    output:
        "results/runs/{run}{adapters}.zip",
    log:
        "results/logs/archive_run/{run}{adapters}.log",
    wildcard_constraints:
        adapters=r"(-with-adapters)?",
    conda:
        "../envs/cpu.yaml"
    params:
        run=lambda wildcards: get_run(wildcards.run).to_json(),
        names=lambda wildcards: list(get_archived(wildcards)),
        code=get_code("archive_run"),
    message:
        "archive of {wildcards.run}"
    script:
        "../workflow_scripts/archive_run.py"


localrules:
    archive_run,
    link_run,
    select_attempts,
    score_run,
    check_submission,
    score_submission,
    draw_task,
    draw_timeline,

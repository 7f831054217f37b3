# Comparisons of runs.


rule compare_runs:
    input:
        scores=get_scores,
        before=whole("results/compare_{study}.json"),
    output:
        json="results/compare_{study}.json",
        table="results/compare_{study}.csv",
    log:
        "results/logs/compare_runs/{study}.log",
    wildcard_constraints:
        study=studies.PATTERN,
    conda:
        "../envs/cpu.yaml"
    params:
        study=get_study_params,
        finished=get_finished,
        missing=get_missing,
        code=get_code("compare_runs"),
    message:
        "comparison {wildcards.study}"
    script:
        "../workflow_scripts/compare_runs.py"


localrules:
    compare_runs,

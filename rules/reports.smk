# Pages for a browser, made from finished files: nothing of them enters search or training.


rule report_run:
    input:
        score="results/score_{run}.json",
        tasks=get_scored_tasks,
        before=whole("results/score_{run}.html"),
    output:
        report("results/score_{run}.html", caption="captions/run.rst", category="Runs", labels={"run": "{run}"}),
    log:
        "results/logs/report_run/{run}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        study=get_seeds_of_run,
        seeds=get_hashes_of_seeds,
        look=get_look,
        code=get_code("report_run"),
    message:
        "page of {wildcards.run}"
    script:
        "../workflow_scripts/report_run.py"


rule report_study:
    input:
        comparison="results/compare_{study}.json",
        tasks=get_compared_tasks,
        before=whole("results/compare_{study}.html"),
    output:
        report(
            "results/compare_{study}.html",
            caption="captions/study.rst",
            category="Comparisons",
            labels={"study": "{study}"},
        ),
    log:
        "results/logs/report_study/{study}.log",
    wildcard_constraints:
        study=studies.PATTERN,
    conda:
        "../envs/cpu.yaml"
    params:
        look=get_look,
        code=get_code("report_study"),
    message:
        "page of comparison {wildcards.study}"
    script:
        "../workflow_scripts/report_study.py"


localrules:
    report_run,
    report_study,

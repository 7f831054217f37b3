# A run as a folder that a contest's notebook without a network needs nothing beside.


# What the locks have, for the Python of another machine: the one rule beside `fetch_model` and `fetch_corpus` that needs
# a network.
rule fetch_wheels:
    input:
        locks=get_locks,
    output:
        directory("results/wheels/py{python}{extras}"),
    log:
        "results/logs/fetch_wheels/py{python}{extras}.log",
    wildcard_constraints:
        python=r"3\.\d+",
        extras=r"(-bitsandbytes|-unsloth)?",
    conda:
        "../envs/cpu.yaml"
    params:
        python=lambda wildcards: wildcards.python,
        extras=lambda wildcards: wildcards.extras,
        code=get_code("fetch_wheels"),
    message:
        "wheels for Python {wildcards.python}"
    script:
        "../workflow_scripts/fetch_wheels.py"


rule bundle_run:
    input:
        wheels=get_wheels,
        model=get_model_of_bundle,
        init=get_adapter_of_bundle,
        data=get_data_of_bundle,
    output:
        directory("results/kaggle/{run}"),
    log:
        "results/logs/bundle_run/{run}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        contest=lambda wildcards: asdict(get_contest(wildcards.run)),
        run=lambda wildcards: get_single_run(wildcards.run).to_json(),
        base=lambda wildcards: get_model_folder(get_single_run(wildcards.run).model),
        loading=lambda wildcards: get_model_loading(get_single_run(wildcards.run).model),
        workflow=lambda wildcards: get_code_of_bundle(),
        code=get_code("bundle_run"),
    message:
        "bundle of {wildcards.run}"
    script:
        "../workflow_scripts/bundle_run.py"


localrules:
    fetch_wheels,
    bundle_run,

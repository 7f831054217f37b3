# What a run would take: its plan, and the rates of this machine that plans are made with.


rule plan_run:
    input:
        tasks=lambda wildcards: get_challenges_file(get_single_run(wildcards.run).dataset),
        folds=in_store("folds", "folds.json"),
        model=lambda wildcards: f"results/models/{get_single_run(wildcards.run).model}.json",
    output:
        "results/plan_{run}.json",
    log:
        "results/logs/plan_run/{run}.log",
    wildcard_constraints:
        run=OURS,
    conda:
        "../envs/cpu.yaml"
    params:
        run=lambda wildcards: get_single_run(wildcards.run).to_json(),
        steps=lambda wildcards: get_single_run(wildcards.run).steps(),
        base=lambda wildcards: get_model_folder(get_single_run(wildcards.run).model),
        loading=lambda wildcards: get_model_loading(get_single_run(wildcards.run).model),
        machine=lambda wildcards: get_machine(),
        code=get_code("plan_run"),
    message:
        "plan of {wildcards.run}"
    script:
        "../workflow_scripts/plan_run.py"


# A minute of the config's run.
use rule gpu_job as calibrate with:
    input:
        tasks=lambda wildcards: get_challenges_file(get_single_run(config["run"]).dataset),
        folds=lambda wildcards: f"{get_single_run(config['run']).store('folds')}/folds.json",
        model=lambda wildcards: f"results/models/{get_single_run(config['run']).model}.json",
        weights=lambda wildcards: get_model_inputs(get_single_run(config["run"]).model),
    output:
        "results/calibration.json",
    log:
        "results/logs/calibrate.log",
    params:
        script="calibrate",
        base=lambda wildcards: get_model_folder(get_single_run(config["run"]).model),
        loading=lambda wildcards: get_model_loading(get_single_run(config["run"]).model),
        seed=lambda wildcards: get_single_run(config["run"]).seed,
        settings=lambda wildcards: get_single_run(config["run"]).settings,
        cache_gib=config["cache_gib"],
        at_a_time=lambda wildcards: get_machine()["slots"],
        code=get_code("calibrate"),
    message:
        f"a minute of {config['run']}, for the rates of this machine"


localrules:
    plan_run,

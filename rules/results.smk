# What is asked of the results as a whole: neither rule makes a file. `make verify` and `make clean-store` call them.


rule verify_results:
    log:
        "results/logs/verify_results.log",
    conda:
        "../envs/cpu.yaml"
    params:
        models=lambda wildcards: {name: get_model_folder(name) for name in config["models"]},
    message:
        "every file of the results against its hash"
    script:
        "../workflow_scripts/verify_results.py"


rule clean_store:
    log:
        "results/logs/clean_store.log",
    conda:
        "../envs/cpu.yaml"
    params:
        unneeded=get_unneeded,
    message:
        "what of the store no run needs"
    script:
        "../workflow_scripts/clean_store.py"


localrules:
    verify_results,
    clean_store,

# Base models: what later steps need to know of one, and the fetching of one from the hub.


rule describe_model:
    input:
        files=lambda wildcards: get_model_files(wildcards.model),
    output:
        "results/models/{model}.json",
    log:
        "results/logs/describe_model/{model}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        folder=lambda wildcards: get_model_folder(wildcards.model),
        text_format=lambda wildcards: get_model_entry(wildcards.model)["format"],
        code=get_code("describe_model"),
    message:
        "base model {wildcards.model}"
    script:
        "../workflow_scripts/describe_model.py"


rule fetch_model:
    output:
        directory("results/models/{model}"),
    log:
        "results/logs/fetch_model/{model}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        hub=lambda wildcards: get_model_entry(wildcards.model).get("hub"),
        revision=lambda wildcards: get_model_entry(wildcards.model).get("revision"),
        code=get_code("fetch_model"),
    message:
        "fetching base model {wildcards.model}: {params.hub} at {params.revision}"
    script:
        "../workflow_scripts/fetch_model.py"


localrules:
    describe_model,
    fetch_model,

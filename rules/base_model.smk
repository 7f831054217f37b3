# Base models: fetching one from the hub, cutting its vocabulary, and what later steps need to know of it.


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
        hub=lambda wildcards: get_place_on_hub(wildcards.model),
        code=get_code("describe_model"),
    message:
        "base model {wildcards.model}"
    script:
        "../workflow_scripts/describe_model.py"


rule cut_vocabulary:
    input:
        files=lambda wildcards: get_files_to_cut(wildcards.model),
    output:
        directory("results/models/{model}"),
    log:
        "results/logs/cut_vocabulary/{model}.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        **NEEDS,
    params:
        source=lambda wildcards: get_model_origin(wildcards.model),
        text_format=lambda wildcards: get_model_entry(wildcards.model)["format"],
        origin=lambda wildcards: get_origin(wildcards.model),
        code=get_code("cut_vocabulary"),
    message:
        "cutting the vocabulary of {wildcards.model} to the format {params.text_format}"
    script:
        "../workflow_scripts/cut_vocabulary.py"


# No hash of the code here: the revision says what the files are, and gigabytes need not be fetched again.
rule fetch_model:
    output:
        directory("results/hub/{model}"),
    log:
        "results/logs/fetch_model/{model}.log",
    conda:
        "../envs/cpu.yaml"
    params:
        hub=lambda wildcards: get_hub(wildcards.model)["hub"],
        revision=lambda wildcards: get_hub(wildcards.model)["revision"],
    message:
        "fetching base model {wildcards.model}: {params.hub} at {params.revision}"
    script:
        "../workflow_scripts/fetch_model.py"


# What programs that refuse our models are measured on.
rule make_stock_model:
    input:
        files=lambda wildcards: get_model_files(wildcards.model),
    output:
        folder=directory("results/stock/{model}"),
        record="results/stock/{model}.json",
    log:
        "results/logs/make_stock_model/{model}.log",
    conda:
        "../envs/cpu.yaml"
    resources:
        **NEEDS,
    params:
        source=lambda wildcards: get_model_folder(wildcards.model),
        text_format=lambda wildcards: get_model_entry(wildcards.model)["format"],
        seed=config["seed"],
        code=get_code("make_stock_model"),
    message:
        "a stock Qwen3 in the shapes of {wildcards.model}"
    script:
        "../workflow_scripts/make_stock_model.py"


localrules:
    describe_model,
    fetch_model,

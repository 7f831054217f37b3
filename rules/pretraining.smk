# Base models trained here: corpora, their shards, the training.


rule fetch_corpus:
    output:
        "results/corpora/archives/{corpus}.zip",
    log:
        "results/logs/fetch_corpus/{corpus}.log",
    wildcard_constraints:
        corpus=r"[A-Za-z0-9_]+",
    conda:
        "../envs/cpu.yaml"
    params:
        url=get_fetched("url"),
        sha256=get_fetched("sha256"),
        code=get_code("fetch_corpus"),
    message:
        "fetching corpus {wildcards.corpus}: {params.url}"
    script:
        "../workflow_scripts/fetch_corpus.py"


rule make_shards:
    input:
        unpack(get_archive),
    output:
        directory("results/corpora/{corpus}"),
    log:
        "results/logs/make_shards/{corpus}.log",
    wildcard_constraints:
        corpus=r"[A-Za-z0-9_]+",
    conda:
        "../envs/cpu.yaml"
    # The bytes do not depend on it.
    threads: get_processes_of_corpus
    params:
        entry=lambda wildcards: get_corpus(wildcards.corpus),
        code=get_code("make_shards"),
    message:
        "shards of corpus {wildcards.corpus}"
    script:
        "../workflow_scripts/make_shards.py"


use rule gpu_job as train_base_model with:
    input:
        shards=get_shards("corpora"),
        held_out=get_shards("held_out"),
        before=get_earlier_model,
    output:
        directory("results/base_model/{base}"),
    log:
        "results/logs/train_base_model/{base}.log",
    wildcard_constraints:
        base=r"[A-Za-z0-9_-]+",
    params:
        script="train_base_model",
        recipe=lambda wildcards: get_recipe(wildcards.base),
        seed=config["seed"],
        code=get_code("train_base_model"),
    message:
        "training base model {wildcards.base}"


localrules:
    fetch_corpus,

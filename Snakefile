# Reproducible test-time training for the ARC Prize: the contents page.
#
#   tasks - subset - folds - adapter per fold - candidates - rescored candidates - submission - score
#
# One direction, one file after each step. docs/targets.md says what each target holds.
from snakemake.utils import min_version

min_version("9.0")


wildcard_constraints:
    dataset=r"[A-Za-z0-9_]+",
    subset=r"[A-Za-z0-9_]+",
    model=r"[A-Za-z0-9_-]+",
    run=r"[A-Za-z0-9_]+(-seed\d+)?",
    task=r"[^/]+",
    adapter=r"[A-Za-z0-9_]+",
    split=r"\d+folds-seed\d+",
    key=r"[0-9a-f]{12}",
    fold=r"0|[1-9]\d*",


# reads config.yaml and the user's files over it
include: "rules/helpers/common.smk"
include: "rules/helpers/storage.smk"


# for `--sdm apptainer` alone
if "container" in config:

    container: config["container"]


include: "rules/helpers/cores.smk"
include: "rules/helpers/models.smk"
include: "rules/helpers/datasets.smk"
include: "rules/helpers/store.smk"
include: "rules/helpers/deadline.smk"
include: "rules/helpers/ensembles.smk"
include: "rules/helpers/holes.smk"
include: "rules/helpers/submissions.smk"
include: "rules/helpers/archives.smk"
include: "rules/helpers/merging.smk"
include: "rules/helpers/studies.smk"
include: "rules/helpers/pretraining.smk"
include: "rules/helpers/benchmarks.smk"
include: "rules/helpers/reports.smk"
include: "rules/helpers/workers.smk"
include: "rules/helpers/plans.smk"
include: "rules/helpers/clusters.smk"
include: "rules/helpers/kaggle.smk"
include: "rules/helpers/folders.smk"
include: "rules/helpers/table.smk"
include: "rules/helpers/needs.smk"
include: "rules/gpu_job.smk"
include: "rules/tasks.smk"
include: "rules/base_model.smk"
include: "rules/pretraining.smk"
include: "rules/adapters.smk"
include: "rules/predictions.smk"
include: "rules/deadline.smk"
include: "rules/ensembles.smk"
include: "rules/scores.smk"
include: "rules/studies.smk"
include: "rules/benchmarks.smk"
include: "rules/reports.smk"
include: "rules/plans.smk"
include: "rules/kaggle.smk"
include: "rules/results.smk"
# Behind all rules, since they are about each of them.
include: "rules/helpers/paths.smk"
include: "rules/helpers/sources.smk"
include: "rules/helpers/records.smk"


rule all:
    default_target: True
    input:
        f"results/score_{config['run']}.json",
        f"results/score_{config['run']}.html",


include: "rules/helpers/targets.smk"

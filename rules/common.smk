# Helpers, named for what they return. The words' meaning is in arcfold.runs; here is how it meets the rules.
import functools
import os
import sys
from pathlib import Path

sys.path.append(str(Path(workflow.basedir) / "workflow_scripts"))

from arcfold import runs
from arcfold.datasets import count_tasks, dataset_entries, dataset_files
from arcfold.leakage import check_leaks, leaks, subset_of_adapter
from arcfold.files import InputError, check_schema
from arcfold.models import how_to_get, read_files
from arcfold.recipes import check_recipes
from arcfold.sources import hash_of_code


def says_its_line(function):
    """What is wrong with the config or a requested run ends the workflow with one line."""

    @functools.cache
    def told(*arguments):
        try:
            return function(*arguments)
        except InputError as error:
            sys.exit(f"error: {error}")

    functools.update_wrapper(told, function)
    return told


@says_its_line
def checked_config():
    check_schema(config, "config", "config")
    runs.check_config(config, "config")
    return config


checked_config()


@says_its_line
def get_run(name):
    return runs.resolve_run(config, name, lambda dataset: count_tasks(config, dataset))


@says_its_line
def get_leaks(name):
    """What a run's base model and adapter have seen of its tasks; refused unless the config allows it."""
    run = get_run(name)
    found = leaks(config, run, cache=".snakemake/leaks")
    check_leaks(found, config["allow_seen"], name)
    return found


@says_its_line
def get_settings(stage, key):
    return runs.settings_of_key(config, stage, key)


@says_its_line
def get_tasks_file(dataset):
    return runs.tasks_file(config, dataset)


@says_its_line
def get_model_entry(name):
    if name not in config["models"]:
        raise InputError(f"model {name}: unknown, expected one of {', '.join(config['models'])}")
    return config["models"][name]


@says_its_line
def get_model_folder(name):
    """The folder of the base model that the other rules use, its vocabulary cut if the config says so."""
    return f"results/models/{name}" if get_model_entry(name).get("cut") else get_model_origin(name)


@says_its_line
def get_model_files(name):
    """The files of a local base model; the folder of one that a rule makes."""
    return [get_model_folder(name)] if get_model_entry(name).get("cut") else get_model_origin_files(name)


@says_its_line
def get_model_origin(name):
    """The folder of a base model as its authors made it."""
    return get_model_entry(name).get("path", f"results/hub/{name}")


@says_its_line
def get_model_origin_files(name):
    entry, folder = get_model_entry(name), get_model_origin(name)
    if "path" not in entry:
        return [folder]
    try:
        return [f"{folder}/{file}" for file in read_files(folder)]
    except InputError as error:
        raise InputError(f"models/{name}: {error}; {how_to_get(name, entry)}") from None


@says_its_line
def get_files_to_cut(name):
    if not get_model_entry(name).get("cut"):
        raise InputError(f"models/{name}: used as it is, expected 'cut: true' there to make results/models/{name}")
    return get_model_origin_files(name)


@says_its_line
def get_origin(name):
    """Where a model comes from, in the config's words."""
    return {key: value for key, value in get_model_entry(name).items() if key in ("path", "hub", "revision")}


@says_its_line
def get_hub(name):
    """Organisation/name and revision of a model of the hub."""
    entry = get_model_entry(name)
    if "hub" not in entry:
        raise InputError(f"models/{name}: the local folder {entry['path']}, expected 'hub' and 'revision' to fetch it")
    return {key: entry[key] for key in ("hub", "revision")}


@says_its_line
def get_dataset_files(dataset):
    runs.check_dataset(config, dataset)
    return dataset_files(config, dataset)


@functools.cache
def get_code(script):
    """A hash of what a rule's script and the modules behind it say."""
    return hash_of_code(Path(workflow.basedir) / "workflow_scripts" / f"{script}.py")


def get_split(wildcards):
    """Number of folds and seed of a folder of the store, '8folds-seed0'."""
    folds, seed = wildcards.split.split("folds-seed")
    return int(folds), int(seed)


@says_its_line
def check_fold(wildcards):
    """A fold of the run: they count from 0."""
    folds = get_run(wildcards.run).folds
    if int(wildcards.get("fold", 0)) >= folds:
        raise InputError(f"run {wildcards.run}: no fold {wildcards.fold}, expected 0 to {folds - 1}")


def in_store(stage, name):
    """The path of a run's file in the store."""

    def path(wildcards):
        get_leaks(wildcards.run)
        check_fold(wildcards)
        return f"{get_run(wildcards.run).store(stage)}/{name.format(**wildcards)}"

    return path


def earlier_in_store(stage, earlier, name):
    """The path of an earlier stage's file for a store folder of `stage`."""

    def path(wildcards):
        settings = get_settings(stage, wildcards.key)
        folder = runs.store_path(earlier, wildcards.dataset, *get_split(wildcards), settings)
        return f"{folder}/{name.format(**wildcards)}"

    return path


def stage_param(stage, section):
    """The slice of the settings that one section names."""

    def settings(wildcards):
        return get_settings(stage, wildcards.key)[section]

    return settings


def stage_model_record(stage):
    def path(wildcards):
        return f"results/models/{get_settings(stage, wildcards.key)['model']}.json"

    return path


def stage_model_files(stage):
    def paths(wildcards):
        return get_model_files(get_settings(stage, wildcards.key)["model"])

    return paths


def stage_model_folder(stage):
    def path(wildcards):
        return get_model_folder(get_settings(stage, wildcards.key)["model"])

    return path


def all_folds(pattern):
    """One path for each fold of the run."""

    def paths(wildcards):
        return [pattern.format(run=wildcards.run, fold=fold) for fold in range(get_run(wildcards.run).folds)]

    return paths


def run_param(section):
    def settings(wildcards):
        return get_run(wildcards.run).settings[section]

    return settings


def get_model_loading(name):
    """How a base model is loaded: its number type, and whether its weights are quantized."""
    entry = get_model_entry(name)
    return {"dtype": entry.get("dtype", "auto"), "quantization": entry.get("quantization", "none")}


def stage_model_loading(stage):
    def loading(wildcards):
        return get_model_loading(get_settings(stage, wildcards.key)["model"])

    return loading


@says_its_line
def get_dataset_config(dataset):
    """The entries of the config that a dataset is made by, in the config's layout."""
    runs.check_dataset(config, dataset)
    return dataset_entries(config, dataset)


@says_its_line
def get_subset_files(subset, key):
    if subset not in config["subsets"]:
        raise InputError(f"subset {subset}: unknown, expected one of {', '.join(config['subsets'])}")
    return [runs.tasks_file(config, dataset) for dataset in config["subsets"][subset][key]]


@says_its_line
def get_solved_tasks_file(dataset):
    """The tasks of a run that can be scored: those of a dataset whose solutions are known."""
    entry = config["datasets"].get(dataset, {})
    if "challenges" in entry and "solutions" not in entry:
        raise InputError(
            f"dataset {dataset}: no solutions to score against, expected a key datasets/{dataset}/solutions "
            "(ask for results/runs/{run}/submission.json instead)"
        )
    return runs.tasks_file(config, dataset)


def get_link_target(wildcards, input, output):
    """The path from a link's folder to what it shows."""
    return os.path.relpath(input[0], Path(output[0]).parent)


def get_init(wildcards):
    """The pretrained adapter that a fold starts from, if any."""
    init = get_settings("adapters", wildcards.key)["training"].get("init")
    return [] if init is None else f"results/adapters/{init}"  # a path, not a list of one


@says_its_line
def get_pretraining(name):
    """Tasks file, base model and training settings of a pretrained adapter, by its name."""
    subset, rank = subset_of_adapter(config, name)
    return {
        "tasks": runs.tasks_file(config, subset),
        "model": config["model"],
        "settings": runs.pretraining_settings(config, rank),
    }


@says_its_line
def get_corpus(name):
    """The config's entry of a corpus."""
    check_recipes(config, "config")
    if name not in config.get("corpora", {}):
        raise InputError(f"corpus {name}: unknown, expected one of {', '.join(config.get('corpora', {}))}")
    return config["corpora"][name]


@says_its_line
def get_recipe(name):
    """The config's entry of a base model that is trained here."""
    check_recipes(config, "config")
    if name not in config.get("base_models", {}):
        raise InputError(f"base model {name}: unknown, expected one of {', '.join(config.get('base_models', {}))}")
    return config["base_models"][name]


@says_its_line
def get_archive(wildcards):
    """The archive that a corpus is read from, if it is read from one."""
    entry = get_corpus(wildcards.corpus)
    if "url" in entry:
        return {"archive": f"results/corpora/archives/{wildcards.corpus}.zip"}
    if "path" not in entry:
        return {}
    if not Path(entry["path"]).is_file():
        raise InputError(
            f"corpora/{wildcards.corpus}: {entry['path']}: no such file, expected a zip archive of JSON files"
            + (f": {entry['origin']}" if "origin" in entry else "")
        )
    return {"archive": entry["path"]}


def get_fetched(key):
    """A key of a corpus that is fetched; a corpus that is not has no archive to make."""

    @says_its_line
    def value(corpus):
        if key not in get_corpus(corpus):
            raise InputError(f"corpus {corpus}: not fetched, expected a key corpora/{corpus}/{key}")
        return get_corpus(corpus)[key]

    return lambda wildcards: value(wildcards.corpus)


def get_shards(key):
    """The shards that a base model is trained on (`corpora`) or measured on (`held_out`)."""
    return lambda wildcards: [f"results/corpora/{corpus}" for corpus in get_recipe(wildcards.base).get(key, [])]


def get_earlier_model(wildcards):
    """The base model that a training goes on from, if there is one."""
    before = get_recipe(wildcards.base).get("goes_on_from")
    return [] if before is None else f"results/base_model/{before}"


@says_its_line
def get_benchmark(name):
    """The config's entry of a benchmark."""
    if name not in config["benchmarks"]:
        raise InputError(f"benchmark {name}: unknown, expected one of {', '.join(config['benchmarks'])}")
    return config["benchmarks"][name]


def get_benchmark_run(name):
    """The run whose adapters a benchmark uses."""
    return get_run(get_benchmark(name)["run"])


def get_benchmark_adapters(wildcards):
    """The adapters of the first folds of a benchmark's run, as many as it asks for."""
    entry, run = get_benchmark(wildcards.benchmark), get_benchmark_run(wildcards.benchmark)
    folds = min(run.folds, entry.get("folds", run.folds))
    return [f"results/runs/{entry['run']}/adapters/fold-{fold}" for fold in range(folds)]


def get_benchmark_settings(wildcards):
    """What a benchmark's script reads of its entry."""
    return {key: get_benchmark(wildcards.benchmark)[key] for key in ("tasks", "min_prob", "seconds")}


def get_timed_name(wildcards):
    """The run whose first fold is trained on: `training` times the config's run, `training_{run}` another."""
    return wildcards.of.removeprefix("_") or config["run"]


def get_timed_run(wildcards):
    return get_run(get_timed_name(wildcards))

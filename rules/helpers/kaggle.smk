# What goes into the bundle of a run for a contest's notebook. What becomes of the run there is in arcfold.kaggle.
from dataclasses import asdict

from arcfold.kaggle.contest import extras_of, in_contest
from arcfold.models.folder import read_config as read_model_config


@says_its_line
def get_contest(name):
    """The run as it will be in the contest, checked as any config is."""
    return in_contest(config, get_single_run(name))


@says_its_line
def get_extras(name):
    """What the run needs of the environment that most do not."""
    model = get_single_run(name).model
    return extras_of(config, get_single_run(name), read_model_config(get_model_origin(model)))


@of_wildcards
def get_wheels(wildcards):
    return f"results/wheels/py{config['kaggle']['python']}{get_extras(wildcards.run)}"


@of_wildcards
def get_model_of_bundle(wildcards):
    return get_model_files(get_single_run(wildcards.run).model)


@of_wildcards
def get_data_of_bundle(wildcards):
    return list(get_contest(wildcards.run).data.values())


@of_wildcards
def get_adapter_of_bundle(wildcards):
    init = get_single_run(wildcards.run).settings["training"].get("init")
    return [] if init is None else get_adapter_folder(init)


def get_locks(wildcards):
    names = ["gpu", "pip", *(["gpu.nodeps"] if wildcards.extras == "-unsloth" else [])]
    return [str(places.WORKFLOW / "envs" / f"{name}.lock") for name in names]


@says_its_line
def get_code_of_bundle():
    from arcfold.kaggle.bundle import hash_of_workflow

    return hash_of_workflow(places.WORKFLOW)

# What jobs ask of a cluster: memory and time, from the sizes of their run (arcfold.runs.resources).
# `--set-resources train_adapter:mem_mb=8000` is stronger.
from arcfold.jobs.devices import device_files
from arcfold.runs.resources import ModelNumbers, TaskNumbers, at_attempt, needs_of, other_needs

# A look that costs nothing: a job asks the driver itself.
MACHINE_HAS_GPU = bool(device_files()) and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1")

STEP_OF_RULE = {"train_adapter": "training", "search_candidates": "search", "rescore_candidates": "rescoring"}
STAGE_OF_RULE = {"train_adapter": "adapters", "search_candidates": "candidates", "rescore_candidates": "rescored"}


@functools.cache
def get_model_numbers(name):
    return ModelNumbers.of(get_model_folder(name))


@says_its_line
def get_task_numbers(dataset):
    return TaskNumbers.of(config, dataset, KNOWN)


@functools.cache
def get_needs(job_name, dataset=None, split=None, key=None, run=None, model=None):
    """What a job asks for at its first attempt, by the wildcards of its rule."""
    if job_name in STEP_OF_RULE:
        settings = get_settings(STAGE_OF_RULE[job_name], key)
        folds, _ = checked_split(dataset, split)
        of_model, of_tasks = get_model_numbers(settings["model"]), get_task_numbers(dataset)
        return needs_of(STEP_OF_RULE[job_name], of_model, of_tasks, folds, settings, gpu=has_gpu(job_name))
    name = model or (get_run(run).models[0] if run else config["model"])
    return other_needs(get_model_numbers(name if name in config["models"] else config["model"]))


def has_gpu(job_name):
    """Whether a rule's jobs will have a GPU: on this machine if it has one, on a cluster if one is asked for."""
    if workflow.local_exec:
        return MACHINE_HAS_GPU
    asked = workflow.resource_settings.overwrite_resources.get(job_name, {}).get("gpu")
    return asked is None or asked.value != 0


def _asked(wildcards):
    names = ("dataset", "split", "key", "run", "model")
    return {name: wildcards.get(name) for name in names if wildcards.get(name) is not None}


@of_wildcards
def get_memory(wildcards, attempt, rulename):
    return at_attempt(get_needs(rulename, **_asked(wildcards)).memory_mib, attempt)


@of_wildcards
def get_minutes(wildcards, attempt, rulename):
    return at_attempt(get_needs(rulename, **_asked(wildcards)).minutes, attempt)


# Nothing on this machine, where nobody is asked, unless a limit is given (`--resources mem_mb=64000`): counting takes a
# tenth of a dry run of hundreds of folds.
here_ = EXECUTOR == "local" and not {"mem_mb", "runtime"} & set(workflow.global_resources)
NEEDS = {} if here_ else {"mem_mb": get_memory, "runtime": get_minutes}

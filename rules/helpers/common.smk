# The checked config, runs and their settings: what all rules ask. The meaning of the words is in arcfold.runs.runs.
import functools
import inspect
import os
import shlex
import sys
import time
from pathlib import Path

sys.path.append(str(Path(workflow.basedir) / "workflow_scripts"))

from arcfold.runs import cleaning, ensembles, runs
from arcfold.arc.datasets import count_tasks, dataset_identity, dataset_source, load_dataset
from arcfold.runs.fitting import check_fit
from arcfold.runs.leakage import check_leaks, is_scored, leaks, subset_of_adapter, warnings_of_leaks
from arcfold.jobs import checksums, places
from arcfold.jobs.files import InputError, read_json, says_what_cannot_be_written
from arcfold.jobs.holes import read_hole, remove_hole
from arcfold.models.architectures import check_backend
from arcfold.models.architectures import check_targets as check_adapted
from arcfold.models.folder import how_to_get, read_files
from arcfold.runs.config import read_config
from arcfold.runs.names import name_parts
from arcfold.runs.runs import score_file
from arcfold.jobs.sources import hash_of_code
from snakemake.common import overwrite_function_params

# What was found in earlier calls, each named by all that it depends on.
KNOWN = Path(".snakemake/arcfold/known")
# What folders of the store stand for, for jobs that know a run only by them.
KEYS = Path(".snakemake/arcfold/keys")


def of_wildcards(function):
    """A function of wildcards for an input, a param or a resource, whose signature is taken once.

    Snakemake takes it twice for each job, in all a fifth of a dry run.
    """
    overwrite_function_params(function, inspect.signature(function).parameters)
    return function


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


def in_call_of_snakemake(name, ask):
    """What the call of Snakemake that reads this file knows and the workflow does not know yet; None if nobody does.

    name: of a variable in that call; ask: what is looked for in its value, None where it is not there
    """
    frame = sys._getframe()
    while frame is not None:
        if name in frame.f_locals and (found := ask(frame.f_locals[name])) is not None:
            return found
        frame = frame.f_back
    return None


EXECUTOR = in_call_of_snakemake("args", lambda arguments: getattr(arguments, "executor", None))


@says_its_line
def checked_config():
    """The defaults with the user's files and values over them, which Snakemake would merge in another way."""
    given = workflow.config_settings
    defaults = [] if given.replace_workflow_config else places.configs()
    return places.placed(read_config(defaults, workflow.overwrite_configfiles, given.config_args or []))


config.clear()
config.update(checked_config())
workflow.configfiles.extend(map(str, places.configs()))  # as `configfile:` does, for --report and --archive


@says_its_line
def get_run(name):
    """The run of that name: one of a configuration, or an ensemble of several."""
    run = ensembles.resolve(config, name, lambda dataset: count_tasks(config, dataset, cache=KNOWN))
    for member in run.members:
        if "init" not in member.settings["training"]:  # an adapter has targets of its own
            check_layers(f"run {name}", member.model, member.settings["training"])
    if workflow.is_main_process:
        runs.keep_keys(run.keyed(), KEYS)
        if STORED:
            workflow.configfiles.extend(str(KEYS / f"{key}.json") for key in run.keyed())
    return run


@says_its_line
def get_single_run(name):
    """The run of that name, with adapters of its own."""
    runs.resolve_run(config, name, lambda dataset: count_tasks(config, dataset, cache=KNOWN))  # refuses an ensemble
    return get_run(name)


def check_layers(who, model, training):
    """The model has the layers that are to be adapted, and the backend computes it."""
    for key, check in (("targets", check_adapted), ("backend", check_backend)):
        try:
            check(training[key], get_model_origin(model))
        except InputError as error:
            raise InputError(f"{who}: settings/training/{key}: {error}") from None


def once_for(depends_on):
    """Makes a function of a run look again only at what depends on something else; a study has hundreds of runs."""

    def made(function):
        found = {}

        @functools.wraps(function)
        def kept(run):
            key = depends_on(run)
            if key not in found:
                found[key] = function(run)
            return found[key]

        return kept

    return made


@once_for(lambda run: (run.dataset, run.model, run.settings["training"].get("init")))
def get_leaks_of(run):
    return leaks(config, run, cache=KNOWN)


@once_for(lambda run: (run.dataset, run.model, run.settings["training"]["longest"], run.settings["search"]["longest"]))
def check_fit_of(run):
    check_fit(config, run, get_model_folder(run.model), cache=KNOWN / "fits")


@says_its_line
def get_leaks(name):
    """What a run's base models and adapters have seen of its tasks; refused unless the config allows it.

    Without solutions there is no score that it could inflate, so it is only said.
    """
    run = get_run(name)
    found = []
    for member in run.members:
        found += [leak for leak in get_leaks_of(member) if leak not in found]
    if found and not is_scored(config, run):
        if workflow.is_main_process:
            print(*warnings_of_leaks(found, config["allow_seen"], name), sep="\n", file=sys.stderr)
    else:
        check_leaks(found, config["allow_seen"], name)
    return found


@says_its_line
def get_unneeded(wildcards):
    """What of the store no run needs."""
    return cleaning.unneeded(config, lambda dataset: count_tasks(config, dataset, cache=KNOWN))


@says_its_line
def get_leaderboard_of(name):
    parts = name_parts(config, name)
    return None if parts.changes else config["runs"].get(parts.entry, {}).get("leaderboard")


@of_wildcards
def get_leaderboard(wildcards):
    """The score of a run on a leaderboard, where the config has one; of another seed or dataset it is the same."""
    return get_leaderboard_of(wildcards.run)


@says_its_line
def get_settings(stage, key):
    return runs.settings_of_key(config, stage, key, KEYS)


@says_its_line
def get_tasks_file(dataset):
    return runs.tasks_file(config, dataset)


@says_its_line
def marker(target, stale):
    """An input that makes its rule run again when the target is stale, whatever Snakemake remembers of it."""
    if STORED:  # Snakemake alone remembers what objects were made from
        return []
    # in a folder of its own: of a folder that it has seen Snakemake takes no notice of new files
    path = Path(".snakemake/arcfold/markers") / "+".join(Path(target).parts) / "marker"
    with says_what_cannot_be_written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if stale:
            # with new content too: of a small file that is newer Snakemake asks whether it has changed
            path.write_text(str(time.time_ns()))
        else:
            path.touch()
            os.utime(path, (0, 0))
    return str(path)


@says_its_line
def get_code(script):
    """A hash of what a rule's script and the modules behind it say."""
    return hash_of_code(Path(workflow.basedir) / "workflow_scripts" / f"{script}.py", known=KNOWN / "code.json")

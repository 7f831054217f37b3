# Studies: which runs are compared, and which of their scores are finished.
from arcfold.runs import studies
from arcfold.jobs.files import hash_of_file


@says_its_line
def get_study(name):
    """A study of the config, or two runs, by the name in a target; all on one dataset."""
    study = studies.resolve_study(config, name)
    more = {}
    if studies.PAIR in name:  # a run does not stand alone where other seeds of it are finished
        for each in study.configurations:
            more[each.name] = [run for run in studies.other_seeds(config, each.name) if is_finished(run)]
    study = study.with_more(more)
    datasets = {run: get_dataset_of(run) for run in study.runs}
    first, dataset = next(iter(datasets.items()))
    for run, other in datasets.items():
        if other != dataset:
            raise InputError(f"study {name}: {run} is on {other}, {first} on {dataset}, expected one dataset")
    return study


def get_dataset_of(name):
    return get_theirs(name)["dataset"] if studies.seedless(config, name) else get_run(name).dataset


@functools.cache
def get_asked(name):
    """The runs whose scores a comparison asks for: all, or none of one that takes what is finished."""
    return () if get_study(name).so_far else tuple(studies.resolve_study(config, name).runs)


@of_wildcards
def get_scores(wildcards):
    return [score_file(run) for run in get_asked(wildcards.study)]


@functools.cache
def get_finished_scores(name):
    """The hashes of the scores that a comparison reads and does not ask for, by the run."""
    asked = {*get_asked(name)}
    taken = [run for run in get_study(name).runs if run not in asked]
    return {run: hash_of_file(score_file(run)) for run in taken if is_finished(run)}


@of_wildcards
def get_finished(wildcards):
    return get_finished_scores(wildcards.study)


@of_wildcards
def get_missing(wildcards):
    """The runs of a comparison that takes what is finished that are not."""
    name = wildcards.study
    there = {*get_asked(name), *get_finished_scores(name)}
    return [run for run in get_study(name).runs if run not in there]


@of_wildcards
def get_study_params(wildcards):
    return get_study(wildcards.study).to_json()

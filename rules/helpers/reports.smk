# What pages are made from: a run with its other seeds, the tasks that it is scored on, and how pages look.
from arcfold.jobs.files import hash_of_files


@of_wildcards
def get_scored_tasks(wildcards):
    return get_solved_tasks_file(get_dataset_of(wildcards.run))


@of_wildcards
def get_compared_tasks(wildcards):
    return get_solved_tasks_file(get_dataset_of(get_study(wildcards.study).runs[0]))


@of_wildcards
def get_seeds_of_run(wildcards):
    """A study of one configuration: the run, and those of its other seeds that have a finished score."""
    others = [run for run in studies.other_seeds(config, wildcards.run) if is_finished(run)]
    configuration = {"name": wildcards.run, "runs": [wildcards.run, *others]}
    return {"name": wildcards.run, "base": wildcards.run, "notes": "", "configurations": [configuration], "pairs": []}


@of_wildcards
def get_hashes_of_seeds(wildcards):
    """By run the hashes of the scores of other seeds, which a page reads and does not ask for."""
    (configuration,) = get_seeds_of_run(wildcards)["configurations"]
    return {run: hash_of_file(score_file(run)) for run in configuration["runs"][1:]}


@of_wildcards
def get_look(wildcards):
    """A hash of what a page looks like, which its code does not say: its templates, styles and scripts."""
    folder = Path(workflow.basedir) / "workflow_scripts" / "arcfold" / "reports"
    files = (path for part in ("assets", "templates") for path in (folder / part).iterdir())
    return hash_of_files(folder, [str(path.relative_to(folder)) for path in files])[:16]

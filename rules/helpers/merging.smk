# Scores of other machines: a score that was copied into results/ with its record is taken as it is, where the record
# says what this config says. Then nothing of the run is made here.
from arcfold.jobs.records import is_stale, what_differs
from snakemake.iocontainers import Wildcards


def unless_merged(function):
    """An input of a score that one from elsewhere does without."""

    @of_wildcards
    def paths(wildcards):
        return [] if is_merged(wildcards.run) else function(wildcards)

    return paths


@functools.cache
def is_merged(run):
    """Whether a run's score comes from elsewhere and is what its name says. Warns of one that is not."""
    if not Path(score_file(run)).is_file() or Path(f"results/runs/{run}/files.json").is_file():
        return False
    if IN_TIME or STORED:  # what gave way elsewhere is not in the record, and of objects there is none
        return False
    difference = what_differs(score_file(run), get_score_params(run), code_counts=code_counts())
    if difference is not None and workflow.is_main_process:
        print(f"warning: {score_file(run)}: {difference}; the run is made again", file=sys.stderr)
    return difference is None


@functools.cache
def is_finished(run):
    """Whether a run's score is there and is what its name says."""
    return Path(score_file(run)).is_file() and not is_stale(
        score_file(run), get_score_params(run), code_counts=code_counts()
    )


def get_score_params(run):
    """The parameters of the rule that makes a run's score."""
    name = "score_submission" if run in runs.submissions(config) else "score_run"
    return get_params(workflow.get_rule(name), Wildcards(fromdict={"run": run}))


def code_counts():
    """Whether other code makes a target stale."""
    return any(str(trigger) == "params" for trigger in workflow.rerun_triggers)

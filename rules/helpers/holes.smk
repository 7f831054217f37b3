# Folds whose job failed while the run kept going: arcfold.jobs.holes says what stands in their place.


def failed_marker(name):
    """A file that is newer than what was made of a run without folds that failed: they are tried again."""

    def path(wildcards):
        target = name.format(run=wildcards.run)
        # beside the marker that the target's record has
        return marker(f"{target}.failed", has_failed(target))

    return path


def has_failed(path):
    """Whether a file of a run names folds that failed."""
    try:
        return bool(read_json(path).get("failed"))
    except (InputError, AttributeError):  # not there, or damaged
        return False


def remove_holes():
    """Takes the holes of this call out of the store. Ends it with a line if a hole is what was asked for."""
    asked_for = [str(path) for path in workflow.dag.targetfiles if read_hole(path)]
    reasons = [f"{path}: {read_hole(path)['reason']}" for path in asked_for]
    for path in asked_for:
        if os.path.islink(path):
            os.unlink(path)
    for job in workflow.dag.jobs:
        if job.params.get("of_a_fold"):
            for path in job.output:
                remove_hole(path)
    if reasons:
        sys.exit(f"error: {reasons[0]}")


onsuccess:
    say_cuts()
    remove_holes()
    say_results()


onerror:
    remove_holes()

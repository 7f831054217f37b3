# What each target was made from decides whether it is made again, beside what Snakemake remembers: a rule with a hash
# of its code has one more input, which is new when the target's record has other parameters than the rule has now.
from arcfold.jobs.locks import remove_stale_lock
from arcfold.jobs.records import CODE, is_stale, settle
from arcfold.jobs.request import plain_value


def get_params(rule, wildcards):
    """The parameters that a job of the rule has."""
    return {name: plain_value(value(wildcards) if callable(value) else value) for name, value in rule.params.items()}


def marker_of(rule):
    @of_wildcards
    def path(wildcards):
        output = str(rule.output[0].apply_wildcards(wildcards))
        known = os.path.lexists(output) and not STORED
        stale = known and is_stale(output, get_params(rule, wildcards), code_counts=code_counts())
        if stale:  # it will be made again
            check_folders([output])
        return marker(output, stale)

    return path


for rule_ in workflow.rules:
    if CODE in rule_.params.keys():
        rule_.set_input(record=marker_of(rule_))

if workflow.is_main_process:
    if remove_stale_lock():
        print("the lock of a Snakemake that is dead was removed", file=sys.stderr)
    for line in settle():
        print(f"warning: {line}", file=sys.stderr)

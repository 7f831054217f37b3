# A mistyped target is refused with the one that was meant. Read last, when all rules are there.
import re

from arcfold.runs.targets import check_targets


def get_targets():
    """What was asked for, as the call of Snakemake that reads this file has it; the workflow gets it afterwards."""
    asked = in_call_of_snakemake("self", lambda caller: getattr(caller, "dag_settings", None))
    return [] if asked is None else [str(target) for target in asked.targets]


@says_its_line
def check_asked():
    outputs = {}
    for made_by in workflow.rules:
        for output in made_by.output:
            path = re.sub(r"\{(\w+),.*?\}(?=[^}]|$)", r"{\1}", stored.path_here(str(output)))
            expression = output.regex().pattern.removeprefix(re.escape(BEFORE_COPIES))
            outputs.setdefault(path, []).append(re.compile(expression))
    check_targets(get_targets(), [made_by.name for made_by in workflow.rules], outputs, config)


check_asked()

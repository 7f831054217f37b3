# A mistyped target is refused with the one that was meant. Read last, when all rules are there.
import re

from arcfold.runs.targets import check_targets


def get_targets():
    """What was asked for, as the call of Snakemake that reads this file has it; the workflow gets it afterwards."""
    frame = sys._getframe()
    while frame is not None:
        asked = getattr(frame.f_locals.get("self"), "dag_settings", None)
        if asked is not None:
            return [str(target) for target in asked.targets]
        frame = frame.f_back
    return []


@says_its_line
def check_asked():
    outputs = {}
    for made_by in workflow.rules:
        for output in made_by.output:
            path = re.sub(r"\{(\w+),.*?\}(?=[^}]|$)", r"{\1}", str(output))
            outputs.setdefault(path, []).append(re.compile(output.regex()))
    check_targets(get_targets(), [made_by.name for made_by in workflow.rules], outputs, config)


check_asked()

"""Does one job alone, from the file that says all it is given: by hand, or under a debugger.

    python workflow_scripts/run_job.py results/logs/train_adapter/….job.json
    python -m pdb workflow_scripts/run_job.py results/logs/train_adapter/….job.json

in the folder that Snakemake ran in. It does what the job did, and its outputs take the place of those that are
there; the first line of each job's log is this command.
"""

import runpy
import sys

from arcfold.jobs.files import InputError
from arcfold.jobs.request import read_request


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        sys.exit("error: expected one argument, the file of a job: results/logs/….job.json")
    try:
        given = read_request(arguments[0])
    except InputError as error:
        sys.exit(f"error: {error}")
    # a debugger shows where an error was raised; without one it is a line and a status
    given.debugged = bool({"pdb", "debugpy", "pydevd"} & sys.modules.keys())
    runpy.run_path(str(given.script), init_globals={"snakemake": given}, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])

# On a terminal a run is one live table, and without one it ends with some lines. The table is put in the place of
# Snakemake's lines here, and not by a profile's `logger:`, which a Snakemake refuses whose environment lacks the plugin.
import sys

HAS_TABLE = False

if workflow.exec_mode.name == "DEFAULT" and sys.stderr.isatty():
    from arcfold.terminal.handler import show_table

    # under --debug the terminal is the debugger's
    HAS_TABLE = show_table(
        workflow.logger_manager.logger,
        workflow.output_settings,
        lambda: not workflow.execution_settings.debug,
    )


def say_results():
    """What the runs of this call ended with, where no table says it."""
    if HAS_TABLE or workflow.output_settings.quiet:
        return
    from arcfold.terminal.results import endings

    made = [path for job in workflow.dag.needrun_jobs(exclude_finished=False) for path in job.output]
    for line in endings(sorted(made), sys.argv[1:]):
        print(line, file=sys.stderr)

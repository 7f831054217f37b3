# On a terminal a run is one live table. It is put in the place of Snakemake's lines here, and not by a profile's
# `logger:`, which a Snakemake refuses whose environment lacks the plugin.
import sys

if workflow.exec_mode.name == "DEFAULT" and sys.stderr.isatty():
    from arcfold.terminal.handler import show_table

    # under --debug the terminal is the debugger's
    show_table(
        workflow.logger_manager.logger,
        workflow.output_settings,
        lambda: not workflow.execution_settings.debug,
    )

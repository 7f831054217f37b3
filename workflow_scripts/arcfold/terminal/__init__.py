"""What a person at a terminal sees of a run: one live table of its stages, and a summary at the end.

Snakemake's log records come in (`handler`), become what is done, what runs and how long it takes (`progress`), and
go out as lines (`drawing`). Nothing here changes what a run does: without a terminal Snakemake's own lines stand
there, and the full log is in its file either way. Of Snakemake it knows the attributes of log records, nothing else.
"""

"""The page of a run and that of a study: one file of HTML that needs no network, made of finished files alone.

A comparison (`results/compare_{study}.json`), scores and what the search found come in; a page goes out. `summary` is
what the page knows from the start; `candidates` is what it knows of each task, which `packing` makes small and the
browser unpacks when the task is opened; `page` puts both into `templates`, with the style and the scripts in `assets`.
Nothing is read of a page again, and nothing here computes a score: whatever stands on a page stands in a file.
"""

"""Reproducible test-time training for the ARC Prize: the library under the workflow's rules.

The modules build on each other in one direction (files, devices, tasks, views, text, folds,
samples, models, training, search, rescoring, selection, scoring) and none of them knows
Snakemake. Importing the package imports nothing else, so that a job can lease its device
before torch is loaded.
"""

"""Reproducible test-time training for the ARC Prize: the library under the workflow's rules.

Each package builds on those below it alone, and those on one floor know nothing of each other (`make lint`
checks it):

    reports  terminal                the pages of a finished run, the table of one that is under way
    worker                           the process that does one job after another on a device
    planning  comparisons  kaggle    what a run takes, which one is better, bundles for a contest's notebook
    runs                             what a run's name means, recipes, leakage, predictions, timeline
    training  search  pretraining    adapters, replies and scores, base models
    models                           a base model's folder, weights, vocabulary, adapters
    arc                              tasks, views, text, folds, selection, scoring, pictures
    jobs                             files, devices, provenance: what every job needs

Put a new idea into the lowest package that has what it needs. Nothing here knows Snakemake, and importing a
package imports no module of it, so that a job can lease its device before torch is loaded. Only this one does a thing
when it is imported: transformers will know our model class (`models.registration`), should anybody import it.
"""

from arcfold.models.registration import register

register()

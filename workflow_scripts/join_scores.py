"""Joins the scores that the members of an ensemble gave to all candidates of the tasks of a fold."""

from arcfold.arc.folds import read_fold
from arcfold.jobs.files import write_json
from arcfold.jobs.job import job
from arcfold.jobs.provenance import Stopwatch, hash_inputs, provenance
from arcfold.runs.joining import by_member, joined, read_entries


def main(
    *,
    tasks: str,
    folds: list[str],
    own: list[list[str]],
    others: list[list[str]],
    views: list[int],
    fold: int,
    output: str,
) -> None:
    """folds, own, others: of each member its folds.json and its rescored files; the fold is the first member's."""
    watch = Stopwatch()
    ids = read_fold(folds[0], fold)
    scored = [read_entries(dealt, files, ids, "rescored", tasks)[0] for dealt, files in zip(folds, own, strict=True)]
    more = [read_entries(dealt, files, ids, "rescored", tasks)[0] for dealt, files in zip(folds, others, strict=True)]
    scores = {
        task_id: joined(
            [entries[task_id] for entries in scored], [entries[task_id] for entries in more], views, f"task {task_id}"
        )
        for task_id in ids
    }
    made = {"fold": fold, "tasks": scores, "provenance": provenance(inputs=hash_inputs(folds=folds[0]), watch=watch)}
    write_json(output, made, "rescored")


if "snakemake" in globals():
    with job(snakemake):
        main(
            tasks=snakemake.input.tasks,
            folds=list(snakemake.input.folds),
            own=by_member(list(snakemake.input.own), snakemake.params.folds),
            others=by_member(list(snakemake.input.others), snakemake.params.folds),
            views=snakemake.params.views,
            fold=int(snakemake.wildcards.fold),
            output=snakemake.output[0],
        )

"""Gathers what the other members of an ensemble found for the tasks of a member's fold, and it did not."""

from arcfold.jobs.files import read_json, write_json
from arcfold.jobs.holes import refuse_holes
from arcfold.jobs.job import job
from arcfold.jobs.provenance import Stopwatch, hash_inputs, provenance
from arcfold.runs.joining import by_member, found_by_others, read_entries


def main(*, tasks: str, folds: list[str], candidates: list[list[str]], of: int, fold: int, output: str) -> None:
    """folds, candidates: of each member its folds.json and its files, fold by fold."""
    watch = Stopwatch()
    own = candidates[of][fold]
    refuse_holes(own)
    ids = list(read_json(own, "candidates")["tasks"])
    members = [
        read_entries(dealt, files, ids, "candidates", tasks) for dealt, files in zip(folds, candidates, strict=True)
    ]
    others = {task_id: found_by_others([entries[task_id] for entries, _ in members], of) for task_id in ids}
    min_prob = min(content["min_prob"] for _, contents in members for content in contents)
    made = {"fold": fold, "min_prob": min_prob, "tasks": others}
    write_json(output, made | {"provenance": provenance(inputs=hash_inputs(own=own), watch=watch)}, "candidates")


if "snakemake" in globals():
    with job(snakemake):
        main(
            tasks=snakemake.input.tasks,
            folds=list(snakemake.input.folds),
            candidates=by_member(list(snakemake.input.candidates), snakemake.params.folds),
            of=snakemake.params.of,
            fold=int(snakemake.wildcards.fold),
            output=snakemake.output[0],
        )

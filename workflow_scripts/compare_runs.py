"""Puts the scores of a study side by side: means, differences with their noise, a sentence for each pair."""

from typing import Any

from arcfold.comparisons.compare import compare, file_of
from arcfold.comparisons.scores import read_score
from arcfold.comparisons.table import as_csv
from arcfold.jobs import checksums
from arcfold.jobs.files import new_file, write_json
from arcfold.jobs.job import job
from arcfold.jobs.provenance import hash_inputs, provenance


def main(study: dict[str, Any], missing: list[str], output: str, table: str) -> None:
    files = {run: file_of(run) for each in study["configurations"] for run in each["runs"] if run not in missing}
    checksums.check(files.values())  # not all of them are inputs
    made = compare(study, {run: read_score(file) for run, file in files.items()}, missing)
    made["provenance"] = provenance(inputs=hash_inputs(**files))
    write_json(output, made, "compare")
    with new_file(table) as temporary:
        temporary.write_text(as_csv(made), encoding="utf-8")
    for pair in made["pairs"]:
        print(pair["sentence"])


if "snakemake" in globals():
    with job(snakemake):
        main(
            snakemake.params.study,
            snakemake.params.missing,
            snakemake.output.json,
            snakemake.output.table,
        )

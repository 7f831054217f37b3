"""Links a run's folder to its files in the store, and writes which path stands for which."""

from pathlib import Path

from arcfold.jobs.files import write_json
from arcfold.jobs.holes import read_hole
from arcfold.jobs.job import job
from arcfold.runs.links import link_all


def main(*, folds: str, adapters: list[str], candidates: list[str], rescored: list[str], output: str) -> None:
    targets = {"folds.json": folds}
    # of an adapter that does not stay there is the report of its training
    targets |= {
        f"training/fold-{fold}.json" if path.endswith(".json") else f"adapters/fold-{fold}": path
        for fold, path in enumerate(adapters)
    }
    targets |= {f"candidates/fold-{fold}.json": path for fold, path in enumerate(candidates)}
    targets |= {f"rescored/fold-{fold}.json": path for fold, path in enumerate(rescored)}
    holes = {name: hole for name, path in targets.items() if (hole := read_hole(path)) is not None}
    made = link_all(Path(output).parent, {name: path for name, path in targets.items() if name not in holes})
    failed = [{"path": name, **hole} for name, hole in holes.items()]
    write_json(output, {"files": made, "failed": failed}, "files")


if "snakemake" in globals():
    with job(snakemake):
        main(
            folds=snakemake.input.folds,
            adapters=list(snakemake.input.adapters),
            candidates=list(snakemake.input.candidates),
            rescored=list(snakemake.input.rescored),
            output=snakemake.output[0],
        )

"""Compares the plan of a run with the run that followed it: seconds of each fold, and whether it was near enough.

    snakemake results/calibration.json --cores 4 --resources gpu=4 --config run=arc1_evaluation_8folds
    snakemake results/plan_arc1_evaluation_8folds.json --cores 4 --resources gpu=4
    snakemake results/score_arc1_evaluation_8folds.json --cores 4 --resources gpu=4
    python benchmarks/check_plan.py arc1_evaluation_8folds --folds --out out

in the folder of the workflow. Writes out/check_plan.json, a file for `benchmarks/record.py`. On a CPU the seconds are
those that the jobs computed, since the machine may have had other work; `--wall` takes those of the clock.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from arcfold.planning.truth import worked

SEARCH_FACTOR, TRAINING_SHARE = 2.0, 0.2
STAGES = {"training": ("adapters/fold-{}", "training/fold-{}.json"), "search": ("candidates/fold-{}.json",),
          "rescoring": ("rescored/fold-{}.json",)}  # fmt: skip


def read(path: str | Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def provenance_of(files: dict[str, Any], names: tuple[str, ...], fold: int) -> dict[str, Any]:
    name = next(name.format(fold) for name in names if name.format(fold) in files)
    path = Path(files[name]["store"])
    return dict(read(path / "training.json" if path.is_dir() else path)["provenance"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--out", default="out")
    parser.add_argument("--folds", action="store_true", help="a line for each job too")
    parser.add_argument("--wall", action="store_true", help="seconds of the clock on a CPU too")
    given = parser.parse_args()
    plan, files = read(f"results/plan_{given.run}.json"), read(f"results/runs/{given.run}/files.json")["files"]
    made: dict[str, Any] = {"run": given.run, "device": plan["device"], "planned_seconds": plan["seconds"], "jobs": {}}
    for part, names in STAGES.items():
        rows = []
        for of_fold in plan["of_folds"]:
            record = provenance_of(files, names, of_fold["fold"])
            of_host = record["device"]["kind"] == "cpu" and not given.wall
            true = record["cpu_seconds"] if of_host else worked(record["seconds"])
            rows.append({"fold": of_fold["fold"], "planned": of_fold[part], "true": true})
        ratios = sorted(row["planned"] / max(row["true"], 1e-6) for row in rows)
        planned, true = sum(row["planned"] for row in rows), sum(row["true"] for row in rows)
        within = sum(1 / SEARCH_FACTOR <= ratio <= SEARCH_FACTOR for ratio in ratios) / len(ratios)
        made["jobs"][part] = {
            "planned": round(planned, 2), "true": round(true, 2), "ratio": round(planned / true, 3),
            "lowest_ratio": round(ratios[0], 3), "highest_ratio": round(ratios[-1], 3),
            "folds_within_a_factor_of_two": round(within, 3), "folds": rows,
        }  # fmt: skip
    training, search = made["jobs"]["training"], made["jobs"]["search"]
    made["near_enough"] = abs(training["ratio"] - 1) <= TRAINING_SHARE and search["folds_within_a_factor_of_two"] >= 0.9
    Path(given.out).mkdir(parents=True, exist_ok=True)
    Path(given.out, "check_plan.json").write_text(json.dumps(made, indent=1), encoding="utf-8")
    for part, row in made["jobs"].items() if given.folds else ():
        for of_fold in row["folds"]:
            planned, true = of_fold["planned"], of_fold["true"]
            print(f"fold {of_fold['fold']:<4} {part:10} planned {planned:9.2f} s, true {true:9.2f} s")
    for part, row in made["jobs"].items():
        print(f"{part:10} planned {row['planned']:9.1f} s, true {row['true']:9.1f} s, ratio {row['ratio']:.2f}, "
              f"{100 * row['folds_within_a_factor_of_two']:.0f} % of the folds within a factor of two")  # fmt: skip
    sys.exit(0 if made["near_enough"] else "the plan was not near enough: training within 20 %, search a factor of 2")


if __name__ == "__main__":
    main()

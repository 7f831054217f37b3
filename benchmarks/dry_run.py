"""The dry run of one task a fold against that of a bare Snakefile with the same jobs.

    python benchmarks/dry_run.py
    python benchmarks/dry_run.py --tasks 400 1000 --repeats 5 --out dry_run.json

The bare Snakefile has input, output and script or shell of the same 3 n + 6 jobs and nothing else: no params, messages,
logs, resources, environments or checks. Both run in folders of their own with the same profile and flags, in turns.
Seconds are those of the processor (user and system), so that other work on the machine counts little. Of each pair the
ratio is taken, of the ratios the median. 400 tasks are ARC-AGI-1's evaluation set, any other number is made up.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "workflow_scripts"))

from arcfold.models.folder import read_files  # noqa: E402

BARE = """
FOLDS = range({n})
rule score_run:
    input: "tasks.json", "folds.json", "files.json", "model.json", expand("adapters/fold-{{fold}}", fold=FOLDS),
        expand("candidates/fold-{{fold}}.json", fold=FOLDS), expand("rescored/fold-{{fold}}.json", fold=FOLDS),
        "submission.json"
    output: "score.json"
    script: "{scripts}/score_run.py"
rule link_run:
    input: "folds.json", expand("adapters/fold-{{fold}}", fold=FOLDS),
        expand("candidates/fold-{{fold}}.json", fold=FOLDS), expand("rescored/fold-{{fold}}.json", fold=FOLDS)
    output: "files.json"
    script: "{scripts}/link_run.py"
rule select_attempts:
    input: "tasks.json", expand("rescored/fold-{{fold}}.json", fold=FOLDS)
    output: "submission.json"
    script: "{scripts}/select_attempts.py"
rule rescore_candidates:
    input: "tasks.json", "model.json", {weights}, "adapters/fold-{{fold}}", "candidates/fold-{{fold}}.json"
    output: "rescored/fold-{{fold}}.json"
    shell: "touch {{output}}"
rule search_candidates:
    input: "tasks.json", "folds.json", "model.json", {weights}, "adapters/fold-{{fold}}"
    output: "candidates/fold-{{fold}}.json"
    shell: "touch {{output}}"
rule train_adapter:
    input: "tasks.json", "folds.json", "model.json", {weights}
    output: directory("adapters/fold-{{fold}}")
    shell: "touch {{output}}"
rule make_folds:
    input: "tasks.json"
    output: "folds.json"
    script: "{scripts}/make_folds.py"
rule describe_model:
    input: {weights}
    output: "model.json"
    script: "{scripts}/describe_model.py"
rule collect_tasks:
    output: "tasks.json"
    script: "{scripts}/collect_tasks.py"
"""


class Measured(NamedTuple):
    """One dry run: jobs, seconds of the processor, MiB that its process took at most."""

    jobs: int
    seconds: float
    peak_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[400, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", help="a file for the figures")
    arguments = parser.parse_args()
    rows = [compare(n, arguments.repeats) for n in arguments.tasks]
    for row in rows:
        print(
            f"{row['folds']} folds: {row['jobs']} jobs, {row['seconds']:.2f} s, {row['peak_mib']:.0f} MiB; "
            f"bare {row['bare_jobs']} jobs, {row['bare_seconds']:.2f} s, {row['bare_peak_mib']:.0f} MiB; "
            f"ratio {row['ratio']:.2f}"
        )
    if arguments.out:
        Path(arguments.out).write_text(json.dumps({"rows": rows}, indent=2) + "\n", encoding="utf-8")


def compare(n: int, repeats: int) -> dict[str, Any]:
    """The figures of `n` tasks, one a fold."""
    with tempfile.TemporaryDirectory() as folder:
        ours, bare = make_ours(Path(folder) / "ours", n), make_bare(Path(folder) / "bare", n)
        pairs = [(measure(*ours), measure(*bare)) for _ in range(repeats + 1)][1:]  # the first finds empty caches
    first, second = zip(*pairs, strict=True)
    return {
        "folds": n,
        "jobs": first[0].jobs,
        "seconds": statistics.median(one.seconds for one in first),
        "peak_mib": max(one.peak_mib for one in first),
        "bare_jobs": second[0].jobs,
        "bare_seconds": statistics.median(one.seconds for one in second),
        "bare_peak_mib": max(one.peak_mib for one in second),
        "ratio": statistics.median(one.seconds / other.seconds for one, other in pairs),
    }


def make_ours(folder: Path, n: int) -> tuple[Path, list[str]]:
    """A folder in which this workflow has nothing yet, and what to call there."""
    folder.mkdir()
    shutil.copy(ROOT / "config.yaml", folder)
    (folder / "resources").symlink_to(ROOT / "resources")
    call = ["--snakefile", str(ROOT / "Snakefile")]
    if n == 400:
        return folder, ["results/score_arc1_evaluation_per_task.json", *call]
    made = {
        f"{place:08x}": {part: [{"input": [[1]], "output": [[2]]}] for part in ("train", "test")} for place in range(n)
    }
    (folder / "made.json").write_text(json.dumps(made), encoding="utf-8")
    (folder / "made.yaml").write_text("datasets: { made: { tasks: made.json } }\n", encoding="utf-8")
    return folder, ["results/score_made_per_task.json", *call, "--configfile", "made.yaml"]


def make_bare(folder: Path, n: int) -> tuple[Path, list[str]]:
    """A folder with the bare Snakefile, and what to call there."""
    folder.mkdir()
    (folder / "resources").symlink_to(ROOT / "resources")
    base = "resources/base-15m"
    listed = ", ".join(f'"{base}/{file}"' for file in read_files(ROOT / base))
    (folder / "Snakefile").write_text(
        BARE.format(n=n, weights=listed, scripts=ROOT / "workflow_scripts"), encoding="utf-8"
    )
    return folder, ["score.json"]


def measure(folder: Path, call: list[str]) -> Measured:
    """One dry run in a process of its own."""
    command = [sys.executable, "-m", "snakemake", *call, "-n", "--workflow-profile", str(ROOT / "profiles" / "default")]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    counted = re.search(r"^total +(\d+)$", text, re.M)
    if process.returncode or counted is None:
        sys.exit(f"error: {' '.join(command)} ended with status {process.returncode}:\n{text[-2000:]}")
    return Measured(int(counted[1]), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


if __name__ == "__main__":
    main()

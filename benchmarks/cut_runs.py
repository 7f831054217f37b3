"""What a deadline costs: the score of a run with a part of its time, with short folds first and in the tasks' order.

    python benchmarks/cut_runs.py per_task 8folds --seeds 0 1 --shares 0.25 0.5 0.75 --folder cut_runs
    python benchmarks/record.py - cut_runs --command '…' --device '2 CPU cores' --figures cut_runs/cut_runs.json

A machine with other work would measure that work. So the clock is simulated and nothing else: the run is done once in
full; what its jobs computed, in seconds of a CPU or of the wall on a GPU, is what they take; on this clock the shipped
program deals out a part of the time, with its own predictions; and the budget that it writes is replayed
(docs/deadline.md), so that the score is that of a real run with these settings. `interrupted` is the submission so far
of a run that is not cut and is ended at that moment; `interrupted_in_any_order` is its mean over orders that are drawn.

Prints a line for each. What a folder has already is not done again.
"""

from __future__ import annotations

import argparse
import copy
import heapq
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "workflow_scripts"))

from arcfold.arc.datasets import prompt_lengths  # noqa: E402
from arcfold.arc.tasks import Task, read_tasks  # noqa: E402
from arcfold.planning import so_far  # noqa: E402
from arcfold.planning.budget import STEPS, decide, note_decision  # noqa: E402
from arcfold.planning.in_time import STAGES  # noqa: E402
from arcfold.runs.predictions import read_submission  # noqa: E402
from arcfold.runs.steps import report_of  # noqa: E402

ORDERS = ("short first", "by id")
DAY = 86_400.0
ANY = 200
"""Orders that are drawn."""
LEAST = 0.05
"""Seconds of a step that has nothing to do."""

Seconds = Sequence[Mapping[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 0.75])
    parser.add_argument("--folder", type=Path, default=Path("cut_runs"))
    parser.add_argument("--configfile", type=Path, action="append", default=[])
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    files = [str(path.resolve()) for path in given.configfile]
    for name in given.runs:
        for seed in given.seeds:
            run = Run(folder, name if not seed else f"{name}-seed{seed}", files)
            rows += [{"run": name, "seed": seed, **row} for row in run.rows(given.shares)]
            (folder / "cut_runs.json").write_text(json.dumps({"rows": rows}, indent=1), encoding="utf-8")


class Run:
    """A run that has been done in full."""

    def __init__(self, folder: Path, name: str, configfiles: Sequence[str]) -> None:
        self.folder, self.name, self.configfiles = folder, name, configfiles
        self.where = folder / "results" / "runs" / name
        self.full = folder / f"{name}-full.json"
        if not self.full.is_file():
            # for rungs and predictions; what it has cut all the same, on a machine with other work, is then made up for
            self.call(f"deadline={int(DAY / 60)}")
            budget = read(self.where / "budget.json")
            self.full.write_text(json.dumps({"score": self.call(), "budget": budget}))
        kept = read(self.full)
        self.score, self.budget = kept["score"], kept["budget"]
        self.tasks = {task.id: task for task in read_tasks(folder / f"results/tasks/{self.score['data']['name']}.json")}
        self.folds = read(self.where / "folds.json")["folds"]
        self.stores = {step: Path(folder, self.score["steps"][stage]) for step, stage in STAGES.items()}
        self.worth = [self.worth_of(fold) for fold in range(len(self.folds))]
        self.seconds = [{step: self.seconds_of(step, fold) for step in STEPS} for fold in range(len(self.folds))]

    def call(self, *config: str) -> dict[str, Any]:
        """Calls snakemake with this; gives the score."""
        target = f"results/score_{self.name}.json"
        command = ["snakemake", "-s", str(ROOT / "Snakefile"), target, "--cores", "2"]
        command += ["--config", *config] if config else []
        if self.configfiles:
            command += ["--configfile", *self.configfiles]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{done.stdout}{done.stderr}\nerror: {' '.join(command)} failed")
        return dict(read(self.folder / target))

    def seconds_of(self, step: str, fold: int) -> float:
        path = self.stores[step] / (f"fold-{fold}" if step == "training" else f"fold-{fold}.json")
        record = read(Path(report_of(str(path))) if step == "training" else path)["provenance"]
        return float(record["cpu_seconds"] if record["device"]["kind"] == "cpu" else record["seconds"]["total"])

    def order(self, order: str) -> list[int]:
        lengths = prompt_lengths(list(self.tasks.values()))
        by_length = {fold: sum(lengths[task] for task in tasks) for fold, tasks in enumerate(self.folds)}
        by_id = {fold: tasks[0] for fold, tasks in enumerate(self.folds)}
        return sorted(by_length, key=lambda fold: (by_length if order == "short first" else by_id)[fold])

    def rows(self, shares: Sequence[float]) -> list[dict[str, Any]]:
        whole, _ = simulate(self.empty(DAY), self.seconds, self.order("short first"))
        made = [{"order": "", "share": 1.0, "seconds": round(whole, 1), "score": self.score["score"]}]
        print(f"{self.name}: {whole:.0f} s in full, score {self.score['score']:.2f}", flush=True)
        ended = {order: self.interrupted(self.order(order), shares, whole) for order in ORDERS}
        draws = random.Random(0)
        drawn = [draws.sample(range(len(self.folds)), len(self.folds)) for _ in range(ANY)]
        mean = [
            sum(each) / ANY for each in zip(*(self.interrupted(order, shares, whole) for order in drawn), strict=True)
        ]
        for place, share in enumerate(shares):
            for order in ORDERS:
                row = {"order": order, "share": share, "interrupted": round(ended[order][place], 2)}
                row |= {"interrupted_in_any_order": round(mean[place], 2), **self.cut(order, share, whole)}
                made.append(row)
                print(f"{self.name}, {100 * share:.0f} %, {order}: {row}", flush=True)
        return made

    def empty(self, stop: float) -> dict[str, Any]:
        """The budget, of which nothing is decided, with a clock that begins at 0."""
        made = {**copy.deepcopy(self.budget), "clock": {"began": 0.0, "deadline": stop, "stop": stop}}
        made["folds"] = {fold: {"steps": {}} for fold in made["folds"]}
        return made

    def cut(self, order: str, share: float, whole: float) -> dict[str, Any]:
        """What the run scores with a part of its time."""
        budget = self.empty(share * whole)
        ended, _ = simulate(budget, self.seconds, self.order(order))
        for entry in budget["folds"].values():
            for step in entry["steps"].values():
                for key in ("seconds", "measured"):
                    step.pop(key, None)
        path = self.folder / f"{self.name}-{share:g}-{order.replace(' ', '-')}.json"
        path.write_text(json.dumps(budget), encoding="utf-8")
        kept = path.with_suffix(".score.json")
        if not kept.is_file():
            kept.write_text(json.dumps(self.call(f"budget={path}")), encoding="utf-8")
        score = read(kept)
        steps = [entry["steps"].values() for entry in budget["folds"].values()]
        rungs = [max((of["rung"] for of in each), default=None) for each in steps]
        return {
            "score": score["score"], "oracle": score["oracle"], "dropped": len(score["failed"]),
            "seconds": round(ended, 1), "rungs": rungs,
        }  # fmt: skip

    def interrupted(self, order: Sequence[int], shares: Sequence[float], whole: float) -> list[float]:
        """The scores of the submissions so far of a run that is not cut, when these parts of its time are over."""
        _, log = simulate(self.empty(DAY), self.seconds, order)
        made = []
        for share in shares:
            last = {fold: step for now, fold, step in log if now <= share * whole and step != "training"}
            made.append(sum(self.worth[fold][last.get(fold, "training")] for fold in order))
        return [100 * each / len(self.tasks) for each in made]

    def worth_of(self, fold: int) -> dict[str, float]:
        """How many of its tasks the submission so far solves, with fallbacks, behind the search, and at the end."""
        method = self.score["provenance"]["run"]["settings"]["selection"]["method"]
        of_fold, made = [self.tasks[task] for task in self.folds[fold]], {}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / so_far.NAME
            so_far.begin(path, of_fold, goes_on=False)
            for step in STEPS:
                if step != "training":
                    found = read(self.stores[step] / f"fold-{fold}.json")["tasks"]
                    so_far.improve(path, of_fold, found, method)
                made[step] = solved(read_submission(path, of_fold), of_fold)
        return made


def simulate(budget: dict[str, Any], seconds: Seconds, order: Sequence[int]) -> tuple[float, list[Any]]:
    """Lets the folds take their steps on the budget's devices in this order; the last end, and when each step ended."""
    waiting, ended, log = list(order)[::-1], 0.0, []
    events: list[tuple[float, int, int | None, int]] = [(0.0, device, None, 0) for device in range(budget["devices"])]
    while events:
        now, device, fold, place = heapq.heappop(events)
        if fold is not None:
            entry = budget["folds"][str(fold)]
            del entry["running"]
            entry["steps"][STEPS[place]] |= {"seconds": now - entry["steps"][STEPS[place]]["began"], "measured": True}
            del entry["steps"][STEPS[place]]["began"]
            log.append((now, fold, STEPS[place]))
            ended, place = max(ended, now), place + 1
        if fold is None or place == len(STEPS):
            if not waiting:
                continue
            fold, place = waiting.pop(), 0
        rung, said = decide(budget, fold, STEPS[place], now)
        entry = budget["folds"][str(fold)]
        if rung is None:
            entry["dropped"] = said
            heapq.heappush(events, (now, device, None, 0))
            continue
        note_decision(budget, fold, STEPS[place], rung, now)
        full, predicted = (budget["predicted"][fold][of][place] for of in (0, rung))
        lasts = seconds[fold][STEPS[place]] * predicted / full if full and predicted else LEAST
        entry["steps"][STEPS[place]]["began"] = now
        entry.setdefault("running", {"step": STEPS[place], "since": now})
        heapq.heappush(events, (now + lasts, device, fold, place))
    return ended, log


def solved(attempts: Mapping[str, Any], tasks: Sequence[Task]) -> float:
    """How many tasks are solved, parts of one included."""
    return sum(
        sum(pair.output in of_input for pair, of_input in zip(task.test, attempts[task.id], strict=True))
        / len(task.test)
        for task in tasks
    )


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

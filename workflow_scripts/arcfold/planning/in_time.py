"""One fold of a run under a deadline: its steps one after the other, each with the settings that there is time for.

A step is the job of the ordinary rule, done inside this one: what it makes stands in the store under the key of the
settings that it had, with its own log and record. So a fold that was not cut is the full run's, and no full run ever
finds the files of a cut one. At the end the run's folder gets its links:

    results/runs/{run}/candidates/fold-3.json -> results/store/candidates/…/{key of the cut settings}/fold-3.json
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcfold.arc.folds import read_fold, read_folds
from arcfold.arc.tasks import tasks_by_id
from arcfold.jobs import checksums
from arcfold.jobs.files import hash_of, one_line, read_json
from arcfold.jobs.holes import leave_hole
from arcfold.jobs.inside import is_done, job_inside, run_inside
from arcfold.jobs.provenance import read_provenance
from arcfold.jobs.records import record_path
from arcfold.jobs.request import SCRIPTS, Request
from arcfold.jobs.sources import hash_of_code
from arcfold.planning import so_far
from arcfold.planning.budget import STEPS, Decision, Ledger, OutOfTime, predictions
from arcfold.planning.here import device_name
from arcfold.planning.plan import STEPS as STEP_OF_RULE
from arcfold.planning.rates import find_rates, guessed_rates
from arcfold.planning.subjects import subject_of
from arcfold.planning.truth import worked
from arcfold.runs.links import link
from arcfold.runs.runs import KEY_LENGTH, keep_keys, stage_settings, store_path
from arcfold.runs.steps import report_of

RULES = {step: rule for rule, step in STEP_OF_RULE.items()}
STAGES = {"training": "adapters", "search": "candidates", "rescoring": "rescored"}
KNOWN = Path(".snakemake/arcfold/known/code.json")
KEYS = Path(".snakemake/arcfold/keys")


@dataclass(frozen=True)
class Fold:
    """What the job of a fold is given."""

    number: int
    run: Mapping[str, Any]
    """As `Run.to_json` gives it."""
    inputs: Mapping[str, Any]
    """`tasks`, `folds`, `model` and `weights` of the base model, `init`: the adapter to start from, or none."""
    base: str
    loading: Mapping[str, str]
    cache_gib: float | str
    keep_adapters: bool
    gpus: int
    threads: int
    config: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        return Path("results/runs", self.run["name"])

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / "budget.json")

    def links(self) -> list[Path]:
        """What the run's folder has of the fold: adapter, or the report of one that does not stay, and files."""
        name = f"fold-{self.number}"
        adapter = name if self.keep_adapters else f"{name}.json"
        return [self.folder / "adapters" / adapter] + [
            self.folder / stage / f"{name}.json" for stage in ("candidates", "rescored")
        ]

    def store(self, step: str, settings: Mapping[str, Any]) -> str:
        """The folder of a step's files, under the key of these settings of all sections."""
        return store_path(STAGES[step], self.run["dataset"], self.run["folds"], self.run["seed"], settings)

    def paths(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """What the steps make with these settings."""
        ends = {"training": "", "search": ".json", "rescoring": ".json"}
        return {step: f"{self.store(step, settings)}/fold-{self.number}{end}" for step, end in ends.items()}

    def job(self, step: str, settings: Mapping[str, Any]) -> Request:
        """The ordinary job of a step, with these settings of all sections."""
        rule, paths, given = RULES[step], self.paths(settings), self.inputs
        params: dict[str, Any] = {
            "threads": self.threads,
            "script": rule,
            "of_a_fold": True,
            "base": self.base,
            "loading": dict(self.loading),
            "seed": self.run["seed"],
        }
        inputs: dict[str, Any] = {key: given[key] for key in ("tasks", "folds", "model", "weights")}
        output: dict[str, str] | list[str] = [paths[step]]
        if step == "training":
            inputs["init"] = given["init"]
            output = {"folder": paths["training"]}
            if not self.keep_adapters:
                output = {"report": f"{paths['training']}.json", **output}
        else:
            params["cache_gib"] = self.cache_gib
            inputs["adapter"] = paths["training"]
        if step == "rescoring":
            del inputs["folds"]
            inputs["candidates"] = paths["search"]
            params["longest"] = settings["search"]["longest"]
        params["settings"] = settings[step]
        params["code"] = hash_of_code(SCRIPTS / f"{rule}.py", known=KNOWN)
        folder = self.store(step, settings).removeprefix("results/store/").partition("/")[2]
        _, split, key = folder.split("/")
        return job_inside(
            rule,
            config=self.config,
            threads=self.threads,
            input=inputs,
            output=output,
            params=params,
            wildcards={"dataset": self.run["dataset"], "split": split, "key": key, "fold": str(self.number)},
            resources={"gpu": self.gpus},
            log=[f"results/logs/{rule}/{folder}/fold-{self.number}.log"],
        )

    def settings(self, made: Mapping[str, Any]) -> dict[str, Any]:
        """The run's settings with its model, and with these sections in the place of its own."""
        return {"model": self.run["model"], **self.run["settings"], **made}


def do_fold(fold: Fold) -> None:
    """Does the steps of a fold that are not done yet, and links the run's folder to what they made.

    Raises OutOfTime where there is no time for one of them, and what the steps raise.
    """
    ledger, worked = fold.ledger, [0.0]
    ledger.begun(fold.number)
    try:
        _do_fold(fold, ledger, worked)
    except OutOfTime:
        raise
    except Exception as error:
        ledger.failed(fold.number, one_line(error, 300))
        raise
    finally:
        ledger.ended(fold.number, sum(worked))


def _do_fold(fold: Fold, ledger: Ledger, worked: list[float]) -> None:
    """worked: gets the seconds of each step"""
    ledger.predict(lambda budget: _predicted(fold, budget["rungs"]))
    tasks = tasks_by_id(fold.inputs["tasks"], read_fold(fold.inputs["folds"], fold.number))
    made: dict[str, Mapping[str, Any]] = {}
    whole = fold.settings({})
    if ledger.read()["clock"] is not None and _is_all_done(fold, whole):
        _note_all_done(fold, ledger, whole)
        _improve(fold, ledger, tasks, fold.paths(whole)["rescoring"])
        _link(fold, whole)
        return
    for step in STEPS:
        began = time.time()
        settings = _do_step(fold, ledger, step, made)
        worked.append(time.time() - began)
        made[step] = settings[step]
        if step != "training":
            _improve(fold, ledger, tasks, fold.paths(settings)[step])
    _link(fold, fold.settings(made))


def _do_step(fold: Fold, ledger: Ledger, step: str, made: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Does one step, and gives the settings of all sections that it had. made: those of the steps before it"""
    while True:
        decision = ledger.decide(fold.number, step)
        settings = fold.settings({**made, step: decision.settings})
        keep_keys(_keyed(settings, STAGES[step]), KEYS)
        job, seconds = fold.job(step, settings), None
        if not is_done(job):
            try:
                with stopped_by(decision, lambda: _stop(fold, step)):
                    run_inside(job)
            except Exception:
                # what the search has found can be answered without scores
                if step != "rescoring" or not ledger.lowered(fold.number, step):
                    raise
                continue
            seconds = _worked(fold.paths(settings)[step])
        ledger.done(fold.number, step, seconds, fold.store(step, settings))
        return settings


def _keyed(settings: Mapping[str, Any], stage: str) -> dict[str, Any]:
    content = stage_settings(stage, settings)
    return {hash_of(content, KEY_LENGTH): content}


def _predicted(fold: Fold, rungs: Sequence[Mapping[str, Any]]) -> tuple[list[list[list[float]]], bool]:
    """Seconds of all folds on all rungs, and whether there are rates of this model here."""
    dealt = [tasks_by_id(fold.inputs["tasks"], ids) for ids in read_folds(fold.inputs["folds"])]
    record = read_json(fold.inputs["model"], "model")
    subject = subject_of(fold.run, dealt, record, fold.base, fold.loading, fold.keep_adapters)
    device = device_name()
    found = find_rates(device, record, subject.size.parameters, fold.threads)
    rates = found[0] if found else guessed_rates(device, subject.size.parameters)
    # an adapter to start from has a rank of its own
    rank = {"rank": subject.settings["training"]["rank"]}
    of_rungs = [{**rung, "training": {**rung["training"], **rank}} for rung in rungs]
    return predictions(subject.works(), of_rungs, subject.size, rates), found is not None


def _is_all_done(fold: Fold, settings: Mapping[str, Any]) -> bool:
    """Whether the fold of the full run is there: it is taken, whatever the time is."""
    adapter = fold.paths(settings)["training"]
    if not is_done(fold.job("rescoring", settings), gone=() if fold.keep_adapters else (adapter,)):
        return False
    return fold.keep_adapters or Path(report_of(f"{adapter}.json")).is_file()


def _note_all_done(fold: Fold, ledger: Ledger, settings: Mapping[str, Any]) -> None:
    with ledger.changed() as budget:
        entry = budget["folds"][str(fold.number)]
        entry.pop("dropped", None)
        for step in STEPS:
            there = {"rung": 0, "cut": {}, "predicted": None, "seconds": 0.0}
            entry["steps"][step] = {**there, "store": fold.store(step, settings)}


def _improve(fold: Fold, ledger: Ledger, tasks: Sequence[Any], path: str) -> None:
    found = read_json(path)["tasks"]
    with ledger.locked():
        so_far.improve(fold.folder / so_far.NAME, tasks, found, fold.run["settings"]["selection"]["method"])


def _worked(path: str) -> float:
    """Seconds that a step has worked, as its file says."""
    record = f"{path}.json" if Path(f"{path}.json").is_file() else path if path.endswith(".json") else report_of(path)
    return worked(read_provenance(record)["seconds"])


@contextlib.contextmanager
def stopped_by(decision: Decision, stop: Callable[[], None]) -> Iterator[None]:
    """A block that is stopped when its time is over, wherever it is: a Python loop, or a kernel that hangs."""
    if decision.ends_by is None:
        yield
        return
    timer = threading.Timer(max(decision.ends_by - time.time(), 0.0), stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _stop(fold: Fold, step: str) -> None:
    """Ends this worker with all that it has begun; the client starts another, and the job begins again."""
    if (dropped := fold.ledger.stopped(fold.number, step)) is not None:
        for path in fold.links():
            leave_hole(path, "fold_in_time", OutOfTime(dropped))
    print(f"fold {fold.number}: the {step} took too long and is stopped", file=sys.stderr, flush=True)
    os.killpg(0, signal.SIGKILL)


def _link(fold: Fold, settings: Mapping[str, Any]) -> None:
    paths = fold.paths(settings)
    stays = paths["training"] if fold.keep_adapters else f"{paths['training']}.json"
    for path, target in zip(fold.links(), (stays, paths["search"], paths["rescoring"]), strict=True):
        link(path, target)
    if fold.keep_adapters:
        return
    shutil.rmtree(paths["training"], ignore_errors=True)
    checksums.drop([paths["training"]])
    if (record := record_path(paths["training"])) is not None:
        record.unlink(missing_ok=True)

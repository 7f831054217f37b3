"""The time of a run under a deadline, dealt out: results/runs/{run}/budget.json.

Each fold is one job, whose steps are training, search and rescoring. Before a step its job asks `decide` which rung of
the run's settings (`rungs`) it takes: the first one with which all that is left fits into the time that is left. What
is left is a list schedule of the folds on the devices, in predicted seconds times what the steps so far took of theirs.

    two folds of 100 s a rung 0, 60 s a rung 1, one device, 130 s left: rung 1 for the first
    it took 45 s, so that predictions are 0.75 of what they say: 85 s left, 75 s for the second on rung 0

A step that takes far longer than predicted is stopped, and begun again on the last rung. A fold for which even that one
has no time is dropped. A step's decision is written down before the step begins, and is made once: a budget that is
given to another run as `budget` is looked up there, without a clock, and gives the same bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from arcfold.arc.tasks import Task
from arcfold.jobs.client import DEATHS
from arcfold.jobs.files import Declined, InputError, hash_of, read_json, write_json
from arcfold.jobs.holes import OUT_OF_TIME
from arcfold.models.sizes import ModelSize
from arcfold.planning import overhead, so_far
from arcfold.planning.costs import FoldWork, fold_seconds
from arcfold.planning.overhead import is_over, seconds_of_job
from arcfold.planning.plan import span
from arcfold.planning.rates import Rates
from arcfold.planning.rungs import cuts
from arcfold.planning.schedule import schedule
from arcfold.planning.work import PromptWork, TrainingWork

Work = TypeVar("Work", TrainingWork, PromptWork)

STEPS = ("training", "search", "rescoring")
"""Of a fold, in their order; each has a section of the settings of that name."""
MARGIN = 1.05
"""What a schedule is taken to be too short."""
PATIENCE = 4.0
"""A step that takes so many times its prediction is stopped."""
SPARE = 0.25
"""Part of the time that nobody needs which a step may take besides: what is slow need not be stopped for nothing."""
GRACE = 30.0
"""Seconds that a step may take in any case, if there are as many left."""
TRUST, DOUBT = 1.0, 0.05
"""How many measured steps a prediction is worth: with rates of the model and device, and without."""


class OutOfTime(Declined):
    """There is no time for a fold."""

    def __init__(self, said: str) -> None:
        super().__init__(f"{OUT_OF_TIME}: {said}")


@dataclass(frozen=True)
class Decision:
    """What a step of a fold is to do."""

    rung: int
    settings: Mapping[str, Any]
    """Of its section."""
    ends_by: float | None
    """When it is stopped, in seconds since the epoch; None without a clock."""


def predictions(
    works: Sequence[FoldWork], rungs: Sequence[Mapping[str, Mapping[str, Any]]], size: ModelSize, rates: Rates
) -> list[list[list[float]]]:
    """Seconds of the steps of each fold on each rung (F, R, 3). works: what each fold has to do on the first rung"""
    return [[_seconds(_on_rung(work, rungs[0], rung), rung, size, rates) for rung in rungs] for work in works]


def _seconds(work: FoldWork, rung: Mapping[str, Mapping[str, Any]], size: ModelSize, rates: Rates) -> list[float]:
    made = fold_seconds(work, size, rung, rates)
    return [round(getattr(made, step), 3) if rung[step].get("views") != 0 else 0.0 for step in STEPS]


def _on_rung(work: FoldWork, full: Mapping[str, Mapping[str, Any]], rung: Mapping[str, Mapping[str, Any]]) -> FoldWork:
    """The work of a fold on another rung, to within what its views differ in."""

    def share(section: str, *keys: str) -> float:
        made = 1.0
        for key in keys:
            made *= rung[section][key] / full[section][key]
        return made

    return FoldWork(
        _scaled(work.training, share("training", "epochs", "views")),
        _scaled(work.search, share("search", "views")),
        _scaled(work.rescoring, share("rescoring", "views")),
    )


def _scaled(work: Work, share: float) -> Work:
    names = [name for name in ("steps", "samples", "prompts", "tokens", "squares") if hasattr(work, name)]
    scaled: dict[str, Any] = {name: round(getattr(work, name) * share) for name in names}
    if isinstance(work, PromptWork):
        scaled["reply_tokens"] = work.reply_tokens * share
    return replace(work, **scaled)


def new_budget(
    run: Mapping[str, Any], rungs: Sequence[Mapping[str, Any]], devices: int, clock: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A budget of which nothing is decided. clock: `began`, `deadline` and `stop`, seconds since the epoch"""
    return {
        "run": run["name"],
        "key": key_of(run, rungs),
        "clock": None if clock is None else dict(clock),
        "devices": devices,
        "rungs": [{section: dict(rung[section]) for section in STEPS} for rung in rungs],
        "folds": {str(fold): {"steps": {}} for fold in range(run["folds"])},
    }


def begin(
    path: Path,
    run: Mapping[str, Any],
    rungs: Sequence[Mapping[str, Any]],
    tasks: Sequence[Task],
    *,
    devices: int,
    folds: Collection[int],
    clock: Mapping[str, Any] | None,
    replayed: Mapping[str, Any] | None,
) -> None:
    """Writes the budget of a call of the command, and the fallback's answers where there are no better ones yet.

    folds: those whose job will run; clock: None where a budget is replayed, `replayed`
    Raises InputError for a budget of another run.
    """
    budget, ledger = new_budget(run, rungs, devices, clock), Ledger(path)
    try:
        earlier = ledger.read() if replayed is None else replayed
    except InputError:  # none, or damaged
        earlier = None
    same = earlier is not None and earlier["key"] == budget["key"]
    if replayed is not None and not same:
        raise InputError(
            f"budget: that of run {replayed['run']} with other settings, tasks or seed than {run['name']}, "
            "expected one of the same run"
        )
    if earlier is not None and same:
        budget = taken_over(budget, earlier, replayed=replayed is not None)
    for fold in range(run["folds"]):
        if fold not in folds:
            budget["folds"][str(fold)]["there"] = True
    answers = path.with_name(so_far.NAME)
    so_far.begin(answers, tasks, goes_on=same and replayed is None)
    for fold in sorted(set(range(run["folds"])) - set(folds)):
        with contextlib.suppress(InputError):
            found = read_json(path.parent / "rescored" / f"fold-{fold}.json", "rescored")["tasks"]
            so_far.improve(answers, tasks, found, run["settings"]["selection"]["method"])
    write_json(path, budget, "budget")


def key_of(run: Mapping[str, Any], rungs: Sequence[Mapping[str, Any]]) -> str:
    """What a budget is for: two runs that agree on it can replay each other's."""
    content = {key: run[key] for key in ("dataset", "folds", "seed", "model")}
    return hash_of({**content, "rungs": [dict(rung) for rung in rungs]}, 12)


def taken_over(budget: Mapping[str, Any], earlier: Mapping[str, Any], *, replayed: bool) -> dict[str, Any]:
    """A new budget with what was decided and done in an earlier one of the same run.

    replayed: also of folds that were dropped; else these are tried again
    """
    made, rungs = dict(budget), budget["rungs"]
    steps = [of for entry in earlier["folds"].values() for of in entry["steps"].values()]
    if list(earlier["folds"]) != list(budget["folds"]) or any(of["rung"] >= len(rungs) for of in steps):
        raise InputError("budget: its folds or rungs are not those of its run (edited?), expected them")
    for fold, entry in earlier["folds"].items():
        done: dict[str, Any] = {}
        for step, of in entry["steps"].items():
            # what was cut follows from the rung
            decided = {"rung": of["rung"], "cut": cuts({step: rungs[0][step]}, {step: rungs[of["rung"]][step]})}
            decided |= {"cut": decided["cut"].get(step, {}), "predicted": None}
            if replayed:
                done[step] = decided
            elif of.get("seconds") is not None:
                done[step] = {**of, "cut": decided["cut"]}
        made["folds"][fold] = {"steps": done}
        if replayed and entry.get("dropped"):
            made["folds"][fold]["dropped"] = entry["dropped"]
    shape = [len(of_fold) for of_fold in earlier.get("predicted", ())]
    if not replayed and "measured_rates" in earlier and shape == [len(rungs)] * len(budget["folds"]):
        made |= {key: earlier[key] for key in ("predicted", "measured_rates")}
    return made


class Ledger:
    """The file of a budget, which the jobs of all folds read and write."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def read(self) -> dict[str, Any]:
        """Raises InputError where there is none, or one of another form."""
        content: dict[str, Any] = read_json(self.path, "budget")
        return content

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """In the block no other process changes the budget or the submission so far."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def changed(self) -> Iterator[dict[str, Any]]:
        """The budget, written back at the end of the block."""
        with self.locked():
            content = self.read()
            yield content
            write_json(self.path, content, "budget")

    def decide(self, fold: int, step: str) -> Decision:
        """What a step of a fold is to do, written down. Raises OutOfTime if there is no time for it."""
        with self.changed() as budget:
            now = time.time()
            rung, said = decide(budget, fold, step, now)
            if rung is not None:
                return note_decision(budget, fold, step, rung, now)
            entry = budget["folds"][str(fold)]
            entry.pop("running", None)
            entry["dropped"] = said
        raise OutOfTime(said)

    def predict(self, made: Callable[[dict[str, Any]], tuple[list[list[list[float]]], bool]]) -> None:
        """Lets the first job that comes write the predictions down, and whether they have rates behind them."""
        with self.changed() as budget:
            if "predicted" not in budget and budget["clock"] is not None:
                budget["predicted"], budget["measured_rates"] = made(budget)

    def done(self, fold: int, step: str, seconds: float | None, store: str) -> None:
        """A step has ended. seconds: of its work, None where its result was there already; store: its folder"""
        with self.changed() as budget:
            entry = budget["folds"][str(fold)]
            entry.pop("running", None)
            of = entry["steps"][step]
            of["store"] = store
            # one that was there has a time from when it was made, or counts as nothing that was measured
            of.setdefault("seconds", 0.0)
            if seconds is not None:
                of["seconds"], of["measured"] = round(seconds, 3), True

    def lowered(self, fold: int, step: str) -> bool:
        """Lets a step that has failed be decided once more, for the last rung; False if that is what failed."""
        with self.changed() as budget:
            entry = budget["folds"][str(fold)]
            return _lower(budget, entry, step)

    def begun(self, fold: int) -> None:
        """The job of a fold begins."""
        with self.changed() as budget:
            overhead.begin(budget, fold)

    def ended(self, fold: int, worked: float) -> None:
        """It ends. worked: seconds that its steps took in this job"""
        with self.changed() as budget:
            overhead.end(budget, fold, time.time(), worked)

    def failed(self, fold: int, reason: str) -> None:
        """A fold has failed, whose time is for the others."""
        with self.changed() as budget:
            entry = budget["folds"][str(fold)]
            entry.pop("running", None)
            entry["failed"] = reason

    def stopped(self, fold: int, step: str) -> str | None:
        """A step is stopped since it took too long. Why the fold is dropped, if that was its last chance."""
        with self.changed() as budget:
            entry = budget["folds"][str(fold)]
            entry["stops"] = entry.get("stops", 0) + 1
            if _lower(budget, entry, step) and entry["stops"] < DEATHS:
                return None
            entry["dropped"] = f"the {step} was stopped, since it took too long"
            return str(entry["dropped"])


def _lower(budget: Mapping[str, Any], entry: dict[str, Any], step: str) -> bool:
    entry.pop("running", None)
    rung = entry["steps"].pop(step)["rung"]
    entry["lowered"] = [*entry.get("lowered", ()), step]
    return bool(rung < len(budget["rungs"]) - 1)


def decide(budget: Mapping[str, Any], fold: int, step: str, now: float) -> tuple[int | None, str]:
    """The rung that a step of a fold takes; None, and why, if there is no time for it."""
    entry, clock = budget["folds"][str(fold)], budget["clock"]
    if step in entry["steps"]:
        return int(entry["steps"][step]["rung"]), ""
    if clock is None:
        return None, entry.get("dropped") or "the budget that is replayed ends before"
    last, left = len(budget["rungs"]) - 1, clock["stop"] - now
    ratio = ratios(budget)
    first = last if step in entry.get("lowered", ()) else 0
    for rung in range(first, last + 1):
        if _all_that_is_left(budget, fold, step, rung, now, ratio) * MARGIN <= left:
            return rung, ""
    mine = _left_of(budget, fold, step, last, ratio)
    # whoever is behind must at least be told that there is no time
    left -= _to_tell(budget, fold)
    if mine <= max(left, 0.0) or (left > 0 and not _is_known(budget, step)):
        return last, ""
    return None, f"{span(max(left, 0.0))} are left for the {step} and what follows, which need {span(mine)}"


def note_decision(budget: dict[str, Any], fold: int, step: str, rung: int, now: float) -> Decision:
    """Writes a decision into the budget, and says what follows of it."""
    entry = budget["folds"][str(fold)]
    settings = budget["rungs"][rung][step]
    cut = cuts({step: budget["rungs"][0][step]}, {step: settings}).get(step, {})
    ratio = ratios(budget)
    predicted = budget["predicted"][fold][rung][STEPS.index(step)] if "predicted" in budget else None
    entry["steps"].setdefault(step, {"rung": rung, "cut": cut, "predicted": predicted})
    for over in ("dropped", "failed"):
        entry.pop(over, None)
    ends_by = None
    if budget["clock"] is not None and predicted:
        entry["running"] = {"step": step, "since": round(now, 3)}
        expected = None
        if _is_known(budget, step):
            spare = budget["clock"]["stop"] - now - _all_that_is_left(budget, fold, step, rung, now, ratio)
            expected = max(PATIENCE * predicted * ratio[step], GRACE) + SPARE * max(spare, 0.0)
        ends_by = _end_of(budget, fold, step, rung, now, ratio, expected)
    return Decision(rung, settings, ends_by)


def _end_of(
    budget: Mapping[str, Any],
    fold: int,
    step: str,
    rung: int,
    now: float,
    ratio: Mapping[str, float],
    expected: float | None,
) -> float:
    """When a step is stopped: it leaves time for what follows, and, if there is a rung below, for itself once more.

    expected: seconds that it may take by its prediction; None where that is a guess, and a fair part of the time counts
    """
    left, last = budget["clock"]["stop"] - now - _to_tell(budget, fold), len(budget["rungs"]) - 1
    if expected is not None:
        most = left - _left_of(budget, fold, step, last, ratio, behind=rung == last)
    else:
        open_folds = sum(not is_over(each) for each in budget["folds"].values())
        expected = PATIENCE * left * budget["devices"] / max(open_folds, budget["devices"])
        most = left if rung == last else left / 2
    return now + max(min(most, expected), 0.0)


def ratios(budget: Mapping[str, Any]) -> dict[str, float]:
    """What the steps so far took, for each second that was predicted of them.

    Where predictions are guesses, a kind of step that nobody has seen is taken to be as far off as the others.
    """
    predicted = budget.get("predicted")
    if not predicted:
        return dict.fromkeys(STEPS, 1.0)
    weight = TRUST if budget.get("measured_rates") else DOUBT
    priors = [
        weight * sum(of_fold[0][number] for of_fold in predicted) / len(predicted) for number in range(len(STEPS))
    ]
    seen = {step: _seen(budget, step) for step in STEPS}
    common = 1.0
    if not budget.get("measured_rates") and (planned := sum(each for _, each in seen.values()) + sum(priors)):
        common = (sum(each for each, _ in seen.values()) + sum(priors)) / planned
    made = {}
    for step, prior in zip(STEPS, priors, strict=True):
        true, planned = seen[step]
        made[step] = (true + prior * common) / (planned + prior) if planned + prior else 1.0
    return made


def _seen(budget: Mapping[str, Any], step: str) -> tuple[float, float]:
    """Seconds that the jobs of a step took, and those that were predicted of them."""
    measured = [
        of
        for entry in budget["folds"].values()
        if (of := entry["steps"].get(step, {})).get("measured") and of["predicted"]
    ]
    return sum(of["seconds"] for of in measured), sum(of["predicted"] for of in measured)


def _is_known(budget: Mapping[str, Any], step: str) -> bool:
    """Whether predictions of a step say more than a guess."""
    return bool(budget.get("measured_rates")) or _seen(budget, step)[1] > 0


def _left_of(
    budget: Mapping[str, Any], fold: int, step: str, rung: int, ratio: Mapping[str, float], *, behind: bool = False
) -> float:
    """Seconds of a step of a fold and of those after it on a rung; behind: without the step itself."""
    first = STEPS.index(step) + behind
    seconds = budget["predicted"][fold][rung] if "predicted" in budget else [0.0] * len(STEPS)
    return sum(seconds[number] * ratio[STEPS[number]] for number in range(first, len(STEPS)))


def _to_tell(budget: Mapping[str, Any], fold: int) -> float:
    """Seconds that the jobs of all folds behind this one take if there is no time for any of them."""
    waiting = sum(
        int(name) != fold and "running" not in entry and len(entry["steps"]) < len(STEPS) and not is_over(entry)
        for name, entry in budget["folds"].items()
    )
    return seconds_of_job(budget) * waiting / budget["devices"]


def _all_that_is_left(
    budget: Mapping[str, Any], fold: int, step: str, rung: int, now: float, ratio: Mapping[str, float]
) -> float:
    """Seconds until all folds are done if what is not decided takes a rung; fold and step: whose job asks."""
    mine = _left_of(budget, fold, step, rung, ratio)
    busy: list[tuple[float, float]] = []
    waiting: list[list[float]] = []
    for name, entry in budget["folds"].items():
        if int(name) == fold or is_over(entry):
            continue
        if "running" in entry:
            running, since = entry["running"]["step"], entry["running"]["since"]
            own = (entry["steps"][running]["predicted"] or 0.0) * ratio[running] - (now - since)
            busy.append((since, max(own, 0.0) + _left_of(budget, int(name), running, rung, ratio, behind=True)))
            continue
        rest = next((each for each in STEPS if entry["steps"].get(each, {}).get("seconds") is None), None)
        if rest is not None:
            waiting.append([_left_of(budget, int(name), rest, rung, ratio)])
    # a fold whose job died without a word still runs here; the youngest ones are those that do
    others = [seconds for _, seconds in sorted(busy, reverse=True)[: budget["devices"] - 1]]
    free = [mine, *others, *[0.0] * (budget["devices"] - 1 - len(others))]
    made = schedule(waiting, budget["devices"], each=seconds_of_job(budget), free=free)
    return max(made.seconds, mine, *others) if others else max(made.seconds, mine)

"""The plan of a run: what its jobs have to do, how long they take on some devices, and whether all of it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arcfold.arc.tasks import Task
from arcfold.arc.text import Codec
from arcfold.jobs.files import InputError
from arcfold.models.sizes import BYTES, ModelSize
from arcfold.planning.costs import (
    CANDIDATES,
    SAVED,
    FoldSeconds,
    FoldWork,
    fold_seconds,
    prompt_bytes,
    training_bytes,
    weight_bytes,
)
from arcfold.planning.rates import Rates
from arcfold.planning.schedule import schedule
from arcfold.planning.work import PromptWork, TrainingWork, prompt_work, total, training_work

MIB = 2**20
STEPS = {"train_adapter": "training", "search_candidates": "search", "rescore_candidates": "rescoring"}
"""The rules of a fold, and what their part of the work is called."""
JOB_SECONDS = 0.15
"""What Snakemake takes to start a job and to look at its outputs."""
SCRIPTS = 8
"""Small scripts, one after the other: a Snakemake that reads the workflow counts as three, then challenges and folds,
behind the folds links, submission and score."""
KEPT_CHECKPOINTS = 3
"""The two newest of a training, and the one that is being written."""
CHECKPOINTS_FROM = 120.0
"""Seconds of a training from which on it has checkpoints."""


@dataclass(frozen=True)
class Subject:
    """What a plan is about: a run's folds with their tasks, and the model that they are trained on."""

    run: str
    seed: int
    folds: Sequence[Sequence[Task]]
    settings: Mapping[str, Any]
    """A section for each step."""
    model: str
    codec: Codec
    size: ModelSize
    quantization: str = "none"
    keep_adapters: bool = True

    def works(self) -> list[FoldWork]:
        """What each fold has to do."""
        return [fold_work(tasks, self.codec, self.seed, self.settings) for tasks in self.folds]


@dataclass(frozen=True)
class Machine:
    """Where a run is to take place."""

    device: str
    devices: int
    rates: Rates | None
    """None where nobody has measured the model on the device: a plan then has counts and no seconds."""
    source: str | None
    """The file of the rates."""
    cache_gib: float | str = "auto"
    free_disk: int = 0
    """Bytes."""
    present: int = 0
    """Bytes of the run's adapters that are there already."""


def fold_work(tasks: Sequence[Task], codec: Codec, seed: int, settings: Mapping[str, Any]) -> FoldWork:
    """What a fold of these tasks has to do; settings: a run's."""
    longest = settings["search"]["longest"]
    search, rescoring = (
        prompt_work(tasks, codec, seed, views=settings[section]["views"], longest=longest, purpose=purpose)
        for section, purpose in (("search", "inference views"), ("rescoring", "scoring views"))
    )
    return FoldWork(training_work(tasks, codec, seed, settings["training"]), search, rescoring)


def make_plan(subject: Subject, machine: Machine, limit: float) -> dict[str, Any]:
    """The content of results/plan_{run}.json but for its provenance. limit: seconds."""
    works = subject.works()
    training = total((work.training for work in works), TrainingWork)
    search = total((work.search for work in works), PromptWork)
    rescoring = total((work.rescoring for work in works), PromptWork)
    rates = machine.rates
    seconds = None if rates is None else [fold_seconds(work, subject.size, subject.settings, rates) for work in works]
    memory = _memory(subject, works, machine)
    steps = {
        "train_adapter": {"steps": training.steps, "tokens": training.tokens},
        "search_candidates": _prompts(search),
        "rescore_candidates": _prompts(rescoring),
    }
    of_rules = {
        rule: {
            "jobs": len(works),
            **counts,
            "seconds": None if seconds is None else _round(sum(getattr(each, STEPS[rule]) for each in seconds)),
            "peak_memory_mib": memory[rule],
        }
        for rule, counts in steps.items()
    }
    for rule in ("link_run", "select_attempts", "score_run"):
        of_rules[rule] = {"jobs": 1, "seconds": None if rates is None else _round(rates.script_seconds)}
    disk = disk_of(subject, machine, None if seconds is None else max(each.training for each in seconds))
    whole = None if seconds is None or rates is None else total_seconds(seconds, rates, machine.devices)
    return {
        "run": subject.run,
        "tasks": sum(map(len, subject.folds)),
        "test_inputs": search.inputs,
        "folds": len(works),
        "device": {"name": machine.device, "devices": machine.devices, "rates": machine.source,
                   "rates_of": None if rates is None else rates.model},
        "rules": of_rules,
        "epoch": _epoch(subject, works, machine),
        "seconds": None if whole is None else _round(whole),
        "limit": {"seconds": _round(limit), "fits": None if whole is None else whole <= limit},
        "disk": disk,
        "of_folds": [
            {
                "fold": fold,
                "steps": work.training.steps,
                "tokens": work.training.tokens,
                "prompt_tokens": work.search.tokens,
                "reply_tokens": round(work.search.reply_tokens),
                **({} if seconds is None else {
                    name: _round(getattr(seconds[fold], name)) for name in ("training", "search", "rescoring")
                }),
            }
            for fold, work in enumerate(works)
        ],
    }  # fmt: skip


def total_seconds(seconds: Sequence[FoldSeconds], rates: Rates, devices: int) -> float:
    """The time of a whole command, from its start to the score."""
    chains = [(each.training, each.search, each.rescoring) for each in seconds]
    made = schedule(chains, devices, start=rates.start_seconds, each=JOB_SECONDS)
    return made.seconds + SCRIPTS * rates.script_seconds


def _prompts(work: PromptWork) -> dict[str, int]:
    return {"prompts": work.prompts, "prompt_tokens": work.tokens, "reply_tokens": round(work.reply_tokens)}


def _epoch(subject: Subject, works: Sequence[FoldWork], machine: Machine) -> dict[str, Any]:
    """What one epoch of the trainings is, and what one more would cost."""
    epochs = subject.settings["training"]["epochs"]
    made: dict[str, Any] = {
        "epochs": epochs,
        "steps": round(sum(work.training.steps for work in works) / epochs, 1),
        "tokens": round(sum(work.training.tokens for work in works) / epochs),
        "device_seconds": None,
        "one_more_seconds": None,
    }
    if (rates := machine.rates) is not None:
        now, more = (
            [fold_seconds(_with_epochs(work, factor), subject.size, subject.settings, rates) for work in works]
            for factor in (1.0, (epochs + 1) / epochs)
        )
        made["device_seconds"] = _round(sum(b.training - a.training for a, b in zip(now, more, strict=True)))
        longer = total_seconds(more, rates, machine.devices) - total_seconds(now, rates, machine.devices)
        made["one_more_seconds"] = _round(longer)
    return made


def _with_epochs(work: FoldWork, factor: float) -> FoldWork:
    of = work.training
    scaled = TrainingWork(
        steps=round(of.steps * factor),
        samples=round(of.samples * factor),
        tokens=round(of.tokens * factor),
        squares=round(of.squares * factor),
        longest=of.longest,
    )
    return FoldWork(scaled, work.search, work.rescoring)


def _memory(subject: Subject, works: Sequence[FoldWork], machine: Machine) -> dict[str, int | None]:
    """Peak memory of each rule's largest job on the device, in MiB; None without rates."""
    rates = machine.rates
    if rates is None:
        return dict.fromkeys(STEPS)
    size, settings, number = subject.size, subject.settings, rates.number_type
    reply = subject.codec.longest_reply
    peaks = {
        "train_adapter": max(
            training_bytes(work.training, size, settings["training"], number, subject.quantization, rates)
            for work in works
        ),
        "search_candidates": max(
            prompt_bytes(work.search, size, reply, number, rates.memory, machine.cache_gib) for work in works
        ),
        "rescore_candidates": max(
            prompt_bytes(work.rescoring, size, round(CANDIDATES * reply), number, rates.memory, machine.cache_gib)
            for work in works
        ),
    }
    return {rule: round(peak / MIB) for rule, peak in peaks.items()}


def adapter_bytes(subject: Subject) -> int:
    """Bytes of one adapter's file."""
    training = subject.settings["training"]
    number = BYTES[training.get("saved_as", "float32")]
    return round(sum(subject.size.trained(training["rank"], training["targets"])) * number)


def disk_of(subject: Subject, machine: Machine, longest_training: float | None) -> dict[str, Any]:
    """The most that a run has on disk at a moment beside what is there, in MiB, and whether that fits.

    Adapters that are kept add up; temporary ones are one for each device, and one more that is about to be removed.
    Trainings of minutes leave checkpoints beside that, for the time of the training.
    """
    each, training = adapter_bytes(subject), subject.settings["training"]
    kept = len(subject.folds) if subject.keep_adapters else min(len(subject.folds), machine.devices + 1)
    adapters = max(each * kept - machine.present, 0)
    trained = sum(subject.size.trained(training["rank"], training["targets"]))
    has_checkpoints = longest_training is None or longest_training > CHECKPOINTS_FROM
    checkpoints = min(machine.devices, len(subject.folds)) * KEPT_CHECKPOINTS * SAVED * trained * has_checkpoints
    peak = adapters + checkpoints
    return {
        "adapter_mib": round(each / MIB, 1),
        "adapters_mib": round(adapters / MIB),
        "checkpoints_mib": round(checkpoints / MIB),
        "peak_mib": round(peak / MIB),
        "free_mib": round(machine.free_disk / MIB),
        "fits": peak <= machine.free_disk,
        "weights_mib": round(weight_bytes(subject.size, "bfloat16") / MIB),
    }


def check_disk(plan: Mapping[str, Any], keep_adapters: bool) -> None:
    """Raises InputError if a plan needs more room on the disk than there is."""
    disk = plan["disk"]
    if disk["fits"]:
        return
    remedy = "set keep_adapters: false in the config, or make room" if keep_adapters else "make room"
    raise InputError(
        f"run {plan['run']}: {_gib(disk['peak_mib'])} of disk at its peak ({plan['folds']} folds, an adapter of "
        f"{_gib(disk['adapter_mib'])} each), expected at most {_gib(disk['free_mib'])}, what is free there; {remedy}"
    )


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """A plan as a table for a terminal."""
    device = plan["device"]
    head = f"{plan['run']}: {plan['tasks']} tasks, {plan['test_inputs']} test inputs, {plan['folds']} folds"
    lines = [f"{head}; {device['devices']} × {device['name']}"]
    rows = [("rule", "jobs", "steps", "tokens", "prompt tokens", "reply tokens", "seconds", "peak MiB")]
    for rule, of in plan["rules"].items():
        cells = (of.get(key) for key in ("jobs", "steps", "tokens", "prompt_tokens", "reply_tokens", "seconds"))
        rows.append((rule, *map(_cell, cells), _cell(of.get("peak_memory_mib"))))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (cell.ljust(width) if not n else cell.rjust(width) for n, (cell, width) in
                          enumerate(zip(row, widths, strict=True)))  # fmt: skip
        lines.append("  ".join([f"  {first}", *others]).rstrip())
    epoch, limit, disk = plan["epoch"], plan["limit"], plan["disk"]
    more = "" if epoch["one_more_seconds"] is None else (
        f", {span(epoch['device_seconds'])} of a device; one more makes the run longer by "
        f"{span(epoch['one_more_seconds'])}"
    )  # fmt: skip
    lines.append(f"an epoch: {epoch['steps']:,.0f} steps, {epoch['tokens']:,} tokens{more}")
    if plan["seconds"] is None:
        lines.append(f"no rates of this model on {device['name']}, so no seconds: make results/calibration.json there")
    else:
        of = "" if device["rates_of"] is None else f" (rates of {device['rates_of']} in {device['rates']})"
        fits = "fits" if limit["fits"] else "does not fit"
        lines.append(f"all of it: {span(plan['seconds'])}{of}; {fits} into {span(limit['seconds'])}")
    fits = "fit" if disk["fits"] else "do not fit"
    lines.append(f"disk: {_gib(disk['peak_mib'])} at its peak {fits} into {_gib(disk['free_mib'])}")
    return lines


def span(seconds: float) -> str:
    """Seconds as a person says them: 48 s, 3 min 20 s, 7 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _cell(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _gib(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 102.4 else f"{mib:.1f} MiB"


def _round(seconds: float) -> float:
    return round(seconds, 2)

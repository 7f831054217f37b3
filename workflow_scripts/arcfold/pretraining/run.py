"""A whole training of a base model: shards in, a model folder out. The rule and the command line share it."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from arcfold.jobs.files import InputError, read_json
from arcfold.pretraining.adapting_score import AdaptingSettings, adapted_scores
from arcfold.pretraining.attention import Attention, make_attention
from arcfold.pretraining.base_folder import STATE, load_network, load_optimizer, save_model
from arcfold.pretraining.batches import Batches, BatchSettings, Store
from arcfold.pretraining.held_out import make_questions
from arcfold.pretraining.loop import (
    Group,
    Pretraining,
    PretrainingSettings,
    Progress,
    TrainingBudget,
    peak_mib,
    training_device,
)
from arcfold.pretraining.muon import OptimizerSettings
from arcfold.pretraining.network import Network, Shape
from arcfold.pretraining.shards import Shard, hash_of_shard, read_shard, unpack

HELD_OUT_VIEWS = 4


@dataclass(frozen=True)
class Plan:
    """What is trained, on what, and for how long."""

    shape: Shape
    mixture: Mapping[str, float]
    """Weights of the corpora by name."""
    batches: BatchSettings
    training: PretrainingSettings
    budget: TrainingBudget
    attention: str = "auto"
    workers: int = 0
    compiled: bool | None = None
    """Whether the layers are compiled; on CUDA if not given."""
    adapt_on: str | None = None
    """The held-out shard that copies of the trained model adapt to at the end, to see how well they do."""
    adapting: tuple[AdaptingSettings, ...] = (AdaptingSettings(),)


def plan_of(recipe: Mapping[str, Any], seed: int, workers: int = 0) -> Plan:
    """The plan of a recipe: what it does not say is as the classes of its parts have it.

    workers: processes that make batches
    """
    training = dict(recipe.get("training", {}))
    optimizer = OptimizerSettings(**training.pop("optimizer", {}))
    adapting = dict(recipe.get("adapting", {}))
    return Plan(
        shape=Shape(**recipe.get("shape", {})),
        mixture=recipe["corpora"],
        batches=BatchSettings(**recipe.get("batches", {}), seed=seed),
        training=PretrainingSettings(optimizer=optimizer, **training),
        budget=TrainingBudget(**recipe["budget"]),
        workers=workers,
        adapt_on=adapting.pop("to", None),
        adapting=(AdaptingSettings(**adapting),),
    )


@dataclass
class Outcome:
    """A trained model, on its device, and the report on it."""

    network: Network
    progress: Progress
    optimizer: Any
    report: dict[str, Any]


def train(
    plan: Plan,
    shards: Sequence[str | Path],
    held_out: Sequence[str | Path],
    *,
    resume: str | Path | None,
    started: float,
    group: Group | None = None,
) -> Outcome:
    """Trains as planned. All processes of a torchrun call this; each returns the same model.

    shards, held_out: shard folders or packed shards
    resume: a folder that a training of the same shape wrote
    started: time.monotonic() from which the budget's seconds count
    Raises InputError for shards, a mixture or a checkpoint that do not fit.
    """
    device = training_device()
    group = group or Group(device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.set_float32_matmul_precision("high")
    with _opened(shards) as parts, _opened(held_out) as asked:
        progress, optimizer_state = Progress(), None
        compiled = device.type == "cuda" if plan.compiled is None else plan.compiled
        if resume is None:
            network = Network(plan.shape, dtype=dtype, compiled=compiled)
            network.initialize(plan.batches.seed)
        else:
            network = load_network(resume, dtype=dtype, compiled=compiled)
            state = Path(resume) / STATE
            progress = Progress.from_json(read_json(state, "base_state")["progress"]) if state.is_file() else Progress()
            optimizer_state = load_optimizer(resume)
        network.to(device)
        group.share_weights(network)
        batches = Batches(Store(parts, plan.mixture), plan.batches, rank=group.rank)
        sets = {}
        for shard in asked:
            store = Store([shard], {shard.name: 1.0})
            sets[shard.name] = (store, make_questions(store, HELD_OUT_VIEWS, plan.batches.longest))
        kind, attention = working_attention(network, batches, plan.attention, device)
        training = Pretraining(
            network, batches, plan.training, group=group, attention=attention, workers=plan.workers,
            held_out=sets, progress=progress, optimizer_state=optimizer_state,
        )  # fmt: skip
        say(group, f"{parameters(network):,} parameters on {group.size} × {device}, attention {kind}, "
                   f"{time.monotonic() - started:.0f} s to the start")  # fmt: skip
        if plan.budget.steps != 0:
            progress = training.run(plan.budget, started)
        report: dict[str, Any] = {
            "shape": network.shape.to_json(),
            "parameters": parameters(network),
            "mixture": {shard.name: plan.mixture[shard.name] for shard in parts},
            "batches": asdict(plan.batches),
            "training": asdict(plan.training),
            "budget": asdict(plan.budget),
            "devices": group.size,
            "attention": kind,
            "resumed": resume is not None,
            "progress": progress.to_json(),
            "measured": {"seconds": round(time.monotonic() - started, 1), "peak_mib": peak_mib(device)},
        }
        if plan.adapt_on is not None:
            chosen = [shard for shard in asked if shard.name == plan.adapt_on]
            if not chosen:
                raise InputError(f"adapting: {plan.adapt_on!r} is none of the held-out shards")
            scores = adapted_scores(network, chosen[0], plan.adapting, plan.training.optimizer, group, kind)
            adapted = [
                {"to": plan.adapt_on, **asdict(trial), **score.to_json()}
                for trial, score in zip(plan.adapting, scores, strict=True)
            ]
            report["adapted"] = adapted
            for line in adapted:
                say(group, f"adapted: {line}, {time.monotonic() - started:.0f} s")
        return Outcome(network, progress, training.optimizer, report)


def working_attention(network: Network, batches: Batches, wanted: str, device: torch.device) -> tuple[str, Attention]:
    """The kind of attention to use, ready; `auto` is the first that computes a step on this device."""
    kinds = {"auto": ("flex", "varlen", "samples") if device.type == "cuda" else ("samples",)}.get(wanted, (wanted,))
    for kind in kinds:
        attention = make_attention(kind, batches.settings.tokens, batches.settings.longest, device)
        if kind == "samples":
            network.without_compiling()
        if len(kinds) == 1:
            break
        try:
            _time_steps(network, batches, attention, warm_up=1, steps=0)
            break
        except Exception as error:  # whatever a compiler may raise
            print(f"attention {kind} does not work here: {' '.join(str(error).split())[:300]}", file=sys.stderr)
    return kind, attention


def probe(plan: Plan, shards: Sequence[str | Path], steps: int) -> dict[str, Any]:
    """Tokens per second of each kind of attention, and of the making of batches in one process."""
    device = training_device()
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    found: dict[str, Any] = {}
    with _opened(shards) as parts:
        batches = Batches(Store(parts, plan.mixture), plan.batches)
        began = time.monotonic()
        for number in range(5):
            batches[number]
        found["batches"] = round(5 * plan.batches.tokens / (time.monotonic() - began))
        for kind in ("flex", "varlen") if device.type == "cuda" else ("samples",):
            network = Network(plan.shape, dtype=dtype, compiled=device.type == "cuda" and kind != "samples").to(device)
            network.initialize(0)
            try:
                attention = make_attention(kind, plan.batches.tokens, plan.batches.longest, device)
                seconds, compiling = _time_steps(network, batches, attention, warm_up=3, steps=steps)
            except Exception as error:
                found[kind] = " ".join(str(error).split())[:300]
                continue
            speed = round(steps * plan.batches.tokens / seconds)
            found[kind] = {"tokens_per_second": speed, "compiling": round(compiling, 1), "peak_mib": peak_mib(device)}
            print(kind, found[kind], file=sys.stderr, flush=True)
            print(_kernel_table(network, batches, attention), file=sys.stderr, flush=True)
    return found


def _time_steps(
    network: Network, batches: Batches, attention: Attention, warm_up: int, steps: int
) -> tuple[float, float]:
    """Seconds of `steps` steps, and of the warm-up before."""
    made = [batches[number] for number in range(4)]
    device = attention.device
    training = Pretraining(network, batches, PretrainingSettings(), group=Group.alone(device), attention=attention)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    times = []
    for count in (warm_up, steps):
        began = time.monotonic()
        for number in range(count):
            training.take_step(made[number % len(made)], 1.0)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.monotonic() - began)
    network.load_state_dict(before)
    return times[1], times[0]


def _kernel_table(network: Network, batches: Batches, attention: Attention) -> str:
    """What the time of a few steps is spent on, kernel by kernel."""
    with torch.profiler.profile() as profiler:
        seconds, _ = _time_steps(network, batches, attention, warm_up=1, steps=2)
    on_device = attention.device.type == "cuda"
    order = "self_cuda_time_total" if on_device else "self_cpu_time_total"
    table: str = profiler.key_averages().table(sort_by=order, row_limit=25, max_name_column_width=70)
    return f"two of three steps took {seconds:.4f} s\n{table}"


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def say(group: Group, line: str) -> None:
    """A line on standard error, from the first process alone."""
    if group.rank == 0:
        print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _opened(paths: Sequence[str | Path]) -> Iterator[list[Shard]]:
    """The shards; packed ones are unpacked into a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="shards-") as temporary:
        made = []
        for number, path in enumerate(map(Path, paths)):
            if not path.is_dir():
                unpack(path, Path(temporary) / str(number))
                path = Path(temporary) / str(number)
            made.append(read_shard(path))
        yield made


def save(outcome: Outcome, out: str | Path, *, part_mib: float | None, keep_optimizer: bool, card: str | None) -> None:
    """Writes the folder of a trained model, so that it loads and can be trained further.

    card: the README.md, if there is one
    """
    save_model(
        out,
        outcome.network,
        part_mib=part_mib,
        state={"progress": outcome.progress.to_json()},
        optimizer=outcome.optimizer.state() if keep_optimizer else None,
        texts=None if card is None else {"README.md": card},
    )


def hashes_of(shards: Sequence[str | Path]) -> dict[str, str]:
    """The SHA-256 of each shard folder by its name."""
    return {Path(path).name: hash_of_shard(path) for path in shards}

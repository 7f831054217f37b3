"""Memory and time that a job of a cluster asks for, from the sizes of its run: model, tokens, views.

An estimate that is too small costs a job, one that is too large a place further back in the queue. So these are upper
ends: counted where that is easy, with room for what is not, and twice as much at the second attempt.

    memory   what Python, torch and the two Snakemakes of a job take, the weights, what is trained,
             the activations of the largest pass, keys and values of all prompts of the fold
    time     ten minutes, and twice the multiplications at the rate of a slow device
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcfold.arc.datasets import content_of, load_dataset, prompt_lengths
from arcfold.jobs.files import InputError, hash_of
from arcfold.jobs.known import known
from arcfold.models.folder import read_config
from arcfold.models.sizes import ModelSize

MIB = 2**20
SNAKEMAKES = 440
"""MiB of the two Snakemakes that a job of a cluster has beside its own process."""
PROCESS = {False: 450, True: 2400}
"""MiB of a process with torch and its libraries, without and with CUDA."""
CPU_CACHE = 1536
"""MiB that a search on a CPU keeps keys and values in at most."""
FLOPS = {False: 5e10, True: 2e13}
"""Multiplications and additions a second, on one slow core and on a slow GPU."""
UNKNOWN = 8e9
"""Parameters of a model that is yet to be fetched."""


@dataclass(frozen=True)
class ModelNumbers:
    """What of a model its jobs' needs depend on."""

    parameters: float
    activations: float = 0.0
    """Numbers that a token leaves for the backward pass."""
    cached: float = 0.0
    """Numbers of a token's keys and values."""

    @classmethod
    def of(cls, folder: str | Path) -> ModelNumbers:
        """Those of a model's folder; of one that is not there, an upper end."""
        try:
            size = ModelSize.of(read_config(folder))
        except (InputError, KeyError, TypeError, ValueError):
            return cls(UNKNOWN, activations=5e6, cached=3e5)
        return cls(size.parameters, size.activations + 2 * size.vocabulary, size.cache_bytes(1))


@dataclass(frozen=True)
class TaskNumbers:
    """What of a dataset its jobs' needs depend on, in tokens of the longest prompt of each task."""

    tasks: int
    tests: int
    tokens: int
    longest: int

    @classmethod
    def of(cls, config: Mapping[str, Any], dataset: str, cache: str | Path) -> TaskNumbers:
        """Those of a dataset; cache: a folder for what was counted."""

        def count() -> list[int]:
            tasks = load_dataset(config, dataset)
            lengths = prompt_lengths(tasks).values()
            return [len(tasks), sum(len(task.test) for task in tasks), sum(lengths), max(lengths, default=0)]

        def is_count(kept: Any) -> bool:
            return isinstance(kept, list) and len(kept) == 4 and all(type(number) is int for number in kept)

        path = Path(cache) / "sizes" / f"{hash_of(content_of(config, dataset, cache), 24)}.json"
        return cls(*known(path, count, is_count))


@dataclass(frozen=True)
class Needs:
    """What a job asks for."""

    memory_mib: int
    minutes: int


def needs_of(
    step: str, model: ModelNumbers, tasks: TaskNumbers, folds: int, settings: Mapping[str, Any], *, gpu: bool
) -> Needs:
    """What a job of a step for one fold asks for at its first attempt.

    step: training, search or rescoring; settings: the sections of a run's settings up to that of the step
    gpu: whether it computes on a GPU; memory is the host's in any case
    """
    of_step = settings[step]
    training = step == "training"
    # a reply is hardly ever longer than half of its prompt, which has several grids
    longest = min(1.5 * tasks.longest, settings["training" if training else "search"]["longest"])
    shown = tasks.tokens / folds * of_step["views"]
    memory = SNAKEMAKES + PROCESS[gpu] + model.parameters * (2 if gpu else 12) / MIB
    if training:
        trained = 0.25 * model.parameters if model.parameters < 1e9 else 0.1 * model.parameters
        memory += trained * 16 / MIB
        flops = 6 * model.parameters * shown * of_step["epochs"]
        if not gpu:
            memory += 1.25 * of_step["batch"] * longest * model.activations * 4 / MIB
    else:
        flops = 8 * model.parameters * shown
        if not gpu:
            memory += min(CPU_CACHE, 1.5 * shown * model.cached * 4 / MIB) + longest * model.activations * 4 / MIB
    return Needs(_rounded(memory, 100), math.ceil(10 + 2 * flops / FLOPS[gpu] / 60))


def other_needs(model: ModelNumbers) -> Needs:
    """What a job asks for that reads or writes a model, and is no step of a run."""
    return Needs(_rounded(SNAKEMAKES + PROCESS[False] + model.parameters * 12 / MIB, 100), 30)


def at_attempt(number: int, attempt: int) -> int:
    """A need at an attempt, which count from 1: twice that of the one before."""
    return int(number * 2 ** (attempt - 1))


def _rounded(number: float, to: int) -> int:
    return math.ceil(number / to) * to

"""A minute on the machine at hand: trainings, searches and rescorings of a run's own tasks, timed for `rates`.

Two pairs of tasks are taken, of which one is short and one is long, and each is trained on, searched and rescored as a
fold of the run would be, only for fewer steps where these take long. So an adapted model is what is searched: one
that has learned nothing has other replies.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from arcfold.arc.tasks import Task
from arcfold.models.base import BaseModel, number_type
from arcfold.models.merged import merge_adapter
from arcfold.models.sizes import ModelSize
from arcfold.planning.costs import fixed_bytes, prompt_flops, training_flops
from arcfold.planning.rates import Rates, fit_prompts, fit_training
from arcfold.planning.work import PromptWork, TrainingWork, prompt_work
from arcfold.search.candidates import (
    Drafts,
    candidates_to_json,
    draw_input_views,
    groups,
    queries,
    questions,
)
from arcfold.search.rescoring import reply_log_probs
from arcfold.search.search import search
from arcfold.training.adapt import OF_SAMPLES, training_settings
from arcfold.training.job import Sample
from arcfold.training.samples import fold_samples
from arcfold.training.train import train_adapter

TRAINING_SECONDS = 12.0
"""About how long each pair of tasks is trained on."""
SEARCH_SECONDS = 8.0
"""After how long no further search of a pair is begun."""
LONG, SHORT = 0.9, 0.3
"""Which tasks are taken: those longer than this part of them."""
FEWEST_STEPS = 3

Load = Callable[[torch.device], nn.Module]


class Clock:
    """Seconds of works on a device. On a CPU those that the process computed: what others do there is not ours."""

    def __init__(self, device: torch.device, threads: int) -> None:
        self._of_host = device.type == "cpu"
        self._threads = threads
        self._began = self._now()

    def lap(self) -> float:
        """Seconds since the last lap, or the start."""
        began, self._began = self._began, self._now()
        return max(self._began - began, 1e-6)

    def _now(self) -> float:
        return time.process_time() / self._threads if self._of_host else time.monotonic()


def pairs_of(tasks: Sequence[Task], base: BaseModel, at_most: int = 2) -> list[list[Task]]:
    """A few short and a few long tasks; with too few tasks the same ones twice.

    at_most: as many as a fold has
    """
    length = base.codec.longest_prompt
    ordered = sorted(tasks, key=lambda task: (length(task), task.id))
    chosen = []
    for share in (SHORT, LONG):
        first = min(int(share * len(ordered)), max(len(ordered) - at_most, 0))
        chosen.append(ordered[first : first + at_most])
    return chosen


def measure(
    of_tasks: Sequence[Sequence[Task]],
    base: BaseModel,
    *,
    load: Load,
    load_training: Load,
    backend: str,
    settings: Mapping[str, Any],
    seed: int,
    device: torch.device,
    threads: int,
    memory_budget: int | None,
) -> dict[str, list[dict[str, float]]]:
    """The points of `rates`, and how long the model takes to load and the first step of all was.

    load, load_training: give the model as a search wants it, and as the backend does; settings: a run's
    """
    points: dict[str, list[dict[str, float]]] = {"training": [], "search": [], "rescoring": [], "jobs": []}
    clock = Clock(device, threads)
    model = load_training(device)
    points["start"] = [{"load": clock.lap()}]
    with tempfile.TemporaryDirectory() as folder:
        # the first steps of a process build kernels, which is its start and not a training's
        first = _train(of_tasks[0], base, model, clock, settings, seed, threads, backend, Path(folder) / "first", 2)
        for number, tasks in enumerate(of_tasks):
            adapter = Path(folder) / f"{number}"
            trial = _train(tasks, base, model, clock, settings, seed, threads, backend, adapter, FEWEST_STEPS)
            step = trial["later"] / max(trial["steps"] - 1, 1)
            steps = max(FEWEST_STEPS, int(TRAINING_SECONDS / max(step, 1e-6)))
            points["training"].append(
                _train(tasks, base, model, clock, settings, seed, threads, backend, adapter, steps)
            )
        points["start"][0]["first_step"] = first["first_step"] - min(p["first_step"] for p in points["training"])
        del model
        for number, tasks in enumerate(of_tasks):
            until = time.monotonic() + SEARCH_SECONDS
            for place, task in enumerate(tasks):
                if place and time.monotonic() > until:
                    break
                _predict(
                    task, base, load, Path(folder) / f"{number}", settings, seed, device, clock, memory_budget, points
                )
    return points


def rates_of(
    points: Mapping[str, Sequence[Mapping[str, float]]],
    base: BaseModel,
    settings: Mapping[str, Any],
    *,
    device: str,
    memory: int | None,
    threads: int,
    number_type: str,
    backend: str,
    start_seconds: float,
    script_seconds: float,
) -> Rates:
    """What the points say. start_seconds: of a worker's libraries and its device."""
    start = points["start"][0]
    job = sum(point["seconds"] for point in points["jobs"]) / max(len(points["jobs"]), 1)
    return Rates(
        device=device,
        memory=memory,
        threads=threads,
        model=base.record["name"],
        parameters=ModelSize.of(base.config).parameters,
        number_type=number_type,
        backend=backend,
        start_seconds=start_seconds + start["load"] + max(start["first_step"], 0.0),
        **fit_training(points["training"]),
        search=fit_prompts(points["search"], job),
        min_prob=settings["search"]["min_prob"],
        rescoring=fit_prompts(points["rescoring"], job),
        script_seconds=script_seconds,
    )


def _train(
    tasks: Sequence[Task], base: BaseModel, model: nn.Module, clock: Clock, settings: Mapping[str, Any],
    seed: int, threads: int, backend: str, folder: Path, most_steps: int,
) -> dict[str, float]:  # fmt: skip
    """Trains for some steps of what a fold of these tasks would train, and says what it took."""
    of = settings["training"]
    samples = fold_samples(tasks, base.codec, seed=seed, **{key: of[key] for key in OF_SAMPLES})
    samples = samples[: most_steps * of["batch"] * of["accumulation"]]
    size = ModelSize.of(base.config)
    clock.lap()
    report = train_adapter(
        model,
        samples,
        training_settings(of, seed=seed, threads=threads),
        folder=folder,
        checkpoints=None,
        base_record=base.identity,
        backend=backend,
        progress=False,
    )
    measured = report["measured"]
    # what the report says in seconds of the wall
    factor = clock.lap() / max(measured["seconds"], 1e-6)
    work = _work(samples, report["steps"])
    point = {
        "steps": report["steps"],
        "flops": training_flops(work, size, of["rank"], of["targets"]),
        "first_step": measured["seconds_to_first_step"] * factor,
        "later": (measured["seconds"] - measured["seconds_to_first_step"]) * factor,
    }
    if measured["device"] != "cpu":
        rest = measured["peak_memory_bytes"] - fixed_bytes(size, of, number_type(model), base.quantization)
        point["token_bytes"] = max(rest, 0.0) / max(work.longest * of["batch"], 1)
    return point


def _work(samples: Sequence[Sample], steps: int) -> TrainingWork:
    lengths = [len(sample.input_ids) for sample in samples]
    squares = sum(length**2 for length in lengths)
    return TrainingWork(steps, len(samples), sum(lengths), squares, max(lengths, default=0))


def _predict(
    task: Task, base: BaseModel, load: Load, adapter: Path, settings: Mapping[str, Any], seed: int,
    device: torch.device, clock: Clock, memory_budget: int | None, points: dict[str, list[dict[str, float]]],
) -> None:  # fmt: skip
    """Searches and rescores one task, and adds what it took."""
    of, longest, size = settings["search"], settings["search"]["longest"], ModelSize.of(base.config)
    clock.lap()
    merged = merge_adapter(load(device), str(adapter), base.record)
    points["jobs"].append({"seconds": clock.lap()})
    views = draw_input_views(
        [task], base.codec, views=of["views"], longest=longest, seed=seed, purpose="inference views"
    )
    if not views.items:
        return
    clock.lap()
    found = search(
        merged,
        queries(views),
        end=views.codec.end,
        min_prob=of["min_prob"],
        drafts=Drafts(views),
        groups=groups(views),
        memory_budget=memory_budget,
    )
    points["search"].append(_point(clock.lap(), [task], base, size, seed, of["views"], longest, "inference"))
    number = settings["rescoring"]["views"]
    scored = draw_input_views([task], base.codec, views=number, longest=longest, seed=seed, purpose="scoring views")
    asked = questions(scored, candidates_to_json(views, found))
    clock.lap()
    reply_log_probs(
        merged,
        asked,
        groups=groups(scored),
        memory_budget=memory_budget,
    )
    seconds = clock.lap()
    points["rescoring"].append(_point(seconds, [task], base, size, seed, number, longest, "scoring"))


def _point(
    seconds: float, tasks: Sequence[Task], base: BaseModel, size: ModelSize, seed: int, views: int, longest: int,
    purpose: str,
) -> dict[str, float]:  # fmt: skip
    work: PromptWork = prompt_work(tasks, base.codec, seed, views=views, longest=longest, purpose=f"{purpose} views")
    return {"flops": prompt_flops(work, size), "reply_tokens": work.reply_tokens, "seconds": seconds}

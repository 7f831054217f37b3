"""A minute on the machine at hand: trainings, searches and rescorings of a run's own tasks, timed for `rates`.

A device that computes many things at once is slow with few of them, and a training's first steps build what the later
ones use. So everything is measured at more than one size, and a fixed part is told from what grows (`rates`):

    two short tasks, two long ones   trained on in steps of one sample, as a fold of theirs would be, and, where that is
                                     over in no time, for seconds; searched and rescored, each alone and both at once
    a fold of more of them           trained on, searched and rescored as the run would, twice as many and more while
                                     there is time: on a CPU hardly ever, on a GPU mostly

What is searched is a model that was adapted as the run would do it: one that has learned nothing, or all there is, has
other replies.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from arcfold.arc.tasks import Task
from arcfold.models.base import BaseModel, number_type
from arcfold.models.merged import merge_adapter
from arcfold.models.sizes import ModelSize
from arcfold.planning.costs import FoldWork, fixed_bytes, fold_seconds, prompt_flops, training_flops
from arcfold.planning.rates import Rates, cpu_name, fit_prompts, fit_training
from arcfold.planning.work import PromptWork, TrainingWork, prompt_work, training_work
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
from arcfold.training.samples import fold_samples
from arcfold.training.train import train_adapter

TRAINING_SECONDS = 8.0
"""About how long a pair of tasks is trained on at most."""
SEARCH_SECONDS = 6.0
"""After how long no further search of a pair is begun."""
LARGER_SECONDS = 20.0
"""For folds of more tasks, all together."""
MOST_TASKS = 64
"""Of the largest of them."""
LONG, SHORT = 0.9, 0.3
"""Which tasks are taken: those longer than this part of them."""
FEWEST_STEPS = 3
TRIALS = (12, 3)
"""Steps of the short and of the long tasks that are taken sample by sample: many and few, to tell what is fixed."""

Load = Callable[[torch.device], nn.Module]
Points = dict[str, list[dict[str, float]]]


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
    ordered = by_length(tasks, base)
    chosen = []
    for share in (SHORT, LONG):
        first = min(int(share * len(ordered)), max(len(ordered) - at_most, 0))
        chosen.append(ordered[first : first + at_most])
    return chosen


def by_length(tasks: Sequence[Task], base: BaseModel) -> list[Task]:
    """The shortest prompts first."""
    return sorted(tasks, key=lambda task: (base.codec.longest_prompt(task), task.id))


def spread(ordered: Sequence[Task], count: int) -> list[Task]:
    """Some of the tasks, of all lengths."""
    return [ordered[int((place + 0.5) * len(ordered) / count)] for place in range(count)]


@dataclass
class Bench:
    """What is measured, with what, and the points so far."""

    base: BaseModel
    load: Load
    """Gives the model as a search wants it."""
    load_training: Load
    """And as the backend does."""
    backend: str
    settings: Mapping[str, Any]
    """A run's."""
    seed: int
    device: torch.device
    threads: int
    memory_budget: int | None
    folder: Path
    """For adapters, which nobody needs afterwards."""
    start_seconds: float = 0.0
    """Of a worker's libraries and its device."""
    script_seconds: float = 0.0
    points: Points = field(
        default_factory=lambda: {"start": [], "training": [], "search": [], "rescoring": [], "jobs": []}
    )

    def __post_init__(self) -> None:
        self.clock = Clock(self.device, self.threads)
        self.size = ModelSize.of(self.base.config)

    def measure(self, tasks: Sequence[Task], largest: int) -> Rates:
        """All of it. tasks: those of the run; largest: how many its largest fold has"""
        pairs = pairs_of(tasks, self.base, min(2, largest))
        self.clock.lap()
        model = self.load_training(self.device)
        load = self.clock.lap()
        # the first steps of a process build kernels, which is its start and not a training's
        first = self._train(model, pairs[0], "first", 2)
        self.points["start"].append({**first, "load": load})
        adapters = [
            self._train_pair(model, pair, f"pair-{number}", steps)
            for number, (pair, steps) in enumerate(zip(pairs, TRIALS, strict=True))
        ]
        del model
        for pair, adapter in zip(pairs, adapters, strict=True):
            took = 0.0
            for together in (pair, *([task] for task in pair if len(pair) > 1)):
                if took < SEARCH_SECONDS:
                    took += self._predict(together, adapter)
        self._measure_larger(by_length(tasks, self.base), max(map(len, pairs)))
        return self.rates()

    def rates(self) -> Rates:
        """What the points say."""
        start, jobs = self.points["start"][0], self.points["jobs"]
        job = sum(point["seconds"] for point in jobs) / max(len(jobs), 1)
        training = fit_training(self.points["training"])
        warm = training["first_step_seconds"] + start["steps"] * training["step_seconds"]
        warm += start["flops"] / training["training_flops"]
        on_gpu = self.device.type == "cuda"
        return Rates(
            device=torch.cuda.get_device_name(self.device) if on_gpu else cpu_name(),
            memory=torch.cuda.get_device_properties(self.device).total_memory if on_gpu else None,
            threads=self.threads,
            model=self.base.record["name"],
            parameters=self.size.parameters,
            number_type=str(self.base.number_type_on(self.device)).removeprefix("torch."),
            backend=self.backend,
            start_seconds=self.start_seconds + start["load"] + max(start["seconds"] - warm, 0.0),
            **training,
            search=fit_prompts(self.points["search"], job, passes=on_gpu),
            min_prob=self.settings["search"]["min_prob"],
            rescoring=fit_prompts(self.points["rescoring"], job, passes=on_gpu),
            script_seconds=self.script_seconds,
        )

    def _measure_larger(self, ordered: Sequence[Task], count: int) -> None:
        """Folds of more tasks, as long as there is time for the next one: what one took says what the next will."""
        left, largest = LARGER_SECONDS, min(MOST_TASKS, len(ordered))
        while count < largest:
            sizes = [min(2**power * count, largest) for power in range(1, 2 + math.ceil(math.log2(largest / count)))]
            fitting = [size for size in sizes if self._predicted(spread(ordered, size)) <= left]
            if not fitting:
                return
            began, count = time.monotonic(), fitting[-1]
            tasks = spread(ordered, count)
            self._predict(tasks, self._train_fold(self.load_training(self.device), tasks, f"fold-{count}"))
            left -= time.monotonic() - began

    def _predicted(self, tasks: Sequence[Task]) -> float:
        work = FoldWork(
            training_work(tasks, self.base.codec, self.seed, self.settings["training"]),
            self._prompts(tasks, "search", "inference"),
            self._prompts(tasks, "rescoring", "scoring"),
        )
        return fold_seconds(work, self.size, self.settings, self.rates()).total

    def _train_pair(self, model: nn.Module, tasks: Sequence[Task], name: str, steps: int) -> Path:
        """Trains one sample a step, as a fold of the tasks would be trained, and for some seconds; gives the second."""
        trial = self._train(model, tasks, name, steps, alone=True)
        self.points["training"].append(trial)
        most = max(FEWEST_STEPS, int(TRAINING_SECONDS * steps / trial["seconds"]))
        adapter = self._train_fold(model, tasks, name, most)
        fold = self.points["training"][-1]
        # the few steps of a fast device are mostly what comes before them
        most = int(fold["steps"] * TRAINING_SECONDS / fold["seconds"])
        if most > 2 * fold["steps"]:
            self.points["training"].append(self._train(model, tasks, f"{name}-longer", most))
        return adapter

    def _train_fold(self, model: nn.Module, tasks: Sequence[Task], name: str, most: int | None = None) -> Path:
        """Trains as a fold of these tasks would be trained, for so many steps at most."""
        of = self.settings["training"]
        steps = -(-len(tasks) * of["epochs"] * of["views"] // (of["batch"] * of["accumulation"]))
        self.points["training"].append(self._train(model, tasks, name, min(steps, most or steps)))
        return self.folder / name

    def _train(
        self, model: nn.Module, tasks: Sequence[Task], name: str, steps: int, *, alone: bool = False
    ) -> dict[str, float]:
        """Trains for so many steps, in as many epochs as these need; what it took.

        alone: each sample of these steps in one of its own, which tells steps from what is computed in them
        """
        of, size = self.settings["training"], self.size
        needed = steps * of["batch"] * of["accumulation"]
        if alone:
            of = {**of, "batch": 1, "accumulation": 1}
        epochs = max(of["epochs"], -(-needed // (len(tasks) * of["views"])))
        self.clock.lap()
        drawn = {**{key: of[key] for key in OF_SAMPLES & of.keys()}, "epochs": epochs}
        samples = fold_samples(tasks, self.base.codec, seed=self.seed, **drawn)[:needed]
        report = train_adapter(
            model,
            samples,
            training_settings(of, seed=self.seed, threads=self.threads),
            folder=self.folder / name,
            checkpoints=None,
            base_record=self.base.identity,
            backend=self.backend,
            progress=False,
        )
        seconds = self.clock.lap()
        lengths = [len(sample.input_ids) for sample in samples]
        squares = sum(length**2 for length in lengths)
        work = TrainingWork(report["steps"], len(samples), sum(lengths), squares, max(lengths, default=0))
        point = {
            "steps": report["steps"],
            "flops": training_flops(work, size, of["rank"], of["targets"]),
            "seconds": seconds,
        }
        measured = report["measured"]
        if measured["device"] != "cpu":
            rest = measured["peak_memory_bytes"] - fixed_bytes(size, of, number_type(model), self.base.quantization)
            point["token_bytes"] = max(rest, 0.0) / max(work.longest * of["batch"], 1)
        return point

    def _prompts(self, tasks: Sequence[Task], section: str, purpose: str) -> PromptWork:
        return prompt_work(
            tasks,
            self.base.codec,
            self.seed,
            views=self.settings[section]["views"],
            longest=self.settings["search"]["longest"],
            purpose=f"{purpose} views",
        )

    def _predict(self, tasks: Sequence[Task], adapter: Path) -> float:
        """Searches and rescores some tasks at once, and adds what it took; gives the seconds of the search."""
        of, longest = self.settings["search"], self.settings["search"]["longest"]
        codec, seed = self.base.codec, self.seed
        views = draw_input_views(tasks, codec, views=of["views"], longest=longest, seed=seed, purpose="inference views")
        if not views.items:
            return 0.0
        self.clock.lap()
        merged = merge_adapter(self.load(self.device), str(adapter), self.base.record)
        self.points["jobs"].append({"seconds": self.clock.lap()})
        found = search(
            merged,
            queries(views),
            end=views.codec.end,
            min_prob=of["min_prob"],
            drafts=Drafts(views),
            groups=groups(views),
            memory_budget=self.memory_budget,
        )
        self._add("search", self._prompts(tasks, "search", "inference"), self.clock.lap())
        number = self.settings["rescoring"]["views"]
        scored = draw_input_views(tasks, codec, views=number, longest=longest, seed=seed, purpose="scoring views")
        asked = questions(scored, candidates_to_json(views, found))
        self.clock.lap()
        reply_log_probs(merged, asked, groups=groups(scored), memory_budget=self.memory_budget)
        self._add("rescoring", self._prompts(tasks, "rescoring", "scoring"), self.clock.lap())
        return self.points["search"][-1]["seconds"]

    def _add(self, kind: str, work: PromptWork, seconds: float) -> None:
        self.points[kind].append(
            {
                "flops": prompt_flops(work, self.size),
                "reply_tokens": work.reply_tokens,
                "longest_reply": work.longest_reply,
                "seconds": seconds,
            }
        )

"""A study that nobody ran: tasks, the scores of its runs, their comparison and what they found, of any size.

Its figures are made up and agree with each other as those of real runs do: scores with outcomes, outcomes with
candidates. Harder tasks are solved by fewer runs, seeds disagree about some, and better configurations cost more.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from arcfold.arc.misses import misses
from arcfold.arc.scoring import score_task, total_score
from arcfold.arc.selection import ranked
from arcfold.arc.tasks import Grid, Pair, Task
from arcfold.arc.views import SYMMETRIES
from arcfold.runs.predictions import candidates_of

ALTERATIONS: list[dict[str, Any]] = [
    {},
    {"folds": 1},
    {"folds": 2},
    {"folds": 16},
    {"training.rank": 16},
    {"training.rank": 64},
    {"training.epochs": 4},
    {"training.epochs": 16},
    {"search.views": 16},
    {"search.min_prob": 0.35},
    {"search.min_prob": 0.1},
    {"search.min_prob": 0.05},
    {"training.rank": 64, "training.epochs": 16},
    {"training.learning_rate": 0.0005},
    {"training.learning_rate": 0.002},
    {"rescoring.views": 16},
    {"training.alpha": 32},
    {"training.batch": 8},
    {"folds": 4},
    {"selection.method": "count_and_mean"},
]
"""What the configurations of a study change, the base first."""


@dataclass(frozen=True)
class MadeStudy:
    """Everything that a page is made of; `entries` gives each run's candidates when it is asked for."""

    tasks: list[Task]
    comparison: dict[str, Any]
    scores: dict[str, dict[str, Any]]
    names: list[str]
    views: int
    seed: int
    pools: Mapping[str, list[list[Grid]]]
    strengths: Mapping[str, float]

    def entries(self, run: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """`tasks` of the run's rescored file and of its candidates file."""
        return _entries(self.tasks, self.pools, run, self.strengths[run], self.views, self.seed)


def made_tasks(count: int, seed: int = 0, longest: int = 30) -> list[Task]:
    """Tasks with ids like ARC's, most of them of middling size, some of them with two tests."""
    draw = random.Random(f"tasks {seed}")

    def grid() -> Grid:
        # most of a grid is background, as in ARC
        rows, columns = (min(longest, max(1, round(draw.gauss(13, 6)))) for _ in range(2))
        colours = draw.sample(range(10), 4)
        return tuple(
            tuple(colours[0] if draw.random() < 0.7 else draw.choice(colours) for _ in range(columns))
            for _ in range(rows)
        )

    return [
        Task(
            f"{draw.getrandbits(32):08x}",
            tuple(Pair(grid(), grid()) for _ in range(draw.choice([2, 3, 3, 4]))),
            tuple(Pair(grid(), grid()) for _ in range(draw.choices([1, 2], [19, 1])[0])),
        )
        for _ in range(count)
    ]


def made_study(
    tasks: Sequence[Task],
    configurations: int = 5,
    seeds: int = 3,
    *,
    views: int = 8,
    seed: int = 0,
    name: str = "made",
    notes: str = "",
    alterations: Sequence[Mapping[str, Any]] = ALTERATIONS,
) -> MadeStudy:
    draw = random.Random(f"study {seed}")
    pools = {task.id: [_pool(pair, draw) for pair in task.test] for task in tasks}
    groups, scores, strengths, names = [], {}, {}, []
    for number in range(configurations):
        changed = alterations[number]
        of = "8folds" + "".join(f"_{key.rpartition('.')[2]}{value}" for key, value in changed.items()).replace(".", "p")
        strength, cost = draw.gauss(0.0, 0.35), 700 * math.exp(draw.gauss(0.0, 0.5))
        runs = []
        for of_seed in range(seeds):
            run = of if of_seed == 0 else f"{of}-seed{of_seed}"
            strengths[run] = strength + draw.gauss(0.0, 0.1)
            scores[run] = _score(tasks, pools, run, changed, of_seed, strengths[run], cost, views, seed, draw)
            names.append(run)
            runs.append(run)
        groups.append(_configuration(of, changed, [(run, scores[run]) for run in runs]))
    base = groups[0]["name"]
    comparison = {
        "study": name,
        "notes": notes,
        "base": base,
        "data": next(iter(scores.values()))["data"],
        "scorer": "f5e4f3f332f33da3",
        "n_tasks": len(tasks),
        "n_outputs": sum(len(task.test) for task in tasks),
        "configurations": groups,
        "pairs": [_pair(group, groups[0], len(tasks)) for group in groups[1:]],
        "tasks": {
            task.id: {
                group["name"]: [scores[run["run"]]["tasks"][task.id]["score"] for run in group["runs"]]
                for group in groups
            }
            for task in tasks
        },
        "missing": [],
        "warnings": [],
        "provenance": {},
    }
    return MadeStudy(list(tasks), comparison, scores, names, views, seed, pools, strengths)


def _pool(pair: Pair, draw: random.Random) -> list[Grid]:
    """The right grid and wrong ones that are like it."""
    assert pair.output is not None
    pool = [pair.output]
    while len(pool) < 26:
        rows = [list(row) for row in pair.output]
        for _ in range(draw.randint(1, 6)):
            rows[draw.randrange(len(rows))][draw.randrange(len(rows[0]))] = draw.randrange(10)
        if draw.random() < 0.1 and len(rows) > 2:
            rows.pop()
        grid = tuple(map(tuple, rows))
        # of the smallest grids there are not as many
        if grid not in pool or draw.random() < 0.02:
            pool.append(grid)
    return list(dict.fromkeys(pool))


def _entries(
    tasks: Sequence[Task], pools: Mapping[str, list[list[Grid]]], run: str, strength: float, views: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    names = list(SYMMETRIES)
    rescored, searched = {}, {}
    for task in tasks:
        draw = random.Random(f"{seed} {run} {task.id}")
        hard = random.Random(f"{seed} {task.id}").gauss(0.0, 1.6)
        tests = []
        for pool in pools[task.id]:
            candidates = []
            for place, grid in enumerate(pool):
                # the right one is found where the run is stronger than the task is hard
                luck = draw.gauss(0.0, 0.5) + 1.0 if place == 0 else draw.gauss(-0.4, 0.8) - place / 20
                reach = strength - hard + luck if place == 0 else luck
                share = 1 / (1 + math.exp(-1.5 * reach))
                found = [view for view in range(views) if draw.random() < share]
                if found:
                    level = math.log(share)
                    likely = [min(-1e-6, draw.gauss(2 * level, 0.3 - level)) for _ in range(2 * views)]
                    candidates.append(
                        {
                            "grid": grid,
                            "found": [{"view": view, "log_prob": round(likely[view], 6)} for view in found],
                            "scored": [round(value, 6) for value in likely[views:]],
                        }
                    )
            tests.append({"candidates": candidates})
        seen = [
            {
                "symmetry": names[draw.randrange(8)],
                "colours": draw.sample(range(10), 10),
                "order": list(range(len(task.train))),
            }
            for _ in range(2 * views)
        ]
        rescored[task.id] = {"scoring_views": seen[views:], "test": tests}
        searched[task.id] = {"views": seen[:views]}
    return rescored, searched


def _score(
    tasks: Sequence[Task],
    pools: Mapping[str, list[list[Grid]]],
    run: str,
    changed: Mapping[str, Any],
    of_seed: int,
    strength: float,
    cost: float,
    views: int,
    seed: int,
    draw: random.Random,
) -> dict[str, Any]:
    rescored, _ = _entries(tasks, pools, run, strength, views, seed)
    of_tasks = {}
    for task in tasks:
        found = [
            [candidate.grid for candidate in ranked(candidates_of(output), "product_of_experts")]
            for output in rescored[task.id]["test"]
        ]
        attempts = [[*grids, pair.input, ((0,),), ((1,),)][:2] for grids, pair in zip(found, task.test, strict=True)]
        of_tasks[task.id] = score_task(task, attempts, found)
    folds = int(changed.get("folds", 8))
    shares = {"train_adapter": 0.55, "search_candidates": 0.3, "rescore_candidates": 0.15}
    seconds = {
        stage: [
            {
                "import": 0.5,
                "wait for a device": round(draw.uniform(0, 3), 3),
                "load": round(draw.uniform(0.2, 1), 3),
                "work": (work := round(share * cost / folds * draw.uniform(0.9, 1.1), 3)),
                "total": round(work + 2, 3),
            }
            for _ in range(folds)
        ]
        for stage, share in shares.items()
    }
    settings: dict[str, dict[str, Any]] = {
        "folds": {"split": "balanced"},
        "training": {
            "rank": 32,
            "alpha": 16,
            "epochs": 6,
            "batch": 4,
            "learning_rate": 0.001,
            "targets": ["q_proj", "v_proj"],
        },
        "search": {"views": 8, "min_prob": 0.17, "longest": 8192},
        "rescoring": {"views": 8},
        "selection": {"method": "product_of_experts"},
    }
    for key, value in changed.items():
        section, _, setting = key.partition(".")
        if setting:
            settings[section][setting] = value
    return {
        **total_score(of_tasks),
        "misses": misses(tasks, of_tasks),
        "data": {
            "name": "made_tasks",
            "source": "made up: nobody ran this",
            "sha256": "5064cd4d01201ac1002922d3accf235eb59ed3a3a3c82ca2f1dfa559ec5e933f",
            "n_outputs": sum(len(task.test) for task in tasks),
        },
        "scorer": "f5e4f3f332f33da3",
        "code": "53a4d16c6eaacd1f",
        "steps": {
            stage: f"results/store/{stage}/made/{folds}folds-seed{of_seed}/{of_seed:012x}"
            for stage in ("folds", "adapters", "candidates", "rescored")
        },
        "leakage": [],
        "folds": [{"fold": fold, "first_loss": 0.3, "last_loss": 0.1, "tokens": 223800} for fold in range(folds)],
        "failed": [],
        "tasks": of_tasks,
        "provenance": {
            "written": "2026-11-27T15:43:39+00:00",
            "inputs": {},
            "versions": {"python": "3.11.7", "torch": "2.11.0" if of_seed else "2.13.0"},
            "git_commit": "31c80899fb1418bad837a6f59e4ef1b982687140",
            "machine": {"platform": "Linux-6.18-x86_64", "cores": 16},
            "device": {"kind": "cpu"},
            "run": {
                "name": run, "dataset": "made_tasks", "folds": folds, "seed": of_seed, "model": "base-15m",
                "settings": settings,
            },
            "model": {"name": "base-15m", "hash": "f9b91215912a9c14fc244cea14fb8d213c4fd7e27424b67e5ecb75d7df601366"},
            "seconds_of_folds": seconds,
            "devices_of_folds": {
                stage: [{"kind": "cuda", "name": "NVIDIA H100 80GB HBM3", "visible": "0", "peak_mib": 21000}] * folds
                for stage in shares
            },
            "peak_host_mib": dict.fromkeys(shares, 1491),
        },
    }  # fmt: skip


def _configuration(name: str, changed: Mapping[str, Any], runs: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    made = [_run(run, score) for run, score in runs]
    times = [run["device_seconds"]["total"] for run in made]
    return {
        "name": name,
        "kind": "run",
        "settings": dict(changed),
        "runs": made,
        **{key: _group([run[key] for run in made]) for key in ("score", "score_outputs", "oracle")},
        "device_seconds": sum(times) / len(times),
        "peak_host_mib": 1491,
        "peak_device_mib": 21000,
        "tokens": 1790400.0,
        "leaderboard": None,
    }


def _run(run: str, score: dict[str, Any]) -> dict[str, Any]:
    provenance = score["provenance"]
    seconds = {
        stage: round(sum(fold["total"] - fold["wait for a device"] for fold in folds), 3)
        for stage, folds in provenance["seconds_of_folds"].items()
    }
    return {
        "run": run,
        "seed": provenance["run"]["seed"],
        "file": f"results/score_{run}.json",
        **{key: score[key] for key in ("score", "score_outputs", "oracle", "n_fallback", "complete", "code")},
        "device_seconds": {**seconds, "total": round(sum(seconds.values()), 3)},
        "devices": ["NVIDIA H100 80GB HBM3"],
        "peak_host_mib": 1491,
        "peak_device_mib": 21000,
        "tokens": 1790400,
        "model": provenance["model"],
        "commit": provenance["git_commit"],
        "versions": provenance["versions"],
    }


def _group(values: Sequence[float]) -> dict[str, Any]:
    mean = sum(values) / len(values)
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)) if len(values) > 1 else None
    half = 2.2 + (sd or 1.0)
    return {
        "mean": round(mean, 4),
        "sd": None if sd is None else round(sd, 4),
        "best": max(values),
        "n": len(values),
        "interval": [round(max(0.0, mean - half), 4), round(min(100.0, mean + half), 4)],
    }


def _pair(first: Mapping[str, Any], second: Mapping[str, Any], tasks: int) -> dict[str, Any]:
    difference = first["score"]["mean"] - second["score"]["mean"]
    half = 60 / math.sqrt(tasks)
    clear = abs(difference) > half
    verdict = "unclear" if not clear else "better" if difference > 0 else "worse"
    words = {"better": "is better than", "worse": "is worse than", "unclear": "can't be told from"}[verdict]
    return {
        "a": first["name"],
        "b": second["name"],
        "difference": round(difference, 4),
        "interval": [round(difference - half, 4), round(difference + half, 4)],
        "noise": "tasks and seeds",
        "seeds": {"a": first["score"]["n"], "b": second["score"]["n"], "paired": True},
        "standard_error": half / 2,
        "degrees_of_freedom": 30.0,
        "p": 0.001 if clear else 0.4,
        "p_holm": 0.01 if clear else 1.0,
        "won": 12,
        "lost": 9,
        "p_mcnemar": 0.66,
        "detectable": round(1.4 * half, 4),
        "more_seeds": None if clear else 14,
        "verdict": verdict,
        "sentence": f"{first['name']} {words} {second['name']}: {difference:+.1f} points, 95 % interval "
        f"{difference - half:.1f} to {difference + half:.1f}."
        + ("" if clear else " 14 more seeds of each would tell a difference of this size."),
    }


def with_submission(study: MadeStudy, *, alone: bool = False) -> MadeStudy:
    """The study with a submission from elsewhere beside its runs, or in their place, of which no candidate is known."""
    base = study.scores[study.names[0]]
    of_tasks = {
        task_id: {"score": each["score"], "outputs": [{"correct": output["correct"]} for output in each["outputs"]]}
        for task_id, each in base["tasks"].items()
    }
    score = {
        **{key: base[key] for key in ("score", "score_outputs", "n_tasks", "n_outputs", "data", "scorer", "code")},
        "complete": True,
        "submission": "0" * 64,
        "tasks": of_tasks,
        "provenance": {
            "git_commit": None,
            "versions": {},
            "run": {"name": "theirs", "dataset": "made_tasks", "submission": "theirs.json"},
        },
    }
    nothing = ("oracle", "n_fallback", "device_seconds", "peak_host_mib", "peak_device_mib", "tokens", "model")
    run = {
        "run": "theirs",
        "seed": None,
        "file": "results/score_theirs.json",
        **{key: score[key] for key in ("score", "score_outputs", "complete", "code")},
        **dict.fromkeys(nothing),
        "devices": [],
        "commit": None,
        "versions": {},
    }
    configuration = {
        "name": "theirs",
        "kind": "submission",
        "settings": {"submission": "theirs.json"},
        "runs": [run],
        "score": _group([score["score"]]),
        "score_outputs": _group([score["score_outputs"]]),
        **dict.fromkeys(("oracle", "device_seconds", "peak_host_mib", "peak_device_mib", "tokens")),
        "leaderboard": 31.5,
    }
    kept = [] if alone else study.comparison["configurations"]
    comparison = {**study.comparison, "configurations": [*kept, configuration]}
    if alone:
        comparison |= {"base": "theirs", "pairs": []}
    scores = {"theirs": score} if alone else {**study.scores, "theirs": score}
    return replace(study, comparison=comparison, scores=scores, names=[*([] if alone else study.names), "theirs"])

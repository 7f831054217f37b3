"""What all runs of a page found for each test input: ten candidates in full, the others counted.

For example two runs, the first of which found a, b and c, the second b and d:

    shown   b (right)   a (attempt 1 of the first)   d (attempt 2 of the second)   c
    run 1   rank 2      rank 1                       -                             rank 3
    run 2   rank 1      -                            rank 2                        -
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from arcfold.arc.selection import ATTEMPTS, METHODS, Candidate, ranked
from arcfold.arc.tasks import Grid, Task
from arcfold.arc.views import SYMMETRIES
from arcfold.runs.predictions import as_grid

SHOWN = 10
"""Candidates of a test input that a page has in full, over all its runs."""
NOT_THERE = float("nan")


@dataclass(frozen=True)
class Finding:
    """One candidate of one run.

    rank: from 1, in the order of the run's selection
    value: what it is ordered by; None in a submission from elsewhere
    found: log-probability in each view that was searched, NaN in those that did not find it
    scored: log-probability in each scoring view
    """

    rank: int
    value: float | None
    found: array[float]
    scored: array[float]


@dataclass
class Output:
    """What the runs found for one test input: by grid and run, and how many candidates each run has."""

    findings: dict[Grid, dict[int, Finding]] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)

    def shown(self, right: Grid | None) -> list[Grid]:
        """The candidates to show: the right one, then those that are attempts of most runs, then those that most found.

        Ties go to the one that any run takes to be more probable, then to the smaller grid.
        """

        def place(grid: Grid) -> tuple[Any, ...]:
            found = self.findings[grid].values()
            attempts = sum(each.rank <= ATTEMPTS for each in found)
            return grid != right, -attempts, -len(found), -max(each.value or 0.0 for each in found), grid

        return sorted(self.findings, key=place)[:SHOWN]


@dataclass
class TaskFindings:
    """What the runs found for a task: its test inputs in order, and the symmetries of each run's views.

    views: by run, of the search and of the scoring, the numbers of `SYMMETRIES` as digits; "" where they are unknown
    """

    outputs: list[Output]
    views: dict[int, tuple[str, str]] = field(default_factory=dict)


class Findings:
    """What is known of each task, told of one run after the other."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = {task.id: task for task in tasks}
        self.by_task = {task.id: TaskFindings([Output() for _ in task.test]) for task in tasks}
        self._grids: dict[Grid, Grid] = {}

    def add(self, run: int, rescored: Mapping[str, Any], searched: Mapping[str, Any], *, method: str) -> None:
        """Adds what a run found for some tasks.

        run: its number among the page's
        rescored, searched: `tasks` of rescored files and of candidates files; the latter may lack tasks
        method: of its selection
        """
        for task_id, entry in rescored.items():
            known = self.by_task[task_id]
            in_views = searched[task_id]["views"] if task_id in searched else []
            views = max(len(in_views), _views(entry))
            # candidates of several runs come from more views than one of them searched
            known.views[run] = (
                _symmetries(in_views) if len(in_views) == views else "",
                _symmetries(entry["scoring_views"]),
            )
            for output, made in zip(known.outputs, entry["test"], strict=True):
                candidates = {self._one_of(as_grid(each["grid"])): each for each in made["candidates"]}
                output.counts[run] = len(candidates)
                in_order = ranked([_candidate(grid, each) for grid, each in candidates.items()], method)
                for rank, candidate in enumerate(in_order, start=1):
                    found = array("f", [NOT_THERE]) * views
                    for view in candidates[candidate.grid]["found"]:
                        found[view["view"]] = view["log_prob"]
                    output.findings.setdefault(candidate.grid, {})[run] = Finding(
                        rank, METHODS[method](candidate), found, array("f", candidate.scored)
                    )

    def add_attempts(self, run: int, attempts: Mapping[str, Iterable[Iterable[Grid]]]) -> None:
        """Adds a submission from elsewhere, of which nothing is known but its attempts."""
        for task_id, of_task in attempts.items():
            for output, tried in zip(self.by_task[task_id].outputs, of_task, strict=True):
                for rank, grid in enumerate(tried, start=1):
                    finding = Finding(rank, None, array("f"), array("f"))
                    output.findings.setdefault(self._one_of(grid), {}).setdefault(run, finding)

    def _one_of(self, grid: Grid) -> Grid:
        """The same object for equal grids: a hundred runs find most of them again and again."""
        return self._grids.setdefault(grid, grid)


def _candidate(grid: Grid, entry: Mapping[str, Any]) -> Candidate:
    return Candidate(grid, tuple(view["log_prob"] for view in entry["found"]), tuple(entry["scored"]))


def _views(entry: Mapping[str, Any]) -> int:
    """The number of views that found something of a task, if the last one did."""
    places = (
        view["view"] for output in entry["test"] for candidate in output["candidates"] for view in candidate["found"]
    )
    return max(places, default=-1) + 1


def _symmetries(views: Sequence[Mapping[str, Any]]) -> str:
    names = list(SYMMETRIES)
    return "".join(str(names.index(view["symmetry"])) for view in views)

"""Candidates: a test input looked at in several views, searched and scored there, told in the original view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arcfold.search import Found, Query, Reply
from arcfold.tasks import Grid, Task
from arcfold.text import Codec
from arcfold.views import View, draw_views, generator

DIGITS = 6
"""Decimals of a log-probability in a file."""


@dataclass(frozen=True)
class Look:
    """One test input of a task in one of the task's views."""

    task: str
    test: int
    view: int


@dataclass(frozen=True)
class Looks:
    """All looks of some tasks, with each one's prompt, task by task, test input by test input, view by view."""

    codec: Codec
    views: Mapping[str, tuple[View, ...]]
    looks: tuple[Look, ...]
    prompts: tuple[tuple[int, ...], ...]

    def view_of(self, index: int) -> View:
        look = self.looks[index]
        return self.views[look.task][look.view]

    def grid(self, index: int, reply: Sequence[int]) -> Grid | None:
        """The grid that a look's reply stands for, in the original view; None if it is no grid."""
        seen = self.codec.decode(reply)
        return None if seen is None else self.view_of(index).invert(seen)

    def reply(self, index: int, grid: Grid) -> tuple[int, ...]:
        """The reply that an original grid is in a look."""
        return tuple(self.codec.reply(self.view_of(index).apply(grid)))


def take_looks(tasks: Sequence[Task], codec: Codec, *, views: int, longest: int, seed: int, purpose: str) -> Looks:
    """Looks at every test input of the tasks in `views` views, drawn for each task, seed and purpose."""
    drawn = {task.id: tuple(draw_views(task, views, generator(seed, task.id, purpose))) for task in tasks}
    looks, prompts = [], []
    for task in tasks:
        seen = [view.apply_to_task(task) for view in drawn[task.id]]
        for test in range(len(task.test)):
            for place, in_view in enumerate(seen):
                looks.append(Look(task.id, test, place))
                prompts.append(codec.prompt(in_view, test, longest))
    return Looks(codec, drawn, tuple(looks), tuple(prompts))


def queries(looks: Looks) -> list[Query]:
    """What the search is asked: each look's prompt, replies of up to the largest grid."""
    return [Query(prompt, looks.codec.longest_reply) for prompt in looks.prompts]


def groups(looks: Looks) -> list[tuple[str, int]]:
    """Which looks can guess for each other: those of one test input."""
    return [(look.task, look.test) for look in looks.looks]


class Drafts:
    """A grid found in one view is a guess for the same test input's other views.

    It is found again in those, and written only once.
    """

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._written: dict[tuple[str, int, Grid], list[tuple[int, tuple[int, ...]]]] = {}
        """Test inputs and grids with the reply that the grid is in each look."""
        self._together: dict[tuple[str, int], list[int]] = {}
        for index, group in enumerate(groups(looks)):
            self._together.setdefault(group, []).append(index)

    def __call__(self, index: int, reply: Reply) -> Iterator[tuple[int, tuple[int, ...]]]:
        grid = self._looks.grid(index, reply.tokens)
        if grid is not None:
            yield from (guess for guess in self._replies(index, grid) if guess[0] != index)

    def _replies(self, index: int, grid: Grid) -> list[tuple[int, tuple[int, ...]]]:
        """The looks at the same test input, each with the reply that the grid is there."""
        look = self._looks.looks[index]
        key = (look.task, look.test, grid)
        if key not in self._written:
            together = self._together[look.task, look.test]
            self._written[key] = [(other, self._looks.reply(other, grid)) for other in together]
        return self._written[key]


def candidates_to_json(looks: Looks, found: Sequence[Found]) -> dict[str, Any]:
    """The `tasks` of a candidates file: what the search found, by grid in the original view.

    Candidates found in more views come first, then the more probable ones, then the smaller grid;
    replies that are no grid are counted as dropped.
    """
    tasks: dict[str, Any] = {}
    for index, (look, result) in enumerate(zip(looks.looks, found, strict=True)):
        entry = tasks.setdefault(look.task, {"views": [view.to_json() for view in looks.views[look.task]], "test": []})
        if look.test == len(entry["test"]):
            entry["test"].append({"candidates": {}, "dropped": 0, "prompt_tokens": [], "margin": None})
        output = entry["test"][look.test]
        output["prompt_tokens"].append(len(looks.prompts[index]))
        if result.margin != float("inf"):
            smallest = result.margin if output["margin"] is None else min(result.margin, output["margin"])
            output["margin"] = round(smallest, DIGITS)
        for reply in result.replies:
            grid = looks.grid(index, reply.tokens)
            if grid is None:
                output["dropped"] += 1
            else:
                views = output["candidates"].setdefault(grid, [])
                views.append({"view": look.view, "log_prob": round(reply.log_prob, DIGITS)})
    for entry in tasks.values():
        for output in entry["test"]:
            output["candidates"] = [
                {"grid": grid, "found": views} for grid, views in sorted(output["candidates"].items(), key=_first_guess)
            ]
    return tasks


def _first_guess(item: tuple[Grid, list[dict[str, float]]]) -> tuple[Any, ...]:
    grid, views = item
    return -len(views), -max(view["log_prob"] for view in views), grid


def candidate_grids(entry: Mapping[str, Any]) -> list[list[Grid]]:
    """The candidate grids of a task's entry in a candidates file, for each test input."""
    return [
        [tuple(tuple(row) for row in candidate["grid"]) for candidate in output["candidates"]]
        for output in entry["test"]
    ]


def questions(looks: Looks, tasks: Mapping[str, Any]) -> list[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """What the rescoring is asked: each look's prompt with the reply that every candidate is there."""
    grids = {task_id: candidate_grids(entry) for task_id, entry in tasks.items()}
    return [
        (prompt, [looks.reply(index, grid) for grid in grids[look.task][look.test]])
        for index, (look, prompt) in enumerate(zip(looks.looks, looks.prompts, strict=True))
    ]


def rescored_to_json(looks: Looks, tasks: Mapping[str, Any], log_probs: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The `tasks` of a rescored file: the candidates' entries with their log-probability in each look."""
    rescored: dict[str, Any] = {}
    for look, values in zip(looks.looks, log_probs, strict=True):
        entry = rescored.setdefault(
            look.task,
            {
                "scoring_views": [view.to_json() for view in looks.views[look.task]],
                "test": [
                    {"candidates": [{**candidate, "scored": []} for candidate in output["candidates"]]}
                    for output in tasks[look.task]["test"]
                ],
            },
        )
        for candidate, value in zip(entry["test"][look.test]["candidates"], values, strict=True):
            candidate["scored"].append(round(value, DIGITS))
    return rescored

"""Candidates: a test input seen in several views, searched and scored there, told in the original view."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from arcfold.arc.candidate_files import unscored
from arcfold.arc.lengths import unsearchable
from arcfold.arc.tasks import Grid, Task
from arcfold.arc.text import Codec
from arcfold.arc.views import View, draw_views, generator
from arcfold.search.search import Found, Query, Reply

log = logging.getLogger(__name__)

DIGITS = 6
"""Decimals of a log-probability in a file."""


@dataclass(frozen=True)
class InputView:
    """One test input of a task in one of the task's views."""

    task: str
    """The task's id."""
    test: int
    """Number of the test input in its task."""
    view: int
    """Number of the view among the task's."""


@dataclass(frozen=True)
class InputViews:
    """Every test input of some tasks in every view: task by task, test input by test input, view by view.

    A test input that is too long to be searched has no items.
    """

    codec: Codec
    """Turns grids into token ids and back."""
    views: Mapping[str, tuple[View, ...]]
    """The views of each task, by its id."""
    items: tuple[InputView, ...]
    prompts: tuple[tuple[int, ...], ...]
    """For each item its prompt, token ids."""
    skipped: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """Why there is nothing of a test input, by the task's id and the number of the input."""

    def view_of(self, index: int) -> View:
        """The view of the item of this number."""
        input_view = self.items[index]
        return self.views[input_view.task][input_view.view]

    def grid(self, index: int, reply: Sequence[int]) -> Grid | None:
        """The grid, in the original view, that a reply to an item's prompt stands for; None if it is no grid."""
        seen = self.codec.decode(reply)
        return None if seen is None else self.view_of(index).invert(seen)

    def reply(self, index: int, grid: Grid) -> tuple[int, ...]:
        """The reply that a grid of the original view is in an item's view."""
        return tuple(self.codec.reply(self.view_of(index).apply(grid)))


def draw_input_views(
    tasks: Sequence[Task], codec: Codec, *, views: int, longest: int, seed: int, purpose: str
) -> InputViews:
    """Every test input of the tasks in `views` views, drawn for each task, seed and purpose.

    longest: tokens of a prompt and its longest reply together at most; demonstrations that do not fit are left out
    A test input that does not fit without any demonstration is skipped, in every seed's views alike.
    """
    drawn = {task.id: tuple(draw_views(task, views, generator(seed, task.id, purpose))) for task in tasks}
    input_views, prompts, skipped = [], [], {}
    for task in tasks:
        seen = [view.apply_to_task(task) for view in drawn[task.id]]
        for test in range(len(task.test)):
            reason = unsearchable(task, test, codec, longest)
            if reason is not None:
                log.warning("task %s, %s: it is skipped", task.id, reason)
                skipped[task.id, test] = reason
                continue
            for place, in_view in enumerate(seen):
                input_views.append(InputView(task.id, test, place))
                prompts.append(codec.prompt(in_view, test, longest))
    return InputViews(codec, drawn, tuple(input_views), tuple(prompts), skipped)


def queries(input_views: InputViews) -> list[Query]:
    """What the search is asked: each item's prompt, replies of up to the largest grid."""
    return [Query(prompt, input_views.codec.longest_reply) for prompt in input_views.prompts]


def groups(input_views: InputViews) -> list[tuple[str, int]]:
    """For each item its task and test input: those of one test input can guess for each other."""
    return [(input_view.task, input_view.test) for input_view in input_views.items]


class Drafts:
    """A grid found in one view is a guess for the same test input's other views.

    It is found again in those, and written only once.
    """

    def __init__(self, input_views: InputViews) -> None:
        self._input_views = input_views
        self._written: dict[tuple[str, int, Grid], list[tuple[int, tuple[int, ...]]]] = {}
        """Test inputs and grids with the reply that the grid is in each view."""
        self._together: dict[tuple[str, int], list[int]] = {}
        for index, group in enumerate(groups(input_views)):
            self._together.setdefault(group, []).append(index)

    def __call__(self, index: int, reply: Reply) -> Iterator[tuple[int, tuple[int, ...]]]:
        grid = self._input_views.grid(index, reply.tokens)
        if grid is not None:
            yield from (guess for guess in self._replies(index, grid) if guess[0] != index)

    def _replies(self, index: int, grid: Grid) -> list[tuple[int, tuple[int, ...]]]:
        """The items of the same test input by their numbers, each with the reply that the grid is in its view."""
        input_view = self._input_views.items[index]
        # Many views find the same grid: it is written as a reply in each view once, not once for each finder.
        key = (input_view.task, input_view.test, grid)
        if key not in self._written:
            together = self._together[input_view.task, input_view.test]
            self._written[key] = [(other, self._input_views.reply(other, grid)) for other in together]
        return self._written[key]


def candidates_to_json(input_views: InputViews, found: Sequence[Found]) -> dict[str, Any]:
    """The `tasks` of a candidates file: what the search found, by grid in the original view.

    Candidates found in more views come first, then the more probable ones, then the smaller grid;
    replies that are no grid are counted as dropped. A skipped test input says why.
    """
    tasks: dict[str, Any] = {
        task_id: {"views": [view.to_json() for view in views], "test": []}
        for task_id, views in input_views.views.items()
    }
    # test inputs without items have none among them: the order of the numbers is that of the file
    for task_id, _ in sorted({*groups(input_views), *input_views.skipped}, key=lambda group: group[1]):
        tasks[task_id]["test"].append({"candidates": {}, "dropped": 0, "prompt_tokens": [], "margin": None})
    for (task_id, test), reason in input_views.skipped.items():
        tasks[task_id]["test"][test]["skipped"] = reason
    for index, (input_view, result) in enumerate(zip(input_views.items, found, strict=True)):
        output = tasks[input_view.task]["test"][input_view.test]
        output["prompt_tokens"].append(len(input_views.prompts[index]))
        if result.margin != float("inf"):
            smallest = result.margin if output["margin"] is None else min(result.margin, output["margin"])
            output["margin"] = round(smallest, DIGITS)
        for reply in result.replies:
            grid = input_views.grid(index, reply.tokens)
            if grid is None:
                output["dropped"] += 1
            else:
                views = output["candidates"].setdefault(grid, [])
                views.append({"view": input_view.view, "log_prob": round(reply.log_prob, DIGITS)})
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


def questions(input_views: InputViews, tasks: Mapping[str, Any]) -> list[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """What the rescoring is asked: each item's prompt with the reply that every candidate is in its view.

    tasks: the `tasks` of a candidates file
    """
    grids = {task_id: candidate_grids(entry) for task_id, entry in tasks.items()}
    return [
        (prompt, [input_views.reply(index, grid) for grid in grids[input_view.task][input_view.test]])
        for index, (input_view, prompt) in enumerate(zip(input_views.items, input_views.prompts, strict=True))
    ]


def rescored_to_json(
    input_views: InputViews, tasks: Mapping[str, Any], log_probs: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """The `tasks` of a rescored file: the candidates' entries with their log-probability in each scoring view.

    tasks: the `tasks` of a candidates file; log_probs: what `questions` were answered, in the order of the items
    """
    rescored = unscored({task_id: tasks[task_id] for task_id in input_views.views})
    for task_id, views in input_views.views.items():
        rescored[task_id]["scoring_views"] = [view.to_json() for view in views]
    for input_view, values in zip(input_views.items, log_probs, strict=True):
        found = rescored[input_view.task]["test"][input_view.test]["candidates"]
        for candidate, value in zip(found, values, strict=True):
            candidate["scored"].append(round(value, DIGITS))
    return rescored

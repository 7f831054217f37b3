"""Tasks of the families: a corpus that is the same for the same seed, made task by task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from arcfold.arc.views import generator
from arcfold.jobs.files import InputError
from arcfold.pretraining.corpora import CorpusTask, Example
from arcfold.pretraining.families import composing
from arcfold.pretraining.families.canvas import LONGEST, Draws, RejectError
from arcfold.pretraining.families.registry import FAMILIES, WEIGHTS, Made

ALL_MODULES = (*composing.MODULES, composing)
"""Imported here, so that all families are registered."""

_RULES, _TRIES = 400, 40
"""Rules that are tried for a task, and draws for all pairs of a rule."""
_LARGEST_TASK = 6000
"""Cells of a task's pairs together that are not exceeded: long prompts are few in ARC too."""


def families_tasks(
    tasks: int, pairs: int = 6, seed: int = 0, names: tuple[str, ...] | list[str] | None = None
) -> Iterator[CorpusTask]:
    """`tasks` tasks of each family (times its weight) with `pairs` pairs each; ids are family and number.

    names: the families; all of them if not given
    Raises InputError for an unknown name.
    """
    for name in names if names is not None else FAMILIES:
        if name not in FAMILIES:
            raise InputError(f"families: no family {name!r}")
        for number in range(tasks * WEIGHTS.get(name, 1)):
            yield make_task(name, number, pairs, seed)


def make_task(name: str, number: int, pairs: int, seed: int) -> CorpusTask:
    """One task of a family. Raises InputError if the family makes none, which is an error of the family."""
    task_id = f"{name}_{number}"
    for attempt in range(_RULES):
        draws = Draws(generator(seed, task_id, f"family {attempt}").getrandbits(64))
        try:
            made = _pairs(name, draws, pairs)
        except RejectError:
            continue
        if is_good(made):
            return CorpusTask(task_id, tuple(Example(pair.input, pair.output) for pair in made))
    raise InputError(f"families: {name} makes no task {number} in {_RULES} tries")


def _pairs(name: str, draws: Draws, count: int) -> list[Made]:
    make = FAMILIES[name](draws)
    made: list[Made] = []
    for _ in range(_TRIES):
        try:
            pair = make()
        except RejectError:
            continue
        if max(pair.input.shape) > LONGEST or max(pair.output.shape) > LONGEST or not pair.output.size:
            continue
        if np.array_equal(*pair) or any(np.array_equal(pair.input, other.input) for other in made):
            continue
        made.append(Made(np.ascontiguousarray(pair.input, np.uint8), np.ascontiguousarray(pair.output, np.uint8)))
        if len(made) == count:
            return made
    raise RejectError


def is_good(made: list[Made]) -> bool:
    """Whether pairs make a task: no output stands in most of them, and they are not too long together."""
    outputs = Counter((pair.output.shape, pair.output.tobytes()) for pair in made)
    cells = sum(pair.input.size + pair.output.size for pair in made)
    return max(outputs.values()) <= (2 * len(made) + 2) // 3 and cells <= _LARGEST_TASK

"""Tasks of the families: a corpus that is the same for the same seed, made task by task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing import get_context

import numpy as np

from arcfold.arc.views import generator
from arcfold.jobs.files import InputError
from arcfold.pretraining.corpora import CorpusTask, Example
from arcfold.pretraining.families import (
    arranging,
    composing,
    deciding,
    embedding,
    exemplars,
    quilts,
    restoring,
    ways,
)
from arcfold.pretraining.families.canvas import LONGEST, Draws, RejectError
from arcfold.pretraining.families.registry import FAMILIES, WEIGHTS, Made

WIDER = (arranging, deciding, exemplars, quilts, restoring, ways, embedding)
ALL_MODULES = (*composing.MODULES, composing, *WIDER)
"""Imported here, so that all families are registered."""

_RULES, _TRIES = 400, 40
"""Rules that are tried for a task, and draws for all pairs of a rule."""
_WIDE_RULES = 20
"""Rules of which wide grids are tried; some have no place for them."""
_LARGEST_TASK, _LARGEST_WIDE_TASK = 6000, 9000
"""Cells of a task's pairs together that are not exceeded: long prompts are few in ARC too."""


def families_tasks(
    tasks: int,
    pairs: int = 6,
    seed: int = 0,
    names: Sequence[str] | None = None,
    wide: float = 0.0,
    processes: int = 1,
) -> Iterator[CorpusTask]:
    """`tasks` tasks of each family (times its weight) with `pairs` pairs each; ids are family and number.

    names: the families; all of them, in the order of their names, if not given
    wide: share of tasks with grids about as large as those of ARC-AGI-2
    processes: make them, in the same order whatever their number
    Raises InputError for an unknown name.
    """
    for name in names if names is not None else FAMILIES:
        if name not in FAMILIES:
            raise InputError(f"families: no family {name!r}")
    wanted = [
        (name, number, pairs, seed, wide)
        for name in (names if names is not None else sorted(FAMILIES))
        for number in range(tasks_of(name, tasks))
    ]
    if processes == 1:
        yield from map(_made, wanted)
        return
    # new interpreters, since the one that asks may have threads
    with get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(_made, wanted, chunksize=50)


def tasks_of(name: str, tasks: int) -> int:
    """How many tasks a family gets where one of weight 1 gets `tasks`; at least one."""
    return max(1, round(tasks * WEIGHTS.get(name, 1)))


def _made(what: tuple[str, int, int, int, float]) -> CorpusTask:
    return make_task(*what)


def make_task(name: str, number: int, pairs: int, seed: int, wide: float = 0.0) -> CorpusTask:
    """One task of a family. Raises InputError if the family makes none, which is an error of the family.

    wide: chance of wide grids
    """
    task_id = f"{name}_{number}"
    is_wide = wide > 0 and generator(seed, task_id, "wide").random() < wide
    for attempt in range(_RULES):
        draws = Draws(generator(seed, task_id, f"family {attempt}").getrandbits(64))
        draws.wide = is_wide and attempt < _WIDE_RULES
        try:
            made = _pairs(name, draws, pairs)
        except RejectError:
            continue
        if is_good(made, _LARGEST_WIDE_TASK if draws.wide else _LARGEST_TASK):
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


def is_good(made: list[Made], largest: int = _LARGEST_TASK) -> bool:
    """Whether pairs make a task: no output stands in most of them, and they are not too long together."""
    outputs = Counter((pair.output.shape, pair.output.tobytes()) for pair in made)
    cells = sum(pair.input.size + pair.output.size for pair in made)
    return max(outputs.values()) <= (2 * len(made) + 2) // 3 and cells <= largest

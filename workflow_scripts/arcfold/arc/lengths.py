"""Whether a task fits into the lengths of a run, before anything is computed for it.

A grid of 2 × 9 cells is as many cells in every view, but not as many rows: lying it has 1 newline between them,
upright 8. What counts is the longer of the two, and for a training the longest demonstration, since any may come
first. So a task fits with every seed or with none.

For example a test input of 30 × 30 in the embedded format: 932 tokens with what stands around it, 931 for the
largest reply. With `search/longest` 1200 it cannot be searched.
"""

from __future__ import annotations

from arcfold.arc.tasks import Grid, Pair, Task
from arcfold.arc.text import Codec


def unsearchable(task: Task, test: int, codec: Codec, longest: int) -> str | None:
    """Why a test input cannot be searched: alone, without any demonstration, it is too long. None if it can be.

    longest: tokens of a prompt and its longest reply together at most
    """
    question = max(len(codec.question(grid)) for grid in (task.test[test].input, _turned(task.test[test].input)))
    needed = len(codec.demonstrations(()).ids) + question + codec.longest_reply
    if needed <= longest:
        return None
    return f"test[{test}] needs {needed} tokens without any demonstration, expected at most {longest} (search/longest)"


def untrainable(task: Task, codec: Codec, longest: int) -> str | None:
    """Why a task cannot be trained on: a demonstration of it alone is too long. None if it can be.

    longest: tokens of a sample at most
    """
    # a view turns both grids of a pair or none, and they may be longest in different ones
    alone = ((pair, Pair(_turned(pair.input), pair.output and _turned(pair.output))) for pair in task.train)
    needed = max(len(codec.demonstrations((pair,)).ids) for both in alone for pair in both)
    if needed <= longest:
        return None
    return f"a demonstration alone has {needed} tokens, expected at most {longest} (training/longest)"


def misfits(task: Task, codec: Codec, *, training: int, search: int) -> list[str]:
    """All that keeps a task from being trained on with samples of `training` tokens and searched with `search`."""
    found = [unsearchable(task, test, codec, search) for test in range(len(task.test))]
    return [reason for reason in (untrainable(task, codec, training), *found) if reason is not None]


def _turned(grid: Grid) -> Grid:
    """The grid with rows and columns exchanged: of the eight symmetries four are as long as it, four as this."""
    return tuple(zip(*grid, strict=True))

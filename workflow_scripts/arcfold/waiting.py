"""Which of many queries starts next."""

from __future__ import annotations

import bisect
from collections.abc import Hashable, Sequence

from arcfold.replies import Query


class Waiting:
    """Which query starts next: the longest prompt of those that may start.

    Without groups all may. With groups one query of each may start; when it has found a reply,
    which is a draft for the others, or has ended, all of them may.
    """

    def __init__(self, queries: Sequence[Query], groups: Sequence[Hashable] | None) -> None:
        self._key = [(-len(query.prompt), number) for number, query in enumerate(queries)]
        self._group = list(range(len(queries))) if groups is None else list(groups)
        self._ready: list[tuple[int, int]] = []
        self._held: dict[Hashable, list[tuple[int, int]]] = {}
        for key in sorted(self._key):
            group = self._group[key[1]]
            if group in self._held:
                self._held[group].append(key)
            else:
                self._held[group] = []
                self._ready.append(key)

    def __bool__(self) -> bool:
        return bool(self._ready)

    def first(self) -> int:
        """The number of the next query, which stays."""
        return self._ready[0][1]

    def take(self) -> int:
        """The number of the next query, which is no longer waiting."""
        return self._ready.pop(0)[1]

    def put_back(self, number: int) -> None:
        """Lets a query wait again."""
        bisect.insort(self._ready, self._key[number])

    def release(self, number: int) -> None:
        """Lets the others of a query's group start: it has found a reply or has ended."""
        for key in self._held.pop(self._group[number], ()):
            bisect.insort(self._ready, key)

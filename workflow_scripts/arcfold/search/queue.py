"""The queries that wait to start, in the order in which they may.

Example: prompts of 3, 7, 5 and 4 tokens in the groups a, b, a, b. Queries 1 and 2, the longest of each group, may
start, in this order. Query 0 is held back until query 2 has found a reply or has ended, query 3 until query 1 has.
"""

from __future__ import annotations

import bisect
from collections.abc import Hashable, Sequence

from arcfold.search.replies import Query


class QueryQueue:
    """Gives the queries by their numbers: the longest prompt of those that may start comes first.

    Without groups all may. With groups one query of each may start; when it has found a reply,
    which is a draft for the others, or has ended, all of them may.
    """

    def __init__(self, queries: Sequence[Query], groups: Sequence[Hashable] | None) -> None:
        self._key = [(-len(query.prompt), number) for number, query in enumerate(queries)]
        self._group = list(range(len(queries))) if groups is None else list(groups)
        self._ready: list[tuple[int, int]] = []
        self._held: dict[Hashable, list[tuple[int, int]]] = {}
        # Long prompts first: the short ones then fill what room they leave, and none is left to run alone at the end.
        for key in sorted(self._key):
            group = self._group[key[1]]
            if group in self._held:
                self._held[group].append(key)
            else:
                self._held[group] = []
                self._ready.append(key)

    def __bool__(self) -> bool:
        """Whether a query may start."""
        return bool(self._ready)

    def peek(self) -> int:
        """The number of the next query, which stays. There must be one."""
        return self._ready[0][1]

    def pop(self) -> int:
        """The number of the next query, which is no longer waiting. There must be one."""
        return self._ready.pop(0)[1]

    def put_back(self, number: int) -> None:
        """Lets a query that was taken wait again, in its old place."""
        bisect.insort(self._ready, self._key[number])

    def release(self, number: int) -> None:
        """Lets the others of a query's group start: it has found a reply or has ended."""
        for key in self._held.pop(self._group[number], ()):
            bisect.insort(self._ready, key)

"""The families by name. A family is a function of a source of draws that fixes a task's rule and returns a
function that makes one pair of that task each time it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from arcfold.pretraining.families.canvas import Draws, Grid


class Made(NamedTuple):
    """A pair as a family makes it."""

    input: Grid
    output: Grid


MakePair = Callable[[], Made]
Family = Callable[[Draws], MakePair]

FAMILIES: dict[str, Family] = {}
"""All families, in the order of their modules."""

WEIGHTS: dict[str, float] = {}
"""How many times as many tasks as others a family gets whose rules are drawn from many kinds; 1 if not here."""


def family(function: Family) -> Family:
    """Registers a family under its function's name."""
    return register(function.__name__, function)


def register(name: str, function: Family, weight: float = 1) -> Family:
    if name in FAMILIES:
        raise ValueError(f"two families of the name {name}")
    FAMILIES[name] = function
    if weight != 1:
        WEIGHTS[name] = weight
    return function

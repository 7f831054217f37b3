"""A comparison of two configurations in one or two sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def sentence(pair: Mapping[str, Any], pairs: int) -> str:
    """What a pair of a comparison says. pair: all its other fields; pairs: how many the comparison has"""
    a, b = pair["a"], pair["b"]
    low, high = (points(value) for value in pair["interval"])
    if pair["verdict"] != "unclear":
        size = f"{abs(pair['difference']):.1f} points"
        return f"{a} is {pair['verdict']} than {b}, by {size} (95 % interval {low} to {high})." + _one_seed(pair)
    said = f"Whether {a} is better than {b} can't be told: {points(pair['difference'])} points ({low} to {high})."
    if pair["p"] < 0.05:
        said += f" Alone it could; of {pairs} comparisons one such is to be expected by chance."
    said += f" A difference of {pair['detectable']:.1f} would have shown in four cases of five."
    return said + _more_seeds(pair) + _one_seed(pair)


def points(value: float) -> str:
    """A difference in points, with its sign."""
    return f"{value:+.1f}".replace("-", "−")


def _more_seeds(pair: Mapping[str, Any]) -> str:
    size = f"{abs(pair['difference']):.1f}"
    if pair["noise"] == "tasks" or pair["difference"] == 0:
        return ""
    if pair["more_seeds"] is None:
        return f" No number of seeds would show one of {size} on these tasks."
    seeds = "one more seed" if pair["more_seeds"] == 1 else f"{pair['more_seeds']} more seeds"
    return f" To show one of {size} takes {seeds} of each."


def _one_seed(pair: Mapping[str, Any]) -> str:
    return "" if pair["noise"] != "tasks" else " One seed of each: what another seed would change is not in this."

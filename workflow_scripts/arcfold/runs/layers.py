"""How one layer of the config is laid over another: a user's file over the defaults, a run's settings over common ones.

    lower  training: {rank: 32, warmup_ratio: 0.1, init: a_r8}     datasets: {quick: {of: a, shortest: 16}}
    upper  training: {rank: 64, warmup_steps: 100, init: null}     datasets: {quick: {tasks: mine.json}}
    gives  training: {rank: 64, warmup_steps: 100}                 datasets: {quick: {tasks: mine.json}}

Sections, whose keys are fixed, are laid over key by key. The entries of a map of names (datasets, models, runs, …)
are replaced as a whole. Of alternatives the upper one stays alone, and null removes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

ALTERNATIVES = (("warmup_ratio", "warmup_steps"),)
"""Keys of one section that exclude each other."""

_OTHERS = {key: [other for other in group if other != key] for group in ALTERNATIVES for key in group}


def laid_over(lower: Mapping[str, Any], upper: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """What two layers of a section mean together; the schema tells which of its keys are sections or maps of names."""
    merged = dict(lower)
    for key, value in upper.items():
        inside = schema.get("properties", {}).get(key, {})
        if value is None:
            merged.pop(key, None)
            continue
        for other in _OTHERS.get(key, []):
            if upper.get(other) is None:  # both in one layer is a fault, and stays one
                merged.pop(other, None)
        if inside.get("type") == "object" and isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = laid_over(below if isinstance(below, Mapping) else {}, value, inside)
        else:
            merged[key] = value
    return merged


def settings_of(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """One section of the settings, each layer laid over those before it."""
    nothing: dict[str, Any] = {}
    return reduce(lambda lower, upper: laid_over(lower, upper, {}), layers, nothing)


def excluding(section: Mapping[str, Any]) -> list[str]:
    """Keys of a section that exclude each other and are both given; empty if there are none."""
    for group in ALTERNATIVES:
        given = [key for key in group if section.get(key) is not None]
        if len(given) > 1:
            return given
    return []

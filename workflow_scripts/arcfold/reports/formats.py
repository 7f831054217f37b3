"""Figures as a person reads them; `format.js` says the same in the browser."""

from __future__ import annotations

from typing import Any

from arcfold.terminal import results

__all__ = ["commit", "duration", "gib", "percent", "setting"]


def percent(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def duration(seconds: float | None) -> str:
    """In the two units that matter."""
    return "–" if seconds is None else results.duration(seconds)


def gib(mib: float | None) -> str:
    return "–" if mib is None else f"{mib / 1024:.1f}"


def setting(value: Any) -> str:
    """A value of the config as one would write it there; – where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(setting, value)) if isinstance(value, list | tuple) else str(value)


def commit(value: str | None) -> str:
    """The first digits, and whether there were uncommitted changes."""
    return "–" if value is None else value[:7] + ("+" if value.endswith("+") else "")

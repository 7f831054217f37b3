"""What was found in an earlier call and would be found again: kept as JSON, in a file named by all that it depends on.

    count = known(cache / f"{hash_of(parts, 24)}.json", look=lambda: len(load()), fits=lambda kept: type(kept) is int)

A file that is broken, or does not hold what it should, costs another look and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from arcfold.jobs.files import InputError, read_json, write_json

T = TypeVar("T")


def known(path: Path, look: Callable[[], T], fits: Callable[[object], bool]) -> T:
    """What `look` finds, or the file holds.

    look: what it returns is JSON
    fits: whether a value of JSON is of the kind that `look` returns
    """
    with contextlib.suppress(InputError):
        kept = read_json(path)
        if fits(kept):
            return cast(T, kept)
    found = look()
    with contextlib.suppress(OSError, InputError):  # a folder that cannot be written to costs time only
        write_json(path, found)
    return found


def is_text_by_text(kept: object) -> bool:
    """Whether a value is an object of strings."""
    return isinstance(kept, dict) and all(isinstance(value, str) for value in kept.values())


def is_texts_by_text(kept: object) -> bool:
    """Whether a value is an object of lists of strings."""
    return isinstance(kept, dict) and all(
        isinstance(values, list) and all(isinstance(value, str) for value in values) for values in kept.values()
    )

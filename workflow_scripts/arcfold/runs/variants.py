"""Names of changed runs: a run's name, and behind it parameters with their values.

    8folds_rank16_min_prob0p1    8folds with rank 16 and min_prob 0.1; `p` stands for the point
    8folds_search_views16        `views` stands in three sections, so its section is named
    8folds_foldsper_task         the number of folds stands in none
    thorough_initnone            without the `init` that the settings have

A name says all, so it means the same in every study and without one. Snakemake's Paramspace makes such names from a
table (pandas) in which each row has a value for each parameter, and reads them by the one pattern that the table
gives; here parameters come and go from name to name, and the library reads them, which knows nothing of Snakemake.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from arcfold.jobs.files import InputError, read_schema, shortened

NONE = "none"
"""What stands in a name for null, which takes a key away."""
_NUMBER = re.compile(r"(0|[1-9][0-9]*)(p[0-9]*[1-9])?")
_ADAPTER = re.compile(r"[A-Za-z0-9_]+_r[1-9][0-9]*")
"""The one text that is none of a few: a pretrained adapter's name."""
_MOST_PARSES = 10_000


class UnknownParameter(InputError):
    """A text that begins with no parameter: perhaps it was never meant to."""


@dataclass(frozen=True)
class Parameter:
    """A key that a run's name can change."""

    name: str
    """What it is called in a run's name: its last key, behind its section where several have that key."""
    path: tuple[str, ...]
    """Its keys in an entry of `runs`: (settings, training, rank), or (folds,)."""
    schema: Any
    optional: bool
    """Whether null takes it away."""

    @property
    def dotted(self) -> str:
        """What it is called in the config: training.rank."""
        return ".".join(self.path[1:] or self.path)

    def value_of(self, text: str) -> Any:
        """The value that a text in a name stands for. Raises ValueError for one that is none."""
        if text == NONE and self.optional:
            return None
        for value in _readings(text):
            if value_text(value) == text and self.takes(value):
                return value
        raise ValueError(text)

    def takes(self, value: Any) -> bool:
        """Whether it may have a value, as far as the schema knows."""
        from jsonschema import Draft7Validator

        if value is None:
            return self.optional
        if self.path[-1] == "init" and not (isinstance(value, str) and _ADAPTER.fullmatch(value)):
            return False
        return bool(Draft7Validator(self.schema).is_valid(value))

    @property
    def expected(self) -> str:
        """Its values in words."""
        return str(self.schema["description"])


@cache
def parameters() -> tuple[Parameter, ...]:
    """All of them, those with longer names first. Lists have no short name, and are none."""
    schema = read_schema("config")["properties"]
    sections = schema["settings"]["properties"]
    keys = [
        (section, key, inside, key not in part["required"])
        for section, part in sections.items()
        for key, inside in part["properties"].items()
        if inside.get("type") != "array"
    ]
    names = [key for _, key, _, _ in keys]
    found = [Parameter("folds", ("folds",), schema["runs"]["additionalProperties"]["properties"]["folds"], False)]
    for section, key, inside, optional in keys:
        name = key if names.count(key) == 1 else f"{section}_{key}"
        found.append(Parameter(name, ("settings", section, key), inside, optional))
    return tuple(sorted(found, key=lambda each: -len(each.name)))


@cache
def parameter(key: str) -> Parameter:
    """The parameter of a key of a study: `rank`, `training.rank` or `training_rank`.

    Raises InputError for one that is unknown, or stands in several sections.
    """
    known = parameters()
    for each in known:
        if key in (each.name, each.dotted, each.dotted.replace(".", "_")):
            return each
    several = [each.dotted for each in known if each.path[-1] == key]
    if several:
        raise InputError(f"{key}: stands in several sections, expected one of {', '.join(sorted(several))}")
    names = sorted({each.name for each in known} | {each.dotted for each in known})
    raise InputError(f"{shortened(key)}: no parameter of a run{_guess(key, names)}, expected one of {_names()}")


def overlay(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes of a name as what is laid over an entry of `runs`. changes: values by the parameters' names."""
    made: dict[str, Any] = {}
    for each in parameters():
        if each.name in changes:
            place = made
            for key in each.path[:-1]:
                place = place.setdefault(key, {})
            place[each.path[-1]] = changes[each.name]
    return made


def changed_name(name: str, changes: Mapping[str, Any]) -> str:
    """The name of a run with changes, in their order."""
    return "_".join([name, *(f"{key}{value_text(value)}" for key, value in changes.items())])


def value_text(value: Any) -> str:
    """A value as it stands in a name."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        text = format(Decimal(repr(value)), "f")
        return (text.rstrip("0").rstrip(".") if "." in text else text).replace(".", "p")
    return str(value)


def read_changes(text: str) -> dict[str, Any]:
    """The changes in a name, by the parameters' names: {rank: 16, min_prob: 0.1} for `rank16_min_prob0p1`.

    Raises InputError for a text that is none, or that can be read in two ways.
    """
    found: list[dict[str, Any]] = []
    for parse in _parses(text):
        if parse not in found:
            found.append(parse)
        if len(found) > 1:
            one, other = (" and ".join(f"{key} {value_text(value)}" for key, value in each.items()) for each in found)
            raise InputError(f"{shortened(text)!r} means {one}, or {other}, expected one meaning")
    if not found:
        raise _fault(text)
    return found[0]


def _parses(text: str) -> Iterator[dict[str, Any]]:
    """Every way to read a text as changes."""
    steps = 0
    waiting: list[tuple[str, dict[str, Any]]] = [(text, {})]
    while waiting and steps < _MOST_PARSES:
        rest, changes = waiting.pop()
        for change, left in _first_change(rest):
            steps += 1
            if change.keys() & changes.keys():
                continue
            if left is None:
                yield {**changes, **change}
            else:
                waiting.append((left, {**changes, **change}))


def _first_change(text: str) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Each change that a text can begin with, and what follows it; None where nothing does."""
    for each in parameters():
        if not text.startswith(each.name):
            continue
        behind = text[len(each.name) :]
        for cut in [place.start() for place in re.finditer("_", behind)] + [len(behind)]:
            try:
                value = each.value_of(behind[:cut])
            except ValueError:
                continue
            yield {each.name: value}, behind[cut + 1 :] if cut < len(behind) else None


def _readings(text: str) -> Iterator[Any]:
    """What a text could stand for, whatever the parameter takes."""
    if text in ("true", "false"):
        yield text == "true"
    if _NUMBER.fullmatch(text):
        yield float(text.replace("p", ".")) if "p" in text else int(text[:400])
    if text:
        yield text


def _fault(text: str) -> InputError:
    """What is wrong with a text that cannot be read as changes."""
    rest: str = text
    read: set[str] = set()
    while True:  # what can be read is not at fault
        longest = max(_first_change(rest), key=lambda step: len(rest) - len(step[1] or ""), default=None)
        if longest is None or longest[1] is None:
            break
        read |= longest[0].keys()
        rest = longest[1]
    for each in parameters():
        if longest is not None and each.name in (longest[0].keys() & read):
            return InputError(f"{shortened(rest)!r}: {each.name} stands twice, expected it once")
        if rest.startswith(each.name):
            value = shortened(rest[len(each.name) :]) or "nothing"
            return InputError(f"{value!r} behind {each.name}, expected {each.expected}, with p for the point")
    word = re.match(r"[A-Za-z_]*", rest)
    key = (word[0] if word else "").strip("_")
    several = sorted(each.name for each in parameters() if each.path[-1] == key)
    if several:
        said = f"several parameters are called {key}, expected one of {', '.join(several)}"
        return InputError(f"{shortened(rest)!r}: {said}")
    close = [each for each in parameters() if rest.startswith(each.dotted.replace(".", "_"))]
    names = [close[0].name] if close else [each.name for each in parameters()]
    guess = f" (did you mean {names[0]}?)" if close else _guess(key, names)
    said = f"no parameter and its value{guess}, expected one of {_names()}, as in rank16"
    return UnknownParameter(f"{shortened(rest)!r}: {said}")


def _names() -> str:
    return ", ".join(sorted(each.name for each in parameters()))


def _guess(key: str, names: list[str]) -> str:
    close = difflib.get_close_matches(key, names, n=1)
    return f" (did you mean {close[0]}?)" if close else ""

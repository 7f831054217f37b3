"""YAML and JSON of a user, read strictly: what stands twice, nests without end or is no plain text is named.

What a number is and what a name depends on where it stands (`00576224` is a task, `1e-4` a rate), so a value
without quotes stays the text that was written, a `Plain`, until `meant` is asked for it.

    seed: 1            {"seed": Plain("1"), "dataset": Plain("00576224"), "run": "4folds"}
    dataset: 00576224
    run: "4folds"
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from arcfold.jobs.files import InputError, one_line, shortened

LARGEST = 2**20
"""Bytes of a file."""
DEEPEST = 32
"""Mappings and lists inside each other."""
MOST = 50_000
"""Values of a file, those counted again that an alias repeats."""

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_TRUE_WHERE_NOTHING_ELSE_FITS = {"yes", "on"}
_FALSE_WHERE_NOTHING_ELSE_FITS = {"no", "off"}
_INTEGER = re.compile(r"[-+]?[0-9]+(_[0-9]+)*")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = {".nan", ".inf", "-.inf", "+.inf", "nan", "inf", "-inf", "infinity", "-infinity"}
_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map")}


class Plain(str):
    """A value that was written without quotes."""

    __slots__ = ()


def read_yaml(path: str | Path, name: str | None = None) -> dict[str, Any]:
    """The mapping in a YAML or JSON file, values without quotes as `Plain`; lines call the file `name`.

    Raises InputError for a file that is missing, empty, not UTF-8, too large, broken, or no mapping.
    """
    name = str(path) if name is None else name
    try:
        content = Path(path).read_bytes()
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: byte {error.start} is not UTF-8, expected a text file in UTF-8") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read ({one_line(error)})") from None
    if len(content) > LARGEST:
        raise InputError(f"{name}: {len(content)} bytes, expected at most {LARGEST}")
    value = parse_yaml(text, name)
    if isinstance(value, Plain) and value in _NULL:
        raise InputError(f"{name}: empty, expected keys and values (key: value)")
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "a single value"
        raise InputError(f"{name}: {kind}, expected keys and values (key: value)")
    return value


def parse_yaml(text: str, where: str) -> Any:
    """The value of a text in JSON or YAML: dict with text for keys, list, str, or `Plain`.

    Raises InputError, beginning with `where`, for what is neither, for a key that stands twice in one mapping,
    for tags, for aliases of what they are in, and beyond the limits above.
    """
    try:
        value = _parsed(text, where)
        _check_size(value, where)
    except RecursionError:
        raise _too_deep(where) from None
    return value


def meant(value: Plain, kinds: Collection[str]) -> Any:
    """What a value without quotes means where these of JSON's types are expected; empty for any.

    Where only text is expected it is text. Raises ValueError, saying why, for a number that is none.
    """
    text = str(value)
    if text in _NULL:
        return None
    if kinds and not {"integer", "number", "boolean"} & set(kinds) and "string" in kinds:
        return text
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if set(kinds) == {"boolean"} and text.lower() in _TRUE_WHERE_NOTHING_ELSE_FITS | _FALSE_WHERE_NOTHING_ELSE_FITS:
        return text.lower() in _TRUE_WHERE_NOTHING_ELSE_FITS
    if text.lower() in _NOT_FINITE:
        raise ValueError(f"{text}, expected a finite number")
    if not _NUMBER.fullmatch(text):
        return text
    if len(text) > 400:
        raise ValueError(f"a number of {len(text)} digits, expected a smaller one")
    if _INTEGER.fullmatch(text):
        return int(text)
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text}, expected a finite number")
    return int(number) if "integer" in kinds and "number" not in kinds and number.is_integer() else number


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(
            text,
            object_pairs_hook=lambda pairs: _without_duplicates(pairs, where),
            parse_int=Plain,
            parse_float=Plain,
            parse_constant=Plain,
        )
    except ValueError:  # no JSON: YAML then
        pass
    try:
        node = yaml.BaseLoader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        said = error.problem or error.context or "broken"
        hint = ", expected spaces" if "\\t" in said else ", expected one" if "document" in str(error.context) else ""
        raise InputError(f"{where}: {place}not YAML ({one_line(said)}{hint})") from None
    except yaml.YAMLError as error:  # a character that YAML has not
        raise InputError(f"{where}: not YAML ({one_line(error)})") from None
    return Plain("") if node is None else _Reader(where).value(node)


class _Reader:
    """Makes values of YAML's nodes, a node that several aliases name once."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._made: dict[int, Any] = {}
        self._begun: set[int] = set()

    def value(self, node: yaml.Node) -> Any:
        key = id(node)
        if key in self._begun:
            raise self._error(node, "an alias of what it stands in, expected none")
        if key not in self._made:
            if node.tag not in _TAGS:  # this loader gives none but these unless one is written
                raise self._error(node, f"the tag {shortened(node.tag)}, expected a value without one")
            self._begun.add(key)
            self._made[key] = self._new(node)
            self._begun.remove(key)
        return self._made[key]

    def _new(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item) for item in node.value]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        assert isinstance(node, yaml.ScalarNode)
        if node.style is None:
            return Plain(node.value)
        return " ".join(node.value.split()) if node.style in "|>" else node.value

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        made: dict[str, Any] = {}
        below: dict[str, Any] = {}
        for name, item in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise self._error(name, "a mapping or a list for a key, expected text")
            if name.value in made or (name.value == "<<" and below):
                raise self._error(name, f"the key {shortened(name.value)!r} stands twice, expected once")
            if name.value == "<<" and name.style is None:
                below = self._merged(item)
            else:
                made[name.value] = self.value(item)
        return {**below, **made}

    def _merged(self, node: yaml.Node) -> dict[str, Any]:
        """What `<<` brings into a mapping: the keys of another, or of several of which the first wins."""
        found = self.value(node)
        parts = found if isinstance(found, list) else [found]
        merged: dict[str, Any] = {}
        for part in reversed(parts):
            if not isinstance(part, dict):
                raise self._error(node, "<< of what is no mapping, expected one")
            merged |= part
        return merged

    def _error(self, node: yaml.Node, said: str) -> InputError:
        return InputError(f"{self._where}: line {node.start_mark.line + 1}: {said}")


def _without_duplicates(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise InputError(f"{where}: the key {shortened(twice)!r} stands twice, expected once")
    return made


def _check_size(value: Any, where: str) -> None:
    """Raises InputError for a value beyond the limits, and for text that no file or terminal takes."""
    count = 0
    waiting = [(value, 1)]
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if depth > DEEPEST:
            raise _too_deep(where)
        if count > MOST:
            raise InputError(f"{where}: more than {MOST} values, expected fewer")
        if isinstance(value, str):
            _check_text(value, where)
        if isinstance(value, dict):
            for name in value:
                _check_text(name, where)
            waiting += [(item, depth + 1) for item in value.values()]
        if isinstance(value, list):
            waiting += [(item, depth + 1) for item in value]


def _check_text(text: str, where: str) -> None:
    odd = next(
        (letter for letter in text if ord(letter) < 32 or ord(letter) == 127 or "\ud800" <= letter < "\ue000"), ""
    )
    if odd:
        raise InputError(f"{where}: {shortened(text)!a} has the character U+{ord(odd):04X}, expected printable text")


def _too_deep(where: str) -> InputError:
    return InputError(f"{where}: more than {DEEPEST} mappings and lists inside each other, expected fewer")

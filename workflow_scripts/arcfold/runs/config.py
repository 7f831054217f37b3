"""The config that a workflow goes by: the defaults, the user's files over them, single keys over these, all checked.

    config = read_config(["config.yaml"], files=["mine.yaml"], assignments=["dataset=00576224", "seed=1"])

Snakemake merges the same files key by key and guesses types; its merge is not used. A fault is said with the
uppermost file that has its place.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from arcfold.jobs.files import InputError, PlacedError, check_schema, read_schema
from arcfold.jobs.places import configs
from arcfold.jobs.yaml import Plain, meant, parse_yaml, read_yaml
from arcfold.runs.ensembles import check_ensembles
from arcfold.runs.layers import laid_over
from arcfold.runs.recipes import check_recipes
from arcfold.runs.runs import check_config
from arcfold.runs.studies import check_studies

COMMAND_LINE = "--config"
"""What lines call the values of the command line."""


@dataclass(frozen=True)
class Layer:
    """What one file of the config, or the command line, gives; null where it removes."""

    name: str
    values: Mapping[str, Any]


def read_config(
    defaults: Sequence[str | Path], files: Sequence[str | Path] = (), assignments: Sequence[str] = ()
) -> dict[str, Any]:
    """The checked config. Without `defaults` the files give all of it.

    assignments: `key=value` of the command line, the value as in a file

    Raises InputError with file, place, what is wrong and what was expected.
    """
    paths = [*defaults, *files]
    schema = read_schema("config")
    layers = [_layer(_shown(path), read_yaml(path, _shown(path)), schema) for path in paths]
    if assignments:
        layers.append(_layer(COMMAND_LINE, _assigned(assignments), schema))
    nothing: dict[str, Any] = {}
    config = reduce(lambda lower, layer: laid_over(lower, layer.values, schema), layers, nothing)
    try:
        check_schema(config, "config", "config", once=True)
        check_config(config, "config")
        check_recipes(config, "config")
        check_ensembles(config, "config")
        check_studies(config, "config")
    except PlacedError as error:
        raise PlacedError(_source(layers, error.keys, schema), error.place, error.said) from None
    return config


def _shown(path: str | Path) -> str:
    """A path as a user would give it."""
    inside = os.path.relpath(path)
    return str(path) if inside.startswith("..") else inside


def _assigned(assignments: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign or not key:
            raise InputError(f"{COMMAND_LINE}: {assignment!r}, expected key=value")
        if key in values:
            raise InputError(f"{COMMAND_LINE}: {key} stands twice, expected once")
        values[key] = parse_yaml(text, f"{COMMAND_LINE}: {key}")
    return values


def _layer(name: str, values: Mapping[str, Any], schema: Mapping[str, Any]) -> Layer:
    return Layer(name, _typed(values, schema, name, ()))


def _typed(value: Any, schema: Mapping[str, Any], name: str, keys: tuple[str, ...]) -> Any:
    """A value in which every `Plain` is what its place in the schema makes of it."""
    if isinstance(value, dict):
        return {key: _typed(item, _schema_of(schema, key), name, (*keys, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item, _schema_of(schema, None), name, (*keys, str(n))) for n, item in enumerate(value)]
    if not isinstance(value, Plain):
        return value
    try:
        return meant(value, _kinds(schema))
    except ValueError as error:
        raise PlacedError(name, "/".join(keys), str(error)) from None


def _schema_of(schema: Mapping[str, Any], key: str | None) -> Mapping[str, Any]:
    """The schema of a key inside an object, or of the items of a list; empty where there is none."""
    for part in _parts(schema):
        inside = part.get("items") if key is None else part.get("properties", {}).get(key)
        if inside is None and key is not None and isinstance(part.get("additionalProperties"), dict):
            inside = part["additionalProperties"]
        if inside is not None:
            found: Mapping[str, Any] = inside
            return found
    return {}


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """The types that a schema takes, in JSON's words."""
    kinds: set[str] = set()
    for part in _parts(schema):
        given = part.get("type", [])
        kinds |= {given} if isinstance(given, str) else set(given)
        if any(isinstance(value, str) for value in (*part.get("enum", ()), part.get("const"))):
            kinds.add("string")
    return kinds


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    for part in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        yield from _parts(part)


def _source(layers: Sequence[Layer], keys: Sequence[str], schema: Mapping[str, Any]) -> str:
    """The name of the uppermost layer that has a place; inside an entry, which is of one layer, the entry's."""
    merged = 0
    while merged < len(keys) and schema.get("type") == "object":
        schema = schema.get("properties", {}).get(keys[merged], {})
        merged += 1

    def depth(layer: Layer) -> int:
        place: Any = layer.values
        for number, key in enumerate(keys[:merged]):
            if not isinstance(place, Mapping) or key not in place:
                return number
            place = place[key]
        return merged

    return max(reversed(layers), key=depth).name


def main(arguments: Sequence[str]) -> None:
    """Checks the options of a call of snakemake that say something of the config; all others pass.

    For `make`: what is wrong with a file itself ends Snakemake before the workflow could say it in its own words.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[])
    parser.add_argument("--config", "-C", nargs="*", default=[])
    parser.add_argument("--replace-workflow-config", action="store_true")
    given, _ = parser.parse_known_args(arguments)
    try:
        read_config([] if given.replace_workflow_config else configs(), given.configfile, given.config)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])

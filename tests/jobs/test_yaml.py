"""YAML and JSON as a user means them: what is without quotes becomes what its place expects."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from shipped import ROOT

from arcfold.jobs.files import InputError
from arcfold.jobs.yaml import Plain, meant, parse_yaml, read_yaml
from arcfold.runs.config import read_config

values: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=15,
)


def resolved(value: Any) -> Any:
    """A value in which whatever has no quotes is what it looks like."""
    if isinstance(value, dict):
        return {key: resolved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [resolved(item) for item in value]
    return meant(value, ()) if isinstance(value, Plain) else value


@given(values)
def test_what_other_writers_write_is_read(value: Any) -> None:
    for text in (
        json.dumps(value),
        json.dumps(value, indent="\t"),
        yaml.safe_dump(value),
        yaml.safe_dump(value, indent=4),
    ):
        assert resolved(parse_yaml(text, "text")) == value


def test_merge_keys_and_aliases_are_read_as_pyyaml_reads_them() -> None:
    text = "a: &a {x: 1, y: {z: 2}}\nb: {<<: *a, x: 3}\nc: {w: 1, <<: [{x: 7, v: 8}, *a]}\nd: [*a, *a]\n"
    assert resolved(parse_yaml(text, "text")) == yaml.safe_load(text)


def test_folded_and_quoted_text_is_text() -> None:
    text = "a: >\n  one\n  two\nb: |\n  three\n  four\nc: '1'\nd: \"true\"\n"
    assert parse_yaml(text, "text") == {"a": "one two", "b": "three four", "c": "1", "d": "true"}
    assert not any(isinstance(value, Plain) for value in parse_yaml(text, "text").values())


@pytest.mark.parametrize(
    ("text", "kinds", "value"),
    [
        ("1e-4", {"number"}, 0.0001),
        ("1e3", {"integer"}, 1000),
        ("6.0", {"integer"}, 6),
        ("6.0", {"number"}, 6.0),
        ("08", {"integer"}, 8),
        ("131_072", {"integer"}, 131072),
        (".5", {"number"}, 0.5),
        ("5.", {"number"}, 5.0),
        ("00576224", {"string"}, "00576224"),
        ("1e5", {"string"}, "1e5"),
        ("true", {"string"}, "true"),
        ("no", {"string"}, "no"),
        ("no", {"boolean"}, False),
        ("On", {"boolean"}, True),
        ("TRUE", {"boolean"}, True),
        ("no", {"integer"}, "no"),
        ("16", {"integer", "string"}, 16),
        ("per_task", {"integer", "string"}, "per_task"),
        ("2020-01-01", set(), "2020-01-01"),
        ("12:30", set(), "12:30"),
        ("null", {"string"}, None),
        ("", {"integer"}, None),
    ],
)
def test_a_value_without_quotes_is_what_its_place_expects(text: str, kinds: set[str], value: Any) -> None:
    found = meant(Plain(text), kinds)
    assert found == value
    assert type(found) is type(value)


def test_every_task_of_arc_can_be_named_without_quotes(arc: dict[str, Any], tmp_path: Path) -> None:
    ids = {task.id for tasks in arc.values() for task in tasks}
    odd = sorted(name for name in ids if not isinstance(yaml.safe_load(name), str) or re.fullmatch(r"\d+(e\d+)?", name))
    assert len(odd) > 30
    listed = f"[{', '.join(odd)}]"
    path = tmp_path / "mine.yaml"
    path.write_text(f"dataset: {odd[0]}\nsubsets: {{mine: {{of: {listed}, not_in: [quick]}}}}\n")
    config = read_config([ROOT / "config.yaml"], [path], [f"allow_seen={{base-15m: {listed}}}"])
    assert (config["dataset"], config["subsets"]["mine"]["of"]) == (odd[0], odd)
    assert config["allow_seen"] == {"base-15m": odd}
    assert read_config([ROOT / "config.yaml"], [], [f"dataset={odd[-1]}"])["dataset"] == odd[-1]


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes("\ufeffseed: 1\n".encode())
    assert read_yaml(path) == {"seed": "1"}


@given(st.text() | st.text("{}[]:,-&*!|>'\"%@`? \n\tab1", max_size=40))
def test_any_text_is_read_or_gives_a_line(text: str) -> None:
    line = ""
    try:
        parse_yaml(text, "text")
    except InputError as error:
        line = str(error)
    assert "\n" not in line
    assert line == "" or line.startswith("text: ")

"""Malformed configs, command lines and targets end with their line, and no change of a config with anything else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from shipped import CONFIG, ROOT, outputs, rules
from snakemake.io import regex_from_filepattern

from arcfold.jobs.files import InputError
from arcfold.runs.config import main, read_config
from arcfold.runs.runs import resolve_run
from arcfold.runs.targets import check_targets

DEFAULT = ROOT / "config.yaml"
TABLES = ROOT / "tests" / "data" / "malformed"

A_LINE, A_NEST = 260 * "a", 5000 * "[" + 5000 * "]"
ALIASES = "".join(f"{b}: &{b} [{', '.join(10 * [f'*{a}'])}]\n" for a, b in ("ab", "bc", "cd", "de"))
UNWRITABLE: list[tuple[bytes | str | None, str]] = [
    (None, "no such file"),
    ("", "empty, expected keys and values (key: value)"),
    (b"\xef\xbb\xbf", "empty, expected keys and values (key: value)"),
    (b"run: \xff\xfe\n", "byte 5 is not UTF-8, expected a text file in UTF-8"),
    ("run: 8folds".encode("utf-16"), "byte 0 is not UTF-8, expected a text file in UTF-8"),
    (b"x: " + 2**20 * b"y", "1048579 bytes, expected at most 1048576"),
    ("seed: " + 40 * "[" + 40 * "]", "more than 32 mappings and lists inside each other, expected fewer"),
    (f"seed: {A_NEST}", "more than 32 mappings and lists inside each other, expected fewer"),
    (f'{{"seed": {A_NEST}}}', "more than 32 mappings and lists inside each other, expected fewer"),
    (f"a: &a [x]\n{ALIASES}" + 9 * "f: [*e, *e]\n", "line 7: the key 'f' stands twice, expected once"),
    (f"a: &a [{10 * 'x, '}]\n{ALIASES}", "more than 50000 values, expected fewer"),
    ("seed: " + 5000 * "9", "seed: a number of 5000 digits, expected a smaller one"),
    (f"run: {A_LINE}", f"run: run {A_LINE[:59]}…: 260 letters, expected at most 180"),
    (f"runs: {{{A_LINE}: {{folds: 2}}}}", f"runs: '{A_LINE[:98]}…, expected letters, digits and underscores, …"),
]
"""Contents of a file that cannot be shown in a table, and the line."""


def table(name: str) -> list[tuple[str, str]]:
    """What is given and what must be said, two lines each below the first paragraph."""
    rows = (TABLES / name).read_text(encoding="utf-8").partition("\n\n")[2].splitlines()
    assert all(line.startswith("    ") for line in rows[1::2])
    return [(given, line.strip()) for given, line in zip(rows[::2], rows[1::2], strict=True)]


def unescaped(text: str) -> str:
    """Line ends and tabs for what stands for them in a table."""
    stands_for = {r"\n": "\n", r"\t": "\t", r"\0": "\0", r"\\": "\\"}
    return re.sub(r"\\[nt0\\]", lambda found: stands_for[found[0]], text)


def is_said(line: str, expected: str) -> bool:
    assert "\n" not in line
    return line.startswith(expected[:-1]) if expected.endswith("…") else line == expected


def refusal(content: bytes | str | None, folder: Path) -> str:
    """What is said of a file mine.yaml over the defaults."""
    path = folder / "mine.yaml"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as error:
        read_config([DEFAULT], [path])
    return str(error.value).replace(str(path), "mine.yaml").replace(os.path.relpath(path), "mine.yaml")


@pytest.mark.parametrize(("text", "line"), table("configs.txt"))
def test_a_malformed_file_gives_its_line(text: str, line: str, tmp_path: Path) -> None:
    said = refusal(unescaped(text), tmp_path)
    # what a user's file removes or hides can leave a fault in the defaults
    assert is_said(said, line if line.startswith("config.yaml: ") else f"mine.yaml: {line}"), said


@pytest.mark.parametrize(("content", "line"), UNWRITABLE, ids=[line for _, line in UNWRITABLE])
def test_a_file_that_no_editor_shows_gives_its_line(content: bytes | str | None, line: str, tmp_path: Path) -> None:
    said = refusal(content, tmp_path)
    assert is_said(said, f"mine.yaml: {line}"), said


@pytest.mark.parametrize(("text", "line"), table("assignments.txt"))
def test_a_malformed_value_of_the_command_line_gives_its_line(text: str, line: str) -> None:
    with pytest.raises(InputError) as error:
        read_config([DEFAULT], [], text.split(" & "))
    assert is_said(str(error.value), line), error.value


@pytest.mark.parametrize(("target", "end"), table("targets.txt"))
def test_a_mistyped_target_is_told_the_one_that_was_meant(target: str, end: str) -> None:
    with pytest.raises(InputError) as error:
        checked_targets(target)
    assert str(error.value) == f"target {target}: no rule makes it, {end}"


def test_targets_that_are_there_pass() -> None:
    checked_targets("all", "results/score_11folds-seed3.json", "./results/tasks/quick.json", "config.yaml")
    checked_targets("results/store/folds/quick/8folds-seed0/0123456789ab/folds.json", str(DEFAULT))


def checked_targets(*targets: str) -> None:
    made = {re.sub(r"\{(\w+),.*?\}(?=[^}]|$)", r"{\1}", path): regex_from_filepattern(path) for path in outputs()}
    check_targets(targets, [*rules(), "all"], {path: [re.compile(regex)] for path, regex in made.items()}, CONFIG)


def test_a_call_of_snakemake_can_be_checked_before_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    main(["-n", "--cores", "2", "results/score_8folds.json", "--config", "seed=1", "--resources", "gpu=4"])
    with pytest.raises(SystemExit, match=r"error: .*gone.yaml: no such file"):
        main(["--configfile", str(tmp_path / "gone.yaml"), "-n"])
    with pytest.raises(SystemExit, match="error: --config: seed: -1 is less"):
        main(["--cores", "2", "-C", "seed=-1"])


# --- any change of a config -----------------------------------------------------------------------

LONG = os.environ.get("FUZZ_EXAMPLES")
fuzzed = settings(max_examples=int(LONG or 60), derandomize=LONG is None, database=None)

ODD: Any = st.one_of(
    st.sampled_from(
        [
            None,
            True,
            "",
            "null",
            "~",
            "nan",
            "1e400",
            "-1",
            "1e-4",
            "08",
            "0x1",
            "*a",
            "&a",
            "../x",
            "8folds-seed9",
            "[",
            "{}",
        ]
    ),
    st.sampled_from([0, -1, 2**64, 10**30, 1.5, 1e308, float("nan"), float("inf"), -float("inf"), 6.0]),
    st.text(max_size=8),
    st.integers(),
    st.floats(),
    st.recursive(st.none() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3), max_leaves=40),
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=3), max_size=3),
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Each container of a value with a key or an index in it."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += [(value, key), *places(item)]
    return found


def mutated(draw: Any, config: Any) -> Any:
    """A config after one to three changes: a value replaced, removed, or moved to another key."""
    for _ in range(draw(st.integers(1, 3))):
        known = places(config)
        container, key = known[draw(st.integers(0, len(known) - 1))]
        kind = draw(st.sampled_from(["replace", "remove", "copy", "rename", "add"]))
        if kind == "replace":
            container[key] = draw(ODD)
        elif kind == "remove":
            del container[key]
        elif kind == "copy":
            there, other = known[draw(st.integers(0, len(known) - 1))]
            container[key] = json.loads(json.dumps(there[other]))
        elif isinstance(container, dict):
            container[draw(st.text(max_size=6) | st.sampled_from(list(container)))] = container[key]
            if kind == "rename":
                container.pop(key)
    return config


def says_a_line_or_nothing(call: Callable[[], Any]) -> None:
    line = ""
    try:
        call()
    except InputError as error:
        line = str(error)
    assert "\n" not in line
    assert len(line) < 3000


def read_and_resolve(text: str, folder: Path, *, alone: bool) -> None:
    """Reads a file, alone or over the defaults, and makes sense of its runs."""
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    config = read_config([] if alone else [DEFAULT], [path])
    for run in config["runs"]:
        resolve_run(config, run, lambda _: 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@fuzzed
@given(data=st.data())
def test_a_changed_config_passes_or_gives_a_line(data: st.DataObject, folder: Path) -> None:
    changed = mutated(data.draw, json.loads(json.dumps(CONFIG)))
    as_json = data.draw(st.booleans())
    text = json.dumps(changed) if as_json else yaml.safe_dump(changed, allow_unicode=True)
    alone = data.draw(st.booleans())
    says_a_line_or_nothing(lambda: read_and_resolve(text, folder, alone=alone))


@fuzzed
@given(data=st.data())
def test_a_changed_text_of_a_config_passes_or_gives_a_line(data: st.DataObject, folder: Path) -> None:
    """Parts of the shipped file cut out, said twice, moved, or with odd characters in it."""
    text = DEFAULT.read_text(encoding="utf-8")
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = begin + data.draw(st.integers(0, 60))
        odd = data.draw(
            st.text(max_size=3) | st.sampled_from(["\t", "\n", ": ", "- ", "{", "[", "*arc_15m", "<<: ", "!x ", "'"])
        )
        text = data.draw(
            st.sampled_from([text[:begin], text[begin:], text[:begin] + odd + text[end:], text[:end] + text[begin:]])
        )
    alone = data.draw(st.booleans())
    says_a_line_or_nothing(lambda: read_and_resolve(text, folder, alone=alone))


@fuzzed
@given(st.lists(st.tuples(st.sampled_from(list(CONFIG)), ODD | st.text()), min_size=1, max_size=2))
def test_any_value_of_the_command_line_passes_or_gives_a_line(given_values: list[tuple[str, Any]]) -> None:
    says_a_line_or_nothing(lambda: read_config([DEFAULT], [], [f"{key}={value}" for key, value in given_values]))


@fuzzed
@given(st.text(max_size=300) | st.sampled_from(outputs()))
def test_any_target_passes_or_gives_a_line(target: str) -> None:
    says_a_line_or_nothing(lambda: checked_targets(target))

"""README and docs: links lead somewhere, commands exist, keys and targets are all named, figures are measured."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from shipped import CONFIG, ROOT, outputs, rules
from snakemake.cli import get_argument_parser
from snakemake.io import regex_from_filepattern

from arcfold.runs.runs import check_dataset, resolve_run

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHERS = [ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "envs/README.md")]
SCHEMA: Any = json.loads((ROOT / "schemas" / "config.schema.json").read_text(encoding="utf-8"))
FENCE = re.compile(r"^```(?P<kind>\w*)\n(?P<inside>.*?)^```$", re.MULTILINE | re.DOTALL)
FREE = {"rsync", "git", "cd", ".", "cat", "cp", "less", "mkdir", "pip"}
"""Programs of consoles that are not ours to check."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


# --- links ----------------------------------------------------------------------------------------


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures, those inside of fences left out."""
    return re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", read(page)))


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", read(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=name_of)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{link}: no such file"
        assert not anchor or anchor in anchors(there), f"{link}: no such heading"


def test_every_page_stands_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    reached = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert {page for page in PAGES[1:] if page != index} <= reached


# --- commands -------------------------------------------------------------------------------------


def commands() -> list[Any]:
    """Every command of a `console` fence, with the page that it stands on."""
    found = []
    for page in PAGES:
        for fence in FENCE.finditer(read(page)):
            if fence["kind"] == "console":
                lines = fence["inside"].replace("\\\n", " ").splitlines()
                found += [(page, line) for line in lines if line.strip() and not line.startswith("#")]
    return [pytest.param(line, id=f"{page.name}: {line}") for page, line in dict.fromkeys(found)]


@pytest.mark.parametrize("line", commands())
def test_a_command_can_be_given_as_it_stands(line: str) -> None:
    words = shlex.split(line, comments=True)
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):  # variables of the environment
        del words[0]
    program, *arguments = words
    if program not in FREE:
        checks = {"make": check_make, "snakemake": check_snakemake, "python": check_python, "python3": check_python}
        checks[program](arguments)


def check_make(arguments: list[str]) -> None:
    makefile = read(ROOT / "Makefile")
    for argument in arguments:
        variable, equals, _ = argument.partition("=")
        if equals:
            assert re.search(rf"^{variable} =", makefile, re.MULTILINE), f"no variable {variable}"
        elif argument.startswith("results/"):
            check_target(argument, resolved=True)
        else:
            assert re.search(rf"^{re.escape(argument)}:", makefile, re.MULTILINE), f"no target {argument}"


def check_snakemake(arguments: list[str]) -> None:
    given = get_argument_parser().parse_args(arguments)  # ends the test for an unknown option
    for target in given.targets:
        check_target(target, resolved=not (given.configfile or given.config))
    for name in given.forcerun or ():
        assert name in rules(), f"no rule {name}"


def check_python(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        del arguments[:2]
    script = ROOT / arguments[0]
    assert script.is_file(), f"no script {arguments[0]}"
    for option in (argument for argument in arguments[1:] if argument.startswith("--")):
        assert f'"{option}"' in read(script), f"{arguments[0]} has no option {option}"


def check_target(target: str, *, resolved: bool) -> None:
    """A rule makes such a file. resolved: by the shipped config, so that its names must exist there."""
    matches = [match for pattern in outputs() if (match := re.match(regex_from_filepattern(pattern), target))]
    assert matches, f"no rule makes {target}"
    named = matches[0].groupdict()
    if resolved and "run" in named:
        resolve_run(CONFIG, named["run"], lambda _: 400)
    if resolved and (dataset := named.get("dataset", named.get("subset"))):
        check_dataset(CONFIG, dataset)


# --- keys, targets, figures -----------------------------------------------------------------------


def keys(schema: Any) -> Iterator[str]:
    """The names of a schema's properties at any depth. What stands under `settings` is the section of that name."""
    for name, value in schema.get("properties", {}).items():
        yield name
        if name != "settings":
            yield from keys(value)
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield from keys(schema[part])
    for part in ("anyOf", "oneOf", "allOf"):
        for choice in schema.get(part, []):
            yield from keys(choice)


def sections() -> dict[str, str]:
    """The second-level sections of the two pages on the config, by heading."""
    text = "".join(f"\n{read(ROOT / 'docs' / name)}" for name in ("configuration.md", "corpora_and_recipes.md"))
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("key", SCHEMA["properties"])
def test_every_key_of_the_config_is_described(key: str) -> None:
    schema = SCHEMA["properties"][key]
    inside = set(keys(schema)) if key != "settings" else set(keys({"properties": schema["properties"]}))
    section = sections().get(key, sections()["Top level"])
    if key == "pretraining":  # keys of a training, which its section refers to
        inside &= set(CONFIG["pretraining"])
        assert "`training`" in section
    if key not in sections():
        inside |= {key}
    missing = {name for name in inside if f"`{name}`" not in section and f"### {name}\n" not in section}
    assert not missing, f"docs/configuration.md does not say what these are: {sorted(missing)}"


def test_the_defaults_of_the_docs_are_those_of_the_config() -> None:
    parts = re.split(r"^### (\w+)$", sections()["settings"], flags=re.MULTILINE)
    tables = dict(zip(parts[1::2], parts[2::2], strict=True))
    given = {name: CONFIG["settings"][name] for name in tables}
    for name, values in (*given.items(), ("top", CONFIG)):
        rows = re.findall(r"^\| `(\w+)` \| *(.*?) *\|", tables.get(name, sections()["Top level"]), re.MULTILINE)
        assert len(rows) >= 1
        for key, default in rows:
            assert yaml.safe_load(default or "null") == values.get(key), f"{name}/{key}"


def test_every_target_is_listed() -> None:
    listed = read(ROOT / "docs" / "targets.md")
    for path in outputs():
        plain = re.sub(r"\{(\w+),.*?\}(?=[^}]|$)", r"{\1}", re.sub(r"\{\d+\}", "", path))
        assert f"`{plain}`" in listed, f"docs/targets.md: no line for {plain}"


def test_the_tables_say_what_was_measured() -> None:
    command = [sys.executable, "benchmarks/write_tables.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def program(name: str) -> ModuleType:
    """A program of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_figure_that_was_changed_by_hand_is_seen() -> None:
    page = read(ROOT / "README.md")
    by_hand = page.replace("42 H200-hours", "24 H200-hours")
    assert by_hand != page
    tables = program("write_tables")
    assert tables.with_tables(by_hand, ROOT / "docs" / "measured", sources=False) == page


def test_a_record_has_the_figures_of_the_file_it_is_made_from() -> None:
    result = json.loads(read(ROOT / "resources" / "base-15m" / "training.json"))
    made = program("record").make_record(result, "what", "command")["figures"]
    kept = json.loads(read(ROOT / "docs" / "measured" / "base_15m.json"))["figures"]
    assert made.keys() == kept.keys()
    assert made["gpu_hours"] == pytest.approx((353.5 * 4 + (862.6 - 353.5) * 4) / 3600)
    assert all(kept[name] == pytest.approx(value) for name, value in made.items())


@pytest.mark.parametrize("record", sorted((ROOT / "docs" / "measured").glob("*.json")), ids=name_of)
def test_a_record_says_where_its_figures_come_from(record: Path) -> None:
    content = json.loads(read(record))
    assert set(content) - {"provisional"} == {"what", "command", "device", "date", "commit", "versions", "figures"}
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", content["date"])
    assert content["figures"]


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "performance.md"], ids=name_of)
def test_a_measured_figure_stands_in_a_table_that_is_written_from_a_record(page: Path) -> None:
    text = re.sub(r"<!-- table: .*?<!-- end -->", "", FENCE.sub("", read(page)), flags=re.DOTALL)
    assert not re.findall(r"\d[\d,.]* ?(?:%|×|s\b|ms\b|min\b|k tokens|tokens/s|TFLOP|TB/s|MiB|GiB)", text)


def test_the_readme_is_short() -> None:
    text = read(ROOT / "README.md")
    assert len(text.split()) <= 1000
    assert sum(line.startswith("|") for line in text.splitlines()) <= 12
    assert not re.search(r"\b20\d\d-\d\d", text)  # a date; the records have those


def test_the_version_is_the_same_everywhere() -> None:
    versions = {
        re.search(r'^version = "(.*)"$', read(ROOT / "pyproject.toml"), re.MULTILINE),
        re.search(r"^version: (.*)$", read(ROOT / "CITATION.cff"), re.MULTILINE),
        re.search(r"^## \[(\d.*?)\]", read(ROOT / "CHANGELOG.md"), re.MULTILINE),
    }
    assert len({match[1] for match in versions if match}) == 1

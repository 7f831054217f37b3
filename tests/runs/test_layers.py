"""What two layers of a config mean together, by examples worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from shipped import CONFIG, ROOT

from arcfold.jobs.files import InputError
from arcfold.runs.config import read_config
from arcfold.runs.layers import settings_of
from arcfold.runs.runs import resolve_run

DEFAULT = ROOT / "config.yaml"


@pytest.fixture
def laid(tmp_path: Path) -> Any:
    """The config with the texts of user's files over the defaults."""

    def read(*texts: str, assignments: tuple[str, ...] = ()) -> dict[str, Any]:
        paths = [tmp_path / f"{number}.yaml" for number in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        return read_config([DEFAULT], paths, assignments)

    return read


def test_the_defaults_alone_are_what_another_reader_of_yaml_finds() -> None:
    assert read_config([DEFAULT]) == CONFIG


def test_a_section_is_laid_over_key_by_key(laid: Any) -> None:
    config = laid("seed: 5\nsettings: {search: {min_prob: 0.1}}\n")
    expected = {**CONFIG["settings"], "search": {**CONFIG["settings"]["search"], "min_prob": 0.1}}
    assert config == {**CONFIG, "seed": 5, "settings": expected}


@pytest.mark.parametrize(
    ("section", "name", "entry"),
    [
        ("datasets", "quick", {"tasks": "mine.json"}),
        ("models", "base-15m", {"hub": "a/b", "revision": 40 * "0", "format": "nvarc"}),
        ("corpora", "re_arc", {"url": "https://x/re_arc.zip", "sha256": 64 * "0", "layout": "pairs"}),
        ("runs", "thorough", {"folds": 2}),
        ("benchmarks", "search", {"run": "4folds", "tasks": 1, "min_prob": [0.1], "seconds": 1}),
        ("subsets", "arc2_new", {"of": ["arc2_training"], "not_in": ["quick"]}),
        ("allow_seen", "base-15m", "all"),
    ],
)
def test_an_entry_of_a_map_of_names_replaces_that_of_the_defaults(
    laid: Any, section: str, name: str, entry: Any
) -> None:
    config = laid(yaml.safe_dump({section: {name: entry}}))
    assert config == {**CONFIG, section: {**CONFIG[section], name: entry}}


def test_null_removes_an_entry_and_a_key(laid: Any) -> None:
    config = laid("runs: {thorough: null}\nbenchmarks: {search: }\nsettings: {training: {init: ~}}\n")
    assert set(CONFIG["runs"]) - set(config["runs"]) == {"thorough"}
    assert set(CONFIG["benchmarks"]) - set(config["benchmarks"]) == {"search"}
    assert config["settings"] == CONFIG["settings"]


def test_the_upper_of_two_alternatives_replaces_the_lower(laid: Any) -> None:
    training = laid("settings: {training: {warmup_steps: 3}}\n")["settings"]["training"]
    assert training["warmup_steps"] == 3
    assert "warmup_ratio" not in training
    config = laid("settings: {training: {warmup_steps: 3}}\n", "settings: {training: {warmup_ratio: 0.2}}\n")
    assert config["settings"]["training"] == {**CONFIG["settings"]["training"], "warmup_ratio": 0.2}


def test_later_files_and_the_command_line_lie_above(laid: Any) -> None:
    config = laid(
        "seed: 1\nthreads: 2\n", "seed: 2\n", assignments=("seed=3", 'settings={"search": {"min_prob": 0.1}}')
    )
    assert (config["seed"], config["threads"]) == (3, 2)
    assert config["settings"]["search"] == {**CONFIG["settings"]["search"], "min_prob": 0.1}


def test_a_runs_own_settings_replace_alternatives_and_remove(laid: Any) -> None:
    text = """
        settings: {training: {init: arc2_new_training_r8}}
        runs:
          mine: {folds: 2, settings: {training: {warmup_steps: 5, init: null}}}
          other: {folds: 2}
    """
    config = laid(text)
    training = resolve_run(config, "mine", lambda _: 16).settings["training"]
    assert training["warmup_steps"] == 5
    assert not {"warmup_ratio", "init"} & set(training)
    assert resolve_run(config, "other", lambda _: 16).settings["training"]["init"] == "arc2_new_training_r8"


def test_a_fault_is_said_with_the_file_that_it_stands_in(laid: Any) -> None:
    for texts, name in [
        (("seed: -1\n", "threads: 2\n"), "0.yaml"),
        (("seed: 1\n", "seed: -1\n"), "1.yaml"),
        (("runs: {mine: {folds: 2, modle: x}}\n", "seed: 1\n"), "0.yaml"),
        (("seed: null\n", "threads: 2\n"), "0.yaml"),
        (("models: {base-15m: {path: x}}\n", "threads: 2\n"), "0.yaml"),
    ]:
        with pytest.raises(InputError) as error:
            laid(*texts)
        assert str(error.value).partition(": ")[0].endswith(name)
    with pytest.raises(InputError, match=r"^--config: seed: -1 is less"):
        laid("seed: -2\n", assignments=("seed=-1",))


keys = st.sampled_from(["rank", "warmup_ratio", "warmup_steps", "init"])
sections = st.dictionaries(keys, st.integers(1, 3) | st.none(), max_size=4).filter(
    lambda section: len([k for k in ("warmup_ratio", "warmup_steps") if section.get(k) is not None]) < 2
)


@given(st.lists(sections, max_size=4))
def test_the_last_word_on_a_key_or_its_alternative_counts(layers: list[dict[str, Any]]) -> None:
    """Key by key, from the uppermost layer down, without laying layers over each other."""
    excluded_by = {"warmup_ratio": "warmup_steps", "warmup_steps": "warmup_ratio"}
    expected = {}
    for key in ("rank", "warmup_ratio", "warmup_steps", "init"):
        for layer in reversed(layers):
            if key in layer:
                if layer[key] is not None:
                    expected[key] = layer[key]
                break
            if layer.get(excluded_by.get(key, "")) is not None:
                break
    assert settings_of(*layers) == expected

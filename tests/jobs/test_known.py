"""What was found in an earlier call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from arcfold.jobs.known import is_text_by_text, is_texts_by_text, known


@pytest.mark.parametrize("kept", [None, "", "{", "[1]", "7.5", "true", "null", '{"a": 1}', "\ud800"])
def test_what_is_missing_broken_or_of_another_kind_is_looked_for_and_kept(kept: str | None, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "count.json"
    if kept is not None:
        path.parent.mkdir()
        path.write_bytes(kept.encode("utf-8", "surrogatepass"))
    assert known(path, lambda: 5, lambda value: type(value) is int) == 5
    assert known(path, lambda: 6, lambda value: type(value) is int) == 5


def test_a_folder_that_cannot_be_written_costs_another_look_only(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert known(tmp_path / "file" / "count.json", lambda: 5, lambda value: type(value) is int) == 5


@pytest.mark.parametrize(
    ("fits", "good", "bad"),
    [
        (is_text_by_text, [{}, {"a": "b"}], [None, [], "a", {"a": 1}, {"a": ["b"]}]),
        (is_texts_by_text, [{}, {"a": ["b", "c"]}], [None, [], "a", {"a": "b"}, {"a": [1]}]),
    ],
)
def test_forms(fits: Callable[[object], bool], good: list[object], bad: list[object]) -> None:
    assert all(map(fits, good))
    assert not any(map(fits, bad))

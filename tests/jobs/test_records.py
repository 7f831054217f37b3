"""Records of what targets were made from, and times that are made to agree with contents."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arcfold.jobs.records import drop_records, hash_of_path, is_stale, read_record, settle, write_records
from arcfold.jobs.request import Values

CODE = {"code": "one"}


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(output: str, *inputs: str, **params: Any) -> None:
    """Makes a target of some files, as a job does."""
    given = SimpleNamespace(
        rule="made", input=Values(list(inputs)), output=Values([output]), params=Values({**params, **CODE})
    )
    drop_records(given)
    content = "".join(Path(path).read_text() for path in inputs if Path(path).is_file())
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{output} of {content}")
    write_records(given)


def test_a_target_is_stale_when_its_parameters_differ() -> None:
    Path("a").write_text("a")
    made("results/x.json", "a", settings={"views": (8, 2.5), "name": None})
    same = {"settings": {"views": [8, 2.5], "name": None}}
    assert not is_stale("results/x.json", same | CODE, code_counts=True)
    assert is_stale("results/x.json", {"settings": {"views": [8, 2.6], "name": None}} | CODE, code_counts=False)
    assert is_stale("results/x.json", same | {"more": 1} | CODE, code_counts=False)
    assert is_stale("results/x.json", same | {"code": "two"}, code_counts=True)
    assert not is_stale("results/x.json", same | {"code": "two"}, code_counts=False)


def test_a_target_without_a_record_is_stale_and_a_missing_one_is_not() -> None:
    Path("results").mkdir()
    assert not is_stale("results/x.json", CODE, code_counts=True)
    Path("results/x.json").write_text("from elsewhere")
    assert is_stale("results/x.json", CODE, code_counts=False)
    Path("outside.json").write_text("not ours")
    assert not is_stale("outside.json", CODE, code_counts=True)


def test_a_job_that_is_cut_off_leaves_no_record() -> None:
    made("results/x.json")
    drop_records(SimpleNamespace(output=["results/x.json"]))
    assert read_record("results/x.json") is None


def test_the_hash_of_a_folder_knows_names_and_contents_and_not_snakemakes_own() -> None:
    folder = Path("results/a")
    folder.mkdir(parents=True)
    (folder / "one").write_text("1")
    before = hash_of_path(folder)
    (folder / ".snakemake_timestamp").write_text("")
    assert hash_of_path(folder) == before
    (folder / "one").rename(folder / "two")
    assert hash_of_path(folder) != before


CHAIN = ("results/a", "results/b", "results/c", "results/d")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(times=st.lists(st.integers(0, 3), min_size=5, max_size=5), changed=st.integers(-1, 3))
def test_after_settling_a_target_is_older_than_an_input_only_where_contents_differ(
    times: list[int], changed: int
) -> None:
    Path("source").write_text("source")
    for source, target in zip(("source", *CHAIN[:-1]), CHAIN, strict=True):
        made(target, source)
    files = ("source", *CHAIN)
    if changed >= 0:
        Path(files[changed]).write_text("another")
    for path, time in zip(files, times, strict=True):
        os.utime(path, (time, time))
    told = settle()
    for index, target in enumerate(CHAIN):
        older = Path(target).stat().st_mtime < Path(files[index]).stat().st_mtime
        assert older <= (index == changed)
    # a change that is no newer than what was made of it is not looked at, as by make
    assert bool(told) == (changed >= 0 and times[changed] > times[changed + 1]) or any(
        f"another {files[changed]}" in line for line in told
    )

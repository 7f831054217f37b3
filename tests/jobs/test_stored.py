"""Paths of the copies that Snakemake has of objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from arcfold.jobs import stored
from arcfold.jobs.files import InputError
from arcfold.jobs.request import Values

COPY = ".snakemake/storage/s3/bucket/mine"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_copy_is_the_file_of_the_folder_that_is_worked_in(here: Path) -> None:
    stored.lay(f"{COPY}/")
    stored.lay(f"{COPY}/")  # a job's process does it again
    (here / "results").mkdir()
    (here / COPY / "results" / "x.json").write_text("1")
    assert (here / "results" / "x.json").read_text() == "1"
    assert stored.path_here(f"{COPY}/results/x.json") == "results/x.json"
    assert stored.path_here("results/x.json") == "results/x.json"
    assert stored.is_stored([f"{COPY}/results/x.json"])
    assert not stored.is_stored(["results/x.json", f"{COPY[:-1]}/results/x.json"])


def test_a_bucket_without_a_prefix_has_one_too(here: Path) -> None:
    stored.lay(".snakemake/storage/s3/bucket/")
    assert stored.path_here(".snakemake/storage/s3/bucket/results/x.json") == "results/x.json"


def test_inputs_keep_their_names_and_lists(here: Path) -> None:
    stored.lay(COPY)
    named = stored.paths_here(Values({"one": f"{COPY}/a", "many": [f"{COPY}/b", "c"]}))
    assert (named.one, named.many) == ("a", ["b", "c"])
    assert list(stored.paths_here(Values([f"{COPY}/a"]))) == ["a"]


def test_copies_of_another_kind_are_not_written_over(here: Path) -> None:
    (here / COPY).mkdir(parents=True)
    with pytest.raises(InputError, match="delete it"):
        stored.lay(COPY)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("keep_going", True, "false"),
        ("keep_adapters", False, "true"),
        ("deadline", 30, "none"),
        ("budget", "b", "none"),
    ],
)
def test_keys_that_need_a_file_system_are_refused(
    key: str, value: object, expected: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "WORKFLOW", here)
    stored.check_config({"keep_going": False})
    with pytest.raises(InputError, match=f"config: {key}: does not go with object storage .*, expected {expected}"):
        stored.check_config({key: value})


def test_a_job_has_the_files_of_the_config_among_its_sources(here: Path) -> None:
    (here / "mine.json").touch()
    (here / "schemas").mkdir()
    (here / "schemas" / "tasks.schema.json").touch()
    datasets = {"mine": {"tasks": "mine.json"}, "none": {"tasks": "none.json"}, "part": {"of": "mine"}}
    assert stored.sources({"datasets": datasets}) == ["mine.json", "schemas/tasks.schema.json"]

"""A run as one file."""

from __future__ import annotations

import json
import stat
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from arcfold.jobs.files import InputError
from arcfold.runs.archive import open_archive, write_archive

RUN = {"name": "8folds", "dataset": "quick", "folds": 8, "seed": 0, "model": "m", "settings": {"search": {"views": 8}}}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_model.safetensors").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "score.json").write_text('{"provenance": {"written": "2026-01-02T03:04:05", "git_commit": "abc"}}')
    (tmp_path / "tasks.json").write_text("{}")
    files = {
        "tasks.json": f"{tmp_path}/tasks.json",
        "score.json": f"{tmp_path}/score.json",
        "adapters/fold-0": f"{tmp_path}/adapter",
    }
    write_archive(tmp_path / "8folds.zip", RUN, files)
    return tmp_path / "8folds.zip"


def test_it_opens_with_the_files_as_they_were_and_others_check_its_hashes(archive: Path, tmp_path: Path) -> None:
    opened = open_archive(archive, tmp_path / "there")
    assert opened == tmp_path / "there/8folds"
    weights = "adapter_model.safetensors"
    assert (opened / "adapters/fold-0" / weights).read_bytes() == (tmp_path / "adapter" / weights).read_bytes()
    assert json.loads((opened / "run.json").read_text()) == RUN
    done = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=opened, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(": OK") == len([path for path in opened.rglob("*") if path.is_file()]) - 1
    again = yaml.safe_load((opened / "again.yaml").read_text())
    assert again["runs"]["again"] == {"submission": "8folds/submission.json", "dataset": "of_the_archive"}


def test_the_bytes_depend_on_the_contents_alone(archive: Path, tmp_path: Path) -> None:
    import os

    os.utime(tmp_path / "score.json", (5e8, 5e8))
    (tmp_path / "score.json").chmod(0o600)
    files = {
        "adapters/fold-0": f"{tmp_path}/adapter",
        "score.json": f"{tmp_path}/score.json",
        "tasks.json": f"{tmp_path}/tasks.json",
    }
    write_archive(tmp_path / "other.zip", dict(reversed(RUN.items())), files)
    assert (tmp_path / "other.zip").read_bytes() == archive.read_bytes()


def test_its_metadata_is_an_ro_crate(archive: Path, tmp_path: Path) -> None:
    """What the specification 1.1 says must be there."""
    opened = open_archive(archive, tmp_path / "there")
    crate = json.loads((opened / "ro-crate-metadata.json").read_text())
    assert crate["@context"] == "https://w3id.org/ro/crate/1.1/context"
    by_id: dict[str, Any] = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(by_id) == len(crate["@graph"])
    about = by_id["ro-crate-metadata.json"]
    assert about["@type"] == "CreativeWork"
    assert about["about"] == {"@id": "./"}
    assert about["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = by_id["./"]
    assert root["@type"] == "Dataset"
    assert root["datePublished"] == "2026-01-02T03:04:05"
    assert root["name"]
    assert root["description"]
    assert root["license"]["@id"] in by_id
    files = {str(path.relative_to(opened)) for path in opened.rglob("*") if path.is_file()}
    assert {part["@id"] for part in root["hasPart"]} == files - {"ro-crate-metadata.json", "SHA256SUMS"}
    assert all(by_id[part["@id"]]["@type"] == "File" for part in root["hasPart"])
    assert by_id[by_id["#run"]["instrument"]["@id"]]["softwareVersion"] == "abc"


def entry(name: str, kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16
    return info


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("8folds/../../evil", "x")], "expected files in one folder"),
        ([("../evil", "x")], "expected files in one folder"),
        ([("/tmp/evil", "x")], "expected files in one folder"),
        ([("8folds/..\\..\\evil", "x")], "expected files in one folder"),
        ([("C:/evil", "x")], "expected files in one folder"),
        ([("8folds/./a", "x")], "expected files in one folder"),
        ([("8folds//a", "x")], "expected files in one folder"),
        ([("evil", "x")], "expected files in one folder"),
        ([("8folds/SHA256SUMS", ""), ("other/evil", "x")], "no SHA256SUMS in one folder"),
        ([("8folds/evil", "x")], "no SHA256SUMS in one folder"),
        ([(entry("8folds/link", stat.S_IFLNK), "/etc/passwd"), ("8folds/SHA256SUMS", "")], "is a link"),
        ([("8folds/SHA256SUMS", ""), ("8folds/evil", "x")], "evil is not in SHA256SUMS"),
        ([("8folds/SHA256SUMS", f"{'0' * 64}  gone\n")], "gone is only in SHA256SUMS"),
        ([("8folds/SHA256SUMS", f"{'0' * 64}  a\n"), ("8folds/a", "x")], "a does not match its hash"),
        ([("8folds/SHA256SUMS", ""), ("8folds/a", "x"), ("8folds/a/b", "x")], "is a file and a folder"),
    ],
)
def test_an_archive_that_leads_elsewhere_or_is_damaged_is_refused_and_leaves_nothing(
    tmp_path: Path, entries: list[Any], words: str
) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as made:
        for name, content in entries:
            made.writestr(name, content)
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=words):
        open_archive(tmp_path / "bad.zip", tmp_path / "in")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.zip", "in"]
    assert not list((tmp_path / "in").iterdir())


def test_what_is_no_archive_and_what_is_cut_short_is_one_line(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_archive(tmp_path / "none.zip", tmp_path)
    content = archive.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.zip").write_bytes(content[:size])
        with pytest.raises(InputError, match="no archive that can be read"):
            open_archive(tmp_path / "cut.zip", tmp_path / "there")
    (tmp_path / "8folds").mkdir()
    with pytest.raises(InputError, match="is there already"):
        open_archive(archive, tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_flipped_bit_is_one_line_or_changes_nothing(archive: Path, tmp_path: Path) -> None:
    expected, content, refused = contents(open_archive(archive, tmp_path / "there")), archive.read_bytes(), 0
    for place in range(0, len(content), 37):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        (tmp_path / "damaged.zip").write_bytes(damaged)
        try:
            # in the headers there are fields that nobody reads
            assert contents(open_archive(tmp_path / "damaged.zip", tmp_path / str(place))) == expected
        except InputError:
            refused += 1
    assert refused > len(content) / 37 / 2

"""A run's folder leads to its files in the store, and says which they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from arcfold.runs.links import link_all


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with two files and a folder; links are made relative to the folder that Snakemake runs in."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("a.json", "one"), ("b.json", "two"), ("adapter/weights", "three")):
        path = tmp_path / "store" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "store"


def test_every_link_leads_to_its_file_with_its_hash(store: Path) -> None:
    run = store.parent / "runs" / "mine"
    targets = {"folds.json": "store/a.json", "found/fold-0.json": "store/b.json", "adapters/fold-0": "store/adapter"}
    made = link_all(Path("runs/mine"), targets)
    assert {name: entry["store"] for name, entry in made.items()} == targets
    assert (run / "folds.json").read_text() == "one"
    assert (run / "adapters/fold-0/weights").read_text() == "three"
    assert not any((run / name).readlink().is_absolute() for name in targets)
    assert made["found/fold-0.json"]["sha256"] == hashlib.sha256(b"two").hexdigest()


def test_links_follow_and_those_of_folds_that_are_no_more_go(store: Path) -> None:
    link_all(Path("runs/mine"), {"found/fold-0.json": "store/a.json", "found/fold-1.json": "store/b.json"})
    (store.parent / "runs/mine/found/notes.txt").write_text("a user's own")
    link_all(Path("runs/mine"), {"found/fold-0.json": "store/b.json"})
    found = store.parent / "runs/mine/found"
    assert sorted(path.name for path in found.iterdir()) == ["fold-0.json", "notes.txt"]
    assert (found / "fold-0.json").read_text() == "two"


def test_a_folders_hash_is_that_of_what_is_in_it(store: Path) -> None:
    def hash_now() -> str:
        return link_all(Path("runs/mine"), {"adapters/fold-0": "store/adapter"})["adapters/fold-0"]["sha256"]

    before = hash_now()
    (store / "adapter/.snakemake_timestamp").touch()
    assert hash_now() == before
    (store / "adapter/weights").write_text("thrEE")
    assert hash_now() != before

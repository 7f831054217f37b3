"""A bundle as a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from made_models import bigram_model
from made_wheels import made_wheel
from shipped import ROOT

from arcfold.jobs.checksums import check_own_sums, files_of
from arcfold.jobs.files import InputError, hash_of_files
from arcfold.kaggle.bundle import in_words, workflow_files, write_bundle

ABOUT = {"run": "8folds", "python": "3.12", "left_out": "torch"}


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Any]:
    made_wheel(tmp_path / "fetched", "pure", "1.0")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "one.json").write_text("{}")
    (tmp_path / "mine.json").write_text("[]")
    model = bigram_model(tmp_path / "model")
    (model / "LICENSE.txt").write_text("free")
    (model / "consolidated.pth").write_text("not read")
    return {
        "model": model,
        "parts": {
            "wheels": str(tmp_path / "fetched"),
            "data/a/tasks": str(tmp_path / "tasks"),
            "data/b/mine.json": str(tmp_path / "mine.json"),
        },
    }


def test_it_has_every_part_with_its_size_and_hash_and_the_same_bytes_again(
    parts: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    manifest = write_bundle(folder, workflow=ROOT, config={"run": "8folds"}, about=ABOUT, **parts)
    check_own_sums(folder, complete=True)
    names = files_of(folder)
    assert {"bundle.json", "config.json", "notebook.ipynb", "model/model.safetensors", "model/LICENSE.txt",
            "data/a/tasks/one.json", "data/b/mine.json", "wheels/pure-1.0-py3-none-any.whl", "workflow/Snakefile",
            "workflow/schemas/config.schema.json", "workflow/profiles/default/config.yaml"} <= set(names)  # fmt: skip
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pth", ".pyc"))]
    assert json.loads((folder / "bundle.json").read_text()) == manifest
    counted = [name for name in names if name != "bundle.json"]
    assert manifest["bytes"] == sum((folder / name).stat().st_size for name in counted)
    assert manifest["parts"]["data"] == {"files": 2, "bytes": 4}
    assert any(line.startswith("in all ") for line in in_words(manifest))
    before = hash_of_files(folder, names)
    write_bundle(folder, workflow=ROOT, config={"run": "8folds"}, about=ABOUT, **parts)
    assert hash_of_files(folder, files_of(folder)) == before


def test_it_appears_whole_or_not_at_all(parts: dict[str, Any], tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "tasks")
    with pytest.raises(InputError, match=r"tasks: no files, expected what the bundle has as data/a/tasks"):
        write_bundle(tmp_path / "bundle", workflow=ROOT, config={}, about=ABOUT, **parts)
    assert [path.name for path in tmp_path.iterdir() if "bundle" in path.name] == []
    with pytest.raises(InputError, match=r"Snakefile: no such file, expected a whole copy of the workflow"):
        workflow_files(tmp_path)

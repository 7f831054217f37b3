"""A tiny workflow of eight folds, one task each."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml
from made_models import bigram_model
from shipped import ROOT
from tiny_workflow import CONFIG, PARTS, Workflow

FOLDS = 8


def make_workflow(folder: Path) -> Workflow:
    folder.mkdir()
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    workflow = Workflow(folder)
    bigram_model(folder / "models" / "bigram")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIG | {"run": "8folds"}, sort_keys=False))
    pair = {"input": [[1, 2]], "output": [[7]]}
    tasks = {f"task{n}": {"train": [pair, pair], "test": [{"input": [[n, 1]], "output": [[n]]}]} for n in range(FOLDS)}
    workflow.write("mine.json", tasks)
    return workflow

"""The package that `pip install .` makes: whole, and enough for transformers to know our models."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from shipped import ROOT


def test_every_package_of_the_library_is_named() -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    scripts = ROOT / "workflow_scripts"
    there = {".".join(path.parent.relative_to(scripts).parts) for path in scripts.glob("arcfold/**/__init__.py")}
    assert set(named) == there | {"arcfold.schemas"}


def test_an_installed_package_makes_transformers_know_our_models(tmp_path: Path) -> None:
    clone, installed = tmp_path / "clone", tmp_path / "installed"
    for name in ("workflow_scripts/arcfold", "schemas"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    # no index is asked: what builds it stands in the environment
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-compile", "--target", str(installed), str(clone)], check=True, cwd=tmp_path)
    code = (
        "import arcfold; from transformers import AutoConfig; from arcfold.jobs.files import read_json; "
        "print(arcfold.__file__, AutoConfig.for_model('arcfold_qwen3').model_type)"
    )
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [str(installed / "arcfold" / "__init__.py"), "arcfold_qwen3"], done.stderr[-2000:]
    schemas = {path.name for path in (installed / "arcfold" / "schemas").iterdir()}
    assert schemas == {path.name for path in (ROOT / "schemas").iterdir()}

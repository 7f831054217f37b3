"""The notebook of a bundle."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from arcfold.kaggle.notebook import notebook


def test_it_is_a_notebook_of_three_cells() -> None:
    made = nbformat.from_dict(notebook("8folds"))
    nbformat.validate(made)
    assert (made.nbformat, made.nbformat_minor) == (4, 5)
    assert [cell.id for cell in made.cells if cell.cell_type == "code"] == ["install", "run", "leave"]


def test_without_a_bundle_each_cell_ends_and_one_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space: dict[str, object] = {}
    for cell in notebook("8folds")["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]).replace("/kaggle", str(tmp_path)), space)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"error: no bundle below {tmp_path}/input, expected it among the notebook's inputs")

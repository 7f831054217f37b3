"""The example of docs/one_task.md solves its task, is short, stands on its own, and searches exactly."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import math
import random
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from environments import environment_of_tests
from hypothesis import given
from hypothesis import strategies as st
from made_tasks import grids, task, tasks
from shipped import ROOT
from tiny_models import tiny_model

from arcfold.arc.tasks import Task, task_to_json
from arcfold.arc.views import SYMMETRIES
from arcfold.models.positions import MODEL_TYPE

EXAMPLE = ROOT / "examples" / "one_task.py"
SMALL = task("small", [("12 30", "21 03"), ("400", "004")], [("56 78", "65 87")])
"""Mirrored grids, which are read and answered quickly."""


@pytest.fixture(scope="module")
def one_task() -> ModuleType:
    spec = importlib.util.spec_from_file_location("one_task", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["one_task"] = module
    spec.loader.exec_module(module)
    return module


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The example as a user starts it, who has no PYTHONPATH and no network."""
    variables = environment_of_tests(HF_HUB_OFFLINE="1", PYTHONPATH="", **environment)
    command = [sys.executable, str(EXAMPLE), *arguments]
    return subprocess.run(command, cwd=ROOT.parent, env=variables, capture_output=True, text=True, timeout=500)


def written(folder: Path, content: Task) -> str:
    """The path of a file with this task."""
    (folder / "mine.json").write_text(json.dumps(task_to_json(content)), encoding="utf-8")
    return str(folder / "mine.json")


# --- as a program ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_solves_its_task_and_shows_two_attempts() -> None:
    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(r"^test input +attempt 1 +attempt 2 +solution$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("\none attempt is right\n")


def test_a_file_that_is_no_task_ends_it_with_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{"train": [', encoding="utf-8")
    done = run(str(broken))
    assert done.returncode == 1
    assert re.fullmatch(r".*broken\.json: line 1, column 12: the JSON ends here in the middle.*\n", done.stderr)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.json", "missing.json: no such file"),
        ("00000000", "no task of ARC-AGI-1 or ARC-AGI-2 has this id"),
        (str(ROOT), "no task files, expected a folder of {id}.json"),
        (str(ROOT / "schemas" / "config.schema.json"), "expected an object with the keys 'train' and 'test'"),
    ],
)
def test_what_is_no_task_is_told(one_task: ModuleType, name: str, message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        one_task.main(name)
    assert isinstance(ended.value.code, str)  # printed to stderr; the exit status is 1
    assert message in ended.value.code
    assert "\n" not in ended.value.code


def test_the_same_seed_prints_the_same(one_task: ModuleType, monkeypatch: Any, capsys: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(one_task, "EPOCHS", 1)
    path = written(tmp_path, SMALL)
    printed = []
    for _ in range(2):
        one_task.main(path)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "candidate with p = " in printed[0]


def test_a_task_without_a_solution_gets_its_attempts(
    one_task: ModuleType, monkeypatch: Any, capsys: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(one_task, "EPOCHS", 1)
    one_task.main(written(tmp_path, task("open", [("12", "21")], [("34", None), ("5", None)])))
    printed = capsys.readouterr().out
    assert printed.count("attempt 1") == 2
    assert "solution" not in printed
    assert "right" not in printed


# --- as a text to read ----------------------------------------------------------------------------


def test_it_has_at_most_150_lines() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 150


def test_it_uses_nothing_of_the_library_but_grids_and_text() -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(EXAMPLE.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module))
    ours = {name for name in imported if name.split(".")[0] == "arcfold"}
    assert ours == {"arcfold.arc.tasks", "arcfold.arc.text"}
    others = {name.split(".")[0] for name in imported - ours} - sys.stdlib_module_names
    assert others == {"torch", "transformers", "peft"}


# --- views ----------------------------------------------------------------------------------------


@given(tasks(), st.randoms(use_true_random=False))
def test_a_view_can_be_undone(one_task: ModuleType, some: Task, draws: random.Random) -> None:
    for view in one_task.draw_views(some, draws):
        for pair in (*some.train, *some.test):
            assert view.invert(view.apply(pair.input)) == pair.input
        seen = view.demonstrations(some)
        undone = [(view.invert(pair.input), view.invert(pair.output)) for pair in seen]
        assert undone == [(some.train[place].input, some.train[place].output) for place in view.order]


@given(grids(6))
def test_eight_views_are_the_eight_symmetries(one_task: ModuleType, grid: Any) -> None:
    views = one_task.draw_views(SMALL, random.Random(0))
    turned = {view._replace(colours=list(range(10))).apply(grid) for view in views}
    expected = set()
    for moves in SYMMETRIES.values():
        moved = grid
        for move in moves:
            moved = move(moved)
        expected.add(moved)
    assert turned == expected


def test_colours_and_order_are_permutations_that_differ_from_view_to_view(one_task: ModuleType) -> None:
    views = one_task.draw_views(SMALL, random.Random(0))
    assert all(sorted(view.colours) == list(range(10)) for view in views)
    assert all(sorted(view.order) == [0, 1] for view in views)
    assert len({tuple(view.colours) for view in views}) == 8


# --- search ---------------------------------------------------------------------------------------

END, VOCABULARY, PROMPT = 3, 5, [0, 2, 1, 4]


def brute_force(model: Any, longest: int) -> dict[tuple[int, ...], float]:
    """The probability of every reply of at most `longest` tokens, each from the whole text, without a cache."""
    others = [token for token in range(VOCABULARY) if token != END]
    replies = [(*body, END) for length in range(longest) for body in itertools.product(others, repeat=length)]
    probabilities = {}
    for reply in replies:
        with torch.no_grad():
            logits = model(torch.tensor([[*PROMPT, *reply]])).logits[0, len(PROMPT) - 1 : -1]
        log_probs = logits.log_softmax(-1)
        probabilities[reply] = math.exp(sum(log_probs[place, token].item() for place, token in enumerate(reply)))
    return probabilities


@pytest.mark.parametrize(("architecture", "seed"), [("qwen3", 0), ("qwen3", 1), ("qwen3", 2), (MODEL_TYPE, 0)])
def test_the_search_finds_what_brute_force_finds(one_task: ModuleType, architecture: str, seed: int) -> None:
    model, longest = tiny_model(architecture, seed=seed, vocabulary=VOCABULARY), 5
    all_replies = brute_force(model, longest)
    lengths = set()
    # between two probabilities, so that rounding decides nothing
    ranked = sorted(all_replies.values(), reverse=True)
    for count in (1, 2, 5, 20, 60):
        min_prob = math.sqrt(ranked[count - 1] * ranked[count])
        found = one_task.search(model, PROMPT, END, min_prob, longest)
        expected = {reply for reply, probability in all_replies.items() if probability >= min_prob}
        assert len(found) == len(expected) == count
        assert set(map(tuple, found)) == expected
        lengths |= {len(reply) for reply in expected}
    assert lengths == set(range(1, longest + 1))  # the longest ones too


def test_the_search_reads_no_token_twice_and_keeps_few_prefixes(one_task: ModuleType) -> None:
    model, min_prob, shapes = tiny_model("qwen3", vocabulary=VOCABULARY), 0.02, []

    def counted(tokens: Any, **options: Any) -> Any:
        shapes.append(tuple(tokens.shape))
        return model(tokens, **options)

    one_task.search(counted, PROMPT, END, min_prob, 12)
    assert shapes[0] == (1, len(PROMPT))
    assert all(width == 1 and rows <= 1 / min_prob for rows, width in shapes[1:])
    assert len(shapes) <= 12

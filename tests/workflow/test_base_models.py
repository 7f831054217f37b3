"""The rules that train a base model: archive and families to shards, shards to a model, and on from there."""

from __future__ import annotations

import json
import zipfile

import pytest

SHAPE = {"layers": 1, "width": 32, "hidden": 64, "heads": 1, "head_size": 32, "positions_by": "grids"}
BATCHES = {"tokens": 4096, "longest": 2048}
RECIPES = {
    "corpora": {
        "archived": {"path": "archived.zip", "layout": "tasks"},
        "made": {"families": {"tasks": 1, "pairs": 4, "names": ["stairs", "whole_turn"]}},
        "development": {"dataset": "arc1_training", "split": "development"},
    },
    "base_models": {
        "tiny": {
            "corpora": {"archived": 1, "made": 3},
            "held_out": ["made"],
            "shape": SHAPE,
            "batches": BATCHES,
            "budget": {"steps": 3},
            "adapting": {"to": "made", "steps": 1, "tokens": 2048},
        },
        "more": {
            "corpora": {"made": 1},
            "goes_on_from": "tiny",
            "shape": SHAPE,
            "batches": BATCHES,
            "budget": {"steps": 2},
        },
    },
}


def archive(workflow, tasks):
    with zipfile.ZipFile(workflow.path("archived.zip"), "w") as made:
        for name, task in tasks.items():
            made.writestr(f"tasks/{name}.json", json.dumps(task))


def easy(colour):
    return {"train": [{"input": [[colour, n]], "output": [[n, colour]]} for n in range(3)], "test": []}


@pytest.mark.slow
def test_a_base_model_is_a_target_like_any_other(fresh):
    archive(fresh, {f"task{n}": easy(n) for n in range(4, 8)})
    call = fresh("results/base_model/more", **RECIPES)
    assert call.status == 0, call.said
    assert call.jobs == {"make_shards": 2, "train_base_model": 2}
    tiny, more = (fresh.read(f"results/base_model/{name}/training.json") for name in ("tiny", "more"))
    assert (tiny["progress"]["steps"], more["progress"]["steps"]) == (3, 5)
    assert more["resumed"]
    assert tiny["mixture"] == {"archived": 1, "made": 3}
    assert tiny["adapted"][0]["to"] == "made"
    card = fresh.path("results/base_model/tiny/README.md").read_text()
    assert "archived.zip" in card
    assert "refuse it. Weights have the names and shapes of Qwen3" in card
    assert fresh.read("results/base_model/tiny/config.json")["model_type"] == "arcfold_qwen3"
    shard = fresh.read("results/corpora/archived/shard.json")
    assert shard["provenance"]["inputs"]["archive"][:16] in card
    assert shard["n_tasks"] == 4
    assert fresh.path("results/base_model/tiny/model.safetensors").is_file()


def test_a_corpus_with_an_evaluation_task_is_refused(fresh, arc):
    task = next(task for task in arc["arc1_evaluation"] if len(task.train) == 3)
    pairs = [
        {side: [[(9 - cell) for cell in row[::-1]] for row in getattr(pair, side)] for side in ("input", "output")}
        for pair in (*task.train, *task.test)
    ]
    archive(fresh, {"harmless": easy(5), "planted": {"train": pairs, "test": []}})
    call = fresh("results/corpora/archived", **RECIPES)
    assert call.status == 1
    assert any("planted" in line and task.id in line for line in call.our_lines)
    assert not fresh.path("results/corpora/archived").exists()


def test_a_wrong_recipe_ends_with_one_line(fresh):
    wrong = {"tiny": {"corpora": {"development": 1}, "budget": {"steps": 1}}}
    call = fresh("--dry-run", "results/base_model/tiny", **RECIPES | {"base_models": wrong})
    assert call.status == 1
    assert any("development is held out" in line for line in call.our_lines), call.said

"""A run with the embedded model: greedy generation by a fold's merged model is the best reply."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from shipped import ROOT
from tiny_workflow import Workflow
from transformers import AutoModelForCausalLM, AutoTokenizer

from arcfold.arc.views import View

Grid = list[list[int]]


def rows(grid: Grid) -> str:
    return "".join("".join(map(str, row)) + "\n" for row in grid)


@pytest.mark.slow
def test_greedy_generation_is_the_best_reply_with_our_log_probability(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path)
    config = {
        "datasets": {"three": {"of": "arc1_evaluation", "shortest": 3}},
        "models": {"base-15m": {"path": "resources/base-15m", "format": "embedded", "dtype": "float32"}},
        "settings": {"training": {"learning_rate": 1e-3, "embedding_learning_rate": 1e-3}},
    }
    workflow.path("tiny.yaml").write_text(yaml.safe_dump(config))
    merged, found = "results/runs/three_1folds/merged/fold-0", "results/runs/three_1folds/candidates/fold-0.json"
    place = ("-s", str(ROOT / "Snakefile"), "--directory", str(tmp_path))
    call = workflow(merged, found, "results/challenges/three.json", *place)
    assert call.status == 0, call.said
    tokenizer = AutoTokenizer.from_pretrained(workflow.path(merged))
    model = AutoModelForCausalLM.from_pretrained(workflow.path(merged)).eval()
    tasks, compared = workflow.read("results/challenges/three.json"), set()
    for name, task in workflow.read(found)["tasks"].items():
        views = [View.from_json(view) for view in task["views"]]
        for test, entry in enumerate(task["test"]):
            for candidate in entry["candidates"]:
                for seen in candidate["found"]:
                    if seen["log_prob"] > math.log(0.5):
                        view = views[seen["view"]]
                        text = "".join(
                            f"I{rows(view.apply(pair['input']))}O{rows(view.apply(pair['output']))}<eos>"
                            for pair in (tasks[name]["train"][index] for index in view.order)
                        )
                        text += f"I{rows(view.apply(tasks[name]['test'][test]['input']))}O"
                        given = tokenizer(text, return_tensors="pt")
                        # the settings of generation_config.json: greedy, up to <eos>
                        made = model.generate(
                            **given, max_new_tokens=1000, output_logits=True, return_dict_in_generate=True
                        )
                        reply = made.sequences[0, given.input_ids.shape[1] :]
                        assert tokenizer.decode(reply) == f"{rows(view.apply(candidate['grid']))}<eos>"
                        steps = torch.cat(made.logits).log_softmax(-1)
                        assert abs(steps.gather(1, reply[:, None]).sum().item() - seen["log_prob"]) < 1e-4
                        compared.add(name)
    assert compared == set(tasks), json.dumps(sorted(compared))

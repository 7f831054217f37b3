"""Pages of real runs: made from what is there, made again when there is more."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tiny_workflow import Workflow, copied

PAGE, SCORE = "results/score_tiny.html", "results/score_tiny.json"


def summary(workflow: Workflow, page: str) -> Any:
    text = workflow.path(page).read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="summary">(.*?)</script>', text)
    return json.loads(found)


def test_the_page_of_a_run_says_what_its_score_says(done):
    told, score = summary(done, PAGE), done.read(SCORE)
    (configuration,) = told["configurations"]
    (run,) = configuration["runs"]
    assert (run["run"], run["score"], run["oracle"]) == ("tiny", score["score"], score["oracle"])
    assert [task["id"] for task in told["tasks"]] == list(score["tasks"])
    right = [letter == "0" for letters in run["outcomes"] for letter in letters]
    assert right == [output["correct"] for task in score["tasks"].values() for output in task["outputs"]]
    assert told["data"]["sha256"] == score["data"]["sha256"]
    assert configuration["all_settings"]["search.min_prob"] == 0.04
    text = done.path(PAGE).read_text(encoding="utf-8")
    assert text.count('<script type="application/gzip"') == 2
    assert "<code>snakemake results/score_tiny.html</code>" in text


@pytest.fixture(scope="module")
def compared(done: Workflow, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workflow, str]:
    """The workflow with a second seed and a comparison, and what the call said."""
    workflow = copied(done, tmp_path_factory.mktemp("compared"))
    call = workflow("results/score_tiny-seed1.json", "results/compare_lower--tiny.html")
    assert call.status == 0, call.said
    return workflow, call.said


@pytest.mark.slow
def test_a_run_ends_with_its_results_and_the_command_of_its_page(compared):
    workflow, said = compared
    score = workflow.read("results/score_tiny-seed1.json")
    ending = said.partition("tiny-seed1: score")[2]
    assert f" {score['score']:.2f} %, mean of 2 seeds" in ending
    assert f"oracle {score['oracle']:.2f} %, device time" in ending
    missed = sum(each["n"] for each in score["misses"]["reasons"].values())
    assert (f"  missed {missed} of 3 outputs: " in ending) is bool(missed)
    command = "snakemake results/score_tiny-seed1.html --configfile tiny.yaml more.yaml"
    assert f"  report: {command}\n" in ending


@pytest.mark.slow
def test_the_page_of_a_comparison_has_both_runs_and_what_each_found(compared):
    workflow, _ = compared
    told = summary(workflow, "results/compare_lower--tiny.html")
    assert [each["name"] for each in told["configurations"]] == ["tiny", "lower"]
    assert told["columns"] == ["search.min_prob"]
    (pair,) = told["pairs"]
    assert pair["sentence"] == workflow.read("results/compare_lower--tiny.json")["pairs"][0]["sentence"]


@pytest.mark.slow
def test_the_page_of_a_run_takes_other_seeds_when_they_are_finished(compared):
    workflow, _ = compared
    assert workflow("--dry-run", PAGE).jobs == {"report_run": 1}
    assert workflow(PAGE).status == 0
    told = summary(workflow, PAGE)
    (configuration,) = told["configurations"]
    assert [run["run"] for run in configuration["runs"]] == ["tiny", "tiny-seed1"]
    scores = [workflow.read(f"results/score_{run}.json")["score"] for run in ("tiny", "tiny-seed1")]
    assert configuration["score"]["mean"] == pytest.approx(sum(scores) / 2, abs=1e-3)
    assert "Nothing to be done" in workflow("--dry-run", PAGE).said

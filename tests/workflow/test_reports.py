"""Pages of real runs: made from what is there, made again when there is more."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any

import pytest
from tiny_workflow import STUDIES, Call, Workflow, copied

PAGE, SCORE = "results/score_tiny.html", "results/score_tiny.json"
STUDY, ENSEMBLE = "results/compare_mine", "both-seed0"


def summary(workflow: Workflow, page: str) -> Any:
    """What a page knows from the start."""
    text = workflow.path(page).read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="summary">(.*?)</script>', text)
    return json.loads(found)


def packed(workflow: Workflow, page: str) -> dict[str, Any]:
    """What a page knows of each task, by its id."""
    text = workflow.path(page).read_text(encoding="utf-8")
    found = {}
    for each in re.findall(r'<script type="application/gzip" id="packed-\d+">(.*?)</script>', text):
        content = gzip.decompress(base64.b64decode(each))
        task = json.loads(content[4 : 4 + int.from_bytes(content[:4], "little")])
        found[task["id"]] = task
    return found


@pytest.fixture(scope="module")
def paged(studied: Workflow, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workflow, Call]:
    """The workflow with pages, and the call that made them. The score of a seed was missing before it."""
    workflow = copied(studied, tmp_path_factory.mktemp("paged"))
    workflow.path("results/score_tiny-seed1.json").unlink()
    pages = (f"{STUDY}.html", PAGE, f"results/score_{ENSEMBLE}.html", "results/score_theirs.html")
    call = workflow("results/score_tiny-seed1.json", *pages, **STUDIES)
    assert call.status == 0, call.said
    return workflow, call


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
    assert packed(done, PAGE).keys() == score["tasks"].keys()
    assert "<code>snakemake results/score_tiny.html</code>" in done.path(PAGE).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_run_ends_with_its_results_and_the_command_of_its_page(paged):
    workflow, call = paged
    score = workflow.read("results/score_tiny-seed1.json")
    ending = call.said.partition("tiny-seed1: score")[2]
    assert f" {score['score']:.2f} %, mean of 2 seeds" in ending
    assert f"oracle {score['oracle']:.2f} %, device time" in ending
    missed = sum(each["n"] for each in score["misses"]["reasons"].values())
    assert (f"  missed {missed} of 3 outputs: " in ending) is bool(missed)
    assert "  report: snakemake results/score_tiny-seed1.html --configfile tiny.yaml more.yaml\n" in ending
    assert f"{STUDY}.json: report: {STUDY}.html\n" in ending


@pytest.mark.slow
def test_the_page_of_a_study_has_all_its_runs_and_what_each_found(paged):
    workflow, _ = paged
    told, comparison = summary(workflow, f"{STUDY}.html"), workflow.read(f"{STUDY}.json")
    names = ["tiny", "tiny_min_prob0p02", "theirs", "both"]
    assert [each["name"] for each in told["configurations"]] == names
    assert (told["notes"], told["pairs"]) == ("Why?", comparison["pairs"])
    assert set(told["columns"]) >= {"search.min_prob", "submission", "ensemble"}
    runs = [run["run"] for each in told["configurations"] for run in each["runs"]]
    for task_id, task in packed(workflow, f"{STUDY}.html").items():
        for place, test in enumerate(task["test"]):
            # every run but the submission from elsewhere has candidates
            assert {runs[int(number)] for number in test["counts"]} == set(runs) - {"theirs"}
            (submission,) = {run for run, *_ in test["findings"] if runs[run] == "theirs"} or {runs.index("theirs")}
            attempts = workflow.read("theirs.json")[task_id][place].values()
            shown = {test["candidates"][candidate] for run, candidate, *_ in test["findings"] if run == submission}
            assert shown <= {"/".join("".join(map(str, row)) for row in grid) for grid in attempts}


@pytest.mark.slow
def test_the_page_of_an_ensemble_has_the_views_of_all_members(paged):
    workflow, _ = paged
    for task in packed(workflow, f"results/score_{ENSEMBLE}.html").values():
        for test in task["test"]:
            assert {(searched, scored) for *_, searched, scored in test["findings"]} == {(2 + 3, 2 + 4)}


@pytest.mark.slow
def test_the_page_of_a_run_takes_other_seeds_that_are_finished_when_it_is_asked_for(paged):
    workflow, call = paged
    assert call.jobs["report_run"] == 2  # that of tiny was there, and its second seed was not finished at the start
    assert workflow(PAGE, **STUDIES).jobs == {"report_run": 1}
    (configuration,) = summary(workflow, PAGE)["configurations"]
    assert [run["run"] for run in configuration["runs"]] == ["tiny", "tiny-seed1"]
    scores = [workflow.read(f"results/score_{run}.json")["score"] for run in ("tiny", "tiny-seed1")]
    assert configuration["score"]["mean"] == pytest.approx(sum(scores) / 2, abs=1e-3)
    assert "Nothing to be done" in workflow("--dry-run", PAGE, f"{STUDY}.html", **STUDIES).said

"""The submission so far is whole and valid at every moment, and an answer that is better never gives way."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time

import pytest
from made_tasks import task
from shipped import ROOT

from arcfold.arc.selection import Candidate, ranked
from arcfold.jobs.files import check_schema
from arcfold.planning.so_far import NAME, attempts_of, begin, improve
from arcfold.runs.predictions import read_submission

TASKS = [task(name, [("1", "2")] * 2, [("12", None), ("3", None)]) for name in "abcd"]


def found(grid, *log_probs):
    return {"grid": [[grid]], "found": [{"view": view, "log_prob": value} for view, value in enumerate(log_probs)]}


def searched(*of_inputs):
    return {"views": [], "test": [{"candidates": list(each)} for each in of_inputs]}


def rescored(*of_inputs):
    return {"scoring_views": [{}], "test": [{"candidates": list(each)} for each in of_inputs]}


def test_it_begins_with_the_fallback_and_gets_better(tmp_path):
    path = tmp_path / NAME
    begin(path, TASKS, goes_on=False)
    fallback = read_submission(path, TASKS)
    assert fallback["a"][0] == (((1, 2),), ((0, 0),))
    improve(path, TASKS[:1], {"a": searched([found(7, -1.0), found(8, -1.0, -1.0)], [])}, "product_of_experts")
    now = read_submission(path, TASKS)
    assert now["a"] == [(((8,),), ((7,),)), fallback["a"][1]]  # the one that more views found
    assert {name: now[name] for name in "bcd"} == {name: fallback[name] for name in "bcd"}
    scored = [{**found(7, -1.0), "scored": [-0.1]}, {**found(8, -1.0, -1.0), "scored": [-0.2]}]
    improve(path, TASKS[:1], {"a": rescored(scored, [])}, "product_of_experts")
    assert read_submission(path, TASKS)["a"][0] == (((7,),), ((8,),))


def test_a_second_call_keeps_what_there_is_and_another_run_begins_anew(tmp_path):
    path = tmp_path / NAME
    begin(path, TASKS, goes_on=False)
    improve(path, TASKS[:1], {"a": searched([found(7, -1.0)], [])}, "product_of_experts")
    better = path.read_bytes()
    begin(path, TASKS, goes_on=True)
    assert path.read_bytes() == better
    begin(path, TASKS, goes_on=False)
    assert path.read_bytes() != better
    path.write_text("{")  # damaged: there is nothing to keep
    begin(path, TASKS, goes_on=True)
    assert len(read_submission(path, TASKS)) == 4


@pytest.mark.parametrize("method", ["product_of_experts", "count_and_mean", "sum_2024"])
def test_what_nothing_has_scored_is_ranked_by_the_views_that_found_it(method):
    once, twice = Candidate(((1,),), (-1.0,), ()), Candidate(((2,),), (-1.5, -1.5), ())
    assert ranked([once, twice], method) == [twice, once]
    assert attempts_of(TASKS[0], [[], []], method)[0]["attempt_1"] == ((1, 2),)


def test_whoever_is_killed_in_the_middle_leaves_a_whole_file(tmp_path):
    """Processes that put answers in one after the other are killed at random moments."""
    path = tmp_path / NAME
    begin(path, TASKS, goes_on=False)
    script = f"""
import sys
sys.path[:0] = [{str(ROOT / "workflow_scripts")!r}, {str(ROOT / "tests" / "helpers")!r}]
from pathlib import Path
from made_tasks import task
from arcfold.planning.budget import Ledger
from arcfold.planning.so_far import improve
path = Path({str(path)!r})
tasks = [task(name, [("1", "2")] * 2, [("12", None), ("3", None)]) for name in "abcd"]
print("ready", flush=True)
while True:
    for each in tasks:
        for grid in range(1, 9):
            found = {{"grid": [[grid]], "found": [{{"view": 0, "log_prob": -1.0}}]}}
            entry = {{"views": [], "test": [{{"candidates": [found]}}] * 2}}
            with Ledger(path.with_name("budget.json")).locked():
                improve(path, [each], {{each.id: entry}}, "product_of_experts")
"""
    draws = random.Random(0)
    answered: set[str] = set()
    for _ in range(3):
        writers = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(2)]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        for _ in range(20):
            time.sleep(draws.uniform(0, 0.02))
            content = json.loads(path.read_text())
            check_schema(content, "submission", "submission")
            read_submission(path, TASKS)
            now = {name for name, outputs in content.items() if len(outputs[0]["attempt_1"][0]) == 1}
            assert answered <= now
            answered = now
        for writer in writers:
            writer.kill()
            writer.wait()
    assert answered
    read_submission(path, TASKS)

"""Any job can be done again by hand from its file, and gives what it gave."""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_workflow import Call, Workflow

from arcfold.jobs.files import check_schema, without_provenance


def by_hand(workflow: Workflow, command: str, **more: Any) -> Call:
    """Calls a command as a log has it, with this Python, and no device as the workflow had none."""
    words = shlex.split(command)
    assert words[0] == "python"
    done = subprocess.run(
        [sys.executable, *words[1:]], cwd=workflow.folder, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more,
    )  # fmt: skip
    return Call(done.returncode, done.stdout)


def first_line(workflow: Workflow, log: str) -> str:
    return workflow.path(log).read_text(encoding="utf-8").splitlines()[0]


def contents(path: Path) -> dict[str, object]:
    """Every file of an output; JSON without its provenance."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {
        file.name: without_provenance(json.loads(file.read_text())) if file.suffix == ".json" else file.read_bytes()
        for file in files
        if file.name != ".snakemake_timestamp"
    }


def log_of(workflow: Workflow, rule: str, name: str) -> str:
    """The log of the one job of a rule whose path ends so."""
    (path,) = workflow.path(f"results/logs/{rule}/mine").rglob(name)
    return str(path.relative_to(workflow.folder))


@pytest.mark.parametrize(
    ("rule", "log"),
    [
        ("make_folds", "*.log"),
        ("train_adapter", "fold-0.log"),
        ("search_candidates", "fold-0.log"),
        ("rescore_candidates", "fold-1.log"),
    ],
)
def test_a_job_by_hand_gives_what_it_gave(copy: Workflow, rule: str, log: str) -> None:
    log = log_of(copy, rule, log)
    command = first_line(copy, log)
    request = json.loads(copy.path(f"{log.removesuffix('.log')}.job.json").read_text())
    check_schema(request, "job", "the file of a job")
    assert command == f"python workflow_scripts/run_job.py {log.removesuffix('.log')}.job.json"
    assert request["rule"] == rule
    # by name where the rule names its files
    (output,) = request["output"].values() if isinstance(request["output"], dict) else request["output"]
    before = contents(copy.path(output))
    shutil.rmtree(copy.path(output)) if copy.path(output).is_dir() else copy.path(output).unlink()
    call = by_hand(copy, command)
    assert call.status == 0, call.said
    assert contents(copy.path(output)) == before
    assert first_line(copy, log) == command


def test_a_job_by_hand_can_be_changed_in_its_file(copy: Workflow) -> None:
    path = copy.path(f"{log_of(copy, 'search_candidates', 'fold-0.log').removesuffix('.log')}.job.json")
    request = json.loads(path.read_text())
    request["params"]["settings"]["min_prob"], request["output"] = 0.02, ["more.json"]
    path.write_text(json.dumps(request))
    call = by_hand(copy, f"python workflow_scripts/run_job.py {path.relative_to(copy.folder)}")
    assert call.status == 0, call.said
    assert copy.read("more.json")["min_prob"] == 0.02


def test_a_debugger_gets_the_error_itself(copy: Workflow) -> None:
    log = log_of(copy, "search_candidates", "fold-0.log")
    copy.path("results/challenges/mine.json").write_text("{")
    command = first_line(copy, log).replace("python ", "python -m pdb -c continue ", 1)
    call = by_hand(copy, command, input="where\nquit\n")
    assert "Entering post mortem debugging" in call.said
    assert "search_candidates.py" in call.said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "error: expected one argument, the file of a job: results/logs/….job.json"),
        ("gone.job.json", "error: gone.job.json: no such file"),
        ("empty.job.json", "error: empty.job.json: top level: 'rule' is a required property"),
        ("foreign.job.json", "error: foreign.job.json: script: no rm_all.py in"),
    ],
)
def test_a_file_that_is_no_jobs_is_one_line(fresh: Workflow, arguments: str, said: str) -> None:
    fresh.write("empty.job.json", "{}")
    parts = {"input": [], "output": [], "params": {}, "wildcards": {}, "resources": {}, "config": {}, "log": ["a.log"]}
    fresh.write("foreign.job.json", {"rule": "x", "script": "rm_all.py", "threads": 1, **parts})
    call = by_hand(fresh, f"python workflow_scripts/run_job.py {arguments}")
    assert call.status == 1
    assert call.said.startswith(said)
    assert call.said.count("\n") == 1


@pytest.mark.parametrize("mebibytes", [250, 450])
def test_a_job_that_a_memory_limit_ends_says_so_in_one_line(copy: Workflow, mebibytes: int) -> None:
    """Too little for the libraries, of which torch's needs 600 MiB of addresses."""
    command = first_line(copy, log_of(copy, "search_candidates", "fold-0.log"))
    limit = (mebibytes << 20, mebibytes << 20)
    call = by_hand(copy, command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit))
    assert call.status == 1
    assert call.said.startswith("error: out of memory (")
    assert call.said.count("\n") == 1

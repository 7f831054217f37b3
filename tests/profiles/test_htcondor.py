"""What the profile for HTCondor hands to a pool. There is none here: the submit descriptions are looked at."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from eight_folds import make_workflow

pytest.importorskip("snakemake_executor_plugin_htcondor", reason="the plugin is no part of the environment")

DRIVER = """
import sys
from pathlib import Path
import htcondor2
from snakemake.cli import main

class Schedd:
    def submit(self, description):
        with open("submitted", "a") as file:
            file.write(f"{description}\\n---\\n")
        raise RuntimeError("no pool")

htcondor2.Schedd = Schedd
htcondor2.Submit.issue_credentials = lambda self: None
main(sys.argv[1:])
"""


def test_a_fold_is_one_job_with_a_gpu_and_memory(tmp_path: Path) -> None:
    workflow = make_workflow(tmp_path / "clone")
    (workflow.folder / "more.yaml").write_text("{}")
    arguments = ["results/score_8folds.json", "--workflow-profile", "profiles/htcondor"]
    given, environment = workflow.command(*arguments)
    place = given.index("--cores")
    ended = workflow.run([sys.executable, "-c", DRIVER, *given[1:place], *given[place + 2 :]], environment)
    assert ended.status == 1
    text = workflow.path("submitted").read_text() if workflow.path("submitted").exists() else ended.said
    fields = dict(line.split(" = ", 1) for line in text.partition("---")[0].splitlines() if " = " in line)
    assert fields["request_gpus"] == "1", text
    assert fields["request_memory"] in ("3000", "3000MB"), text
    assert fields["request_cpus"] == "1"
    assert fields["getenv"].lower() == "true"
    assert fields["executable"] == sys.executable
    # one job for the three rules of a fold
    for rule in ("train_adapter", "search_candidates", "rescore_candidates"):
        assert rule in fields["arguments"], text
    assert not {"transfer_input_files", "should_transfer_files"} & set(fields)

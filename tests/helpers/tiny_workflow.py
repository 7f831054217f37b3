"""The real rules on a tiny config: a copy of the workflow, two small tasks, and a model of a few thousand weights."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from arcfold.jobs.files import without_provenance

PARTS = ("Snakefile", "config.yaml", "rules", "workflow_scripts", "schemas", "profiles", "envs")

UNCOMPARED = (".snakemake_timestamp", "SHA256SUMS")

TASKS: dict[str, Any] = {
    "first": {
        "train": [{"input": [[1]], "output": [[2]]}, {"input": [[3]], "output": [[4]]}],
        "test": [{"input": [[5]], "output": [[5]]}, {"input": [[6, 6]], "output": [[0, 0]]}],
    },
    "second": {
        "train": [{"input": [[1, 2]], "output": [[7]]}, {"input": [[2, 1]], "output": [[7]]}],
        "test": [{"input": [[1, 1]], "output": [[8]]}],
    },
}

CONFIG: dict[str, Any] = {
    "run": "tiny",
    "dataset": "mine",
    "model": "bigram",
    "datasets": {
        "mine": {"tasks": "mine.json"},
        "hidden": {"challenges": "hidden.json"},
        "solved": {"challenges": "challenges.json", "solutions": "solutions.json"},
        "one": {"of": "mine", "shortest": 1},
    },
    "subsets": {"others": {"of": ["mine"], "not_in": ["one"]}},
    # one number type on every machine
    "models": {"bigram": {"path": "models/bigram", "format": "embedded", "dtype": "float32"}},
    "settings": {
        "training": {
            "rank": 2,
            "epochs": 2,
            "views": 2,
            "batch": 2,
            "learning_rate": 0.01,
            "embedding_learning_rate": 0.001,
        },
        "search": {"views": 2, "min_prob": 0.04, "longest": 1200},
        "rescoring": {"views": 2},
    },
    "runs": {
        "tiny": {"folds": "per_task"},
        "lower": {"folds": "per_task", "settings": {"search": {"min_prob": 0.02}}},
    },
    "benchmarks": {"search_tiny": {"run": "tiny", "tasks": 1, "min_prob": [0.04, 0.02], "seconds": 1}},
}


STUDIES: dict[str, Any] = {
    "runs": {
        "tiny": {"folds": "per_task"},
        # one adapter for both tasks, a lower threshold, other numbers of views
        "wide": {"folds": 1, "settings": {"search": {"views": 3, "min_prob": 0.02}, "rescoring": {"views": 4}}},
        "both": {"ensemble": ["tiny", "wide-seed7"]},
        "theirs": {"submission": "theirs.json", "leaderboard": 3.5},
    },
    "studies": {
        "mine": {
            "base": "tiny",
            "grid": {"min_prob": [0.02]},
            "runs": ["theirs", "both"],
            "seeds": [0, 1],
            "notes": "Why?",
        },
        "larger": {"base": "tiny", "grid": [{"min_prob": [0.02, 0.03]}, {"rank": [1]}], "seeds": [0, 1]},
        "elsewhere": {"base": "tiny", "runs": ["hidden_1folds"], "seeds": [0]},
    },
}
"""Runs and studies that are laid over CONFIG."""


def without_outputs(task: Mapping[str, Any]) -> dict[str, Any]:
    return {**task, "test": [{"input": pair["input"]} for pair in task["test"]]}


@dataclass(frozen=True)
class Call:
    """What a call of snakemake said and did."""

    status: int
    said: str

    @property
    def jobs(self) -> dict[str, int]:
        """Number of jobs of each rule in the table that a call begins with; none if there is nothing to do."""
        table = self.said.partition("Job stats:")[2].partition("\n\n")[0]
        return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.M) if rule != "total"}

    @property
    def our_lines(self) -> set[str]:
        """The different lines that are ours; a job's line stands on standard error and in its log, which is shown."""
        return set(re.findall(r"^(?:internal )?error: .*$", self.said, re.M))


@dataclass(frozen=True)
class Workflow:
    """A clone that is small enough to run in a test."""

    folder: Path
    devices: str = ""
    """What CUDA may see: nothing, so that the bytes are the same on every machine, or one GPU."""

    TARGETS: ClassVar = (
        "results/score_tiny.json",
        "results/score_tiny.html",
        "results/benchmark/search_tiny.json",
        "results/runs/tiny/pictures/first.svg",
        "results/runs/tiny/merged/fold-0",
        "results/runs/tiny-with-adapters.zip",
        "results/runs/hidden_1folds/adapters/fold-0",
        "results/runs/hidden_1folds/candidates/fold-0.json",
        "results/runs/hidden_1folds/submission.json",
        "results/runs/hidden_1folds/files.json",
        "results/subsets/others.json",
        "results/tasks/solved.json",
        "results/tasks/db695cfb.json",
    )

    def command(
        self, *arguments: str, settings: Mapping[str, Any] | None = None, **config: Any
    ) -> tuple[list[str], dict[str, str]]:
        """A call of snakemake and its environment; `config` is laid over tiny.yaml, `settings` over its settings."""
        written = {**config, **({"settings": settings} if settings else {})}
        more = self.folder / "more.yaml"
        more.write_text(yaml.safe_dump(written))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "CUDA_VISIBLE_DEVICES": self.devices, "HF_HUB_OFFLINE": "1"}
        return ["snakemake", *arguments, "--cores", "2", "--configfile", "tiny.yaml", "more.yaml"], environment

    def __call__(self, *arguments: str, settings: Mapping[str, Any] | None = None, **config: Any) -> Call:
        """Calls snakemake, see `command`."""
        command, environment = self.command(*arguments, settings=settings, **config)
        return self.run(command, environment)

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> Call:
        done = subprocess.run(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return Call(done.returncode, done.stdout)

    def path(self, name: str) -> Path:
        return self.folder / name

    def read(self, name: str) -> Any:
        return json.loads(self.path(name).read_text(encoding="utf-8"))

    def write(self, name: str, value: Any) -> None:
        self.path(name).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")

    def results(self) -> dict[str, int]:
        """Every file of the results but logs, with its time."""
        found = (path for path in self.path("results").rglob("*") if not path.is_dir())
        return {str(path): path.lstat().st_mtime_ns for path in found if "results/logs" not in str(path)}

    def contents(self) -> dict[str, Any]:
        """Every file of the results but logs and SHA256SUMS: JSON without provenance, else bytes; a link's target.

        What else has hashes of files with provenance is there without them.
        """
        found: dict[str, Any] = {}
        for path in sorted(self.path("results").rglob("*")):
            name = str(path.relative_to(self.folder))
            if path.is_symlink():
                found[name] = os.readlink(path)
            elif path.is_file() and "logs" not in path.parts and path.name not in UNCOMPARED:
                found[name] = path.read_bytes()
                if name.startswith("results/records/") or path.name == "files.json":
                    found[name] = re.sub(r"[0-9a-f]{64}", "…", path.read_text())
                elif path.suffix == ".json":
                    found[name] = without_provenance(json.loads(path.read_text()))
        return found


def copied(workflow: Workflow, folder: Path) -> Workflow:
    """Everything at the same times, links as links."""
    shutil.copytree(workflow.folder, folder / "clone", symlinks=True)
    return Workflow(folder / "clone")


def refused(call: Call, *words: str) -> None:
    """Checks a call that must have ended with one line of ours, with all these words in it."""
    assert call.status == 1, call.said
    assert len(call.our_lines) == 1, call.said
    (line,) = call.our_lines
    for word in words:
        assert word in line
    assert "Traceback" not in call.said
    assert "internal error" not in call.said

"""Results in object storage, on an S3 server of this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from eight_folds import make_workflow
from tiny_workflow import Workflow, refused

from arcfold.jobs.files import without_provenance

pytest.importorskip("snakemake_storage_plugin_s3", reason="the plugin is no part of the environment")
pytest.importorskip("moto", reason="there is no S3 server without it")

if TYPE_CHECKING:
    from object_storage import Storage

STORAGE = ("--default-storage-provider", "s3", "--default-storage-prefix", "s3://bucket/mine")
SCORE = "results/score_2folds.json"


@pytest.fixture
def storage() -> Iterator[Storage]:
    from object_storage import running

    with running() as server:
        yield server


def command(workflow: Workflow, storage: Storage) -> tuple[list[str], dict[str, str]]:
    given, environment = workflow.command(SCORE, *STORAGE)
    return given, environment | storage.environment


def predictions(score: bytes) -> object:
    """A score without what says how it was made."""
    content = without_provenance(json.loads(score))
    return {key: value for key, value in content.items() if key != "code"}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> object:
    """The score without object storage."""
    local = make_workflow(tmp_path_factory.mktemp("local") / "clone")
    ended = local(SCORE)
    assert ended.status == 0, ended.said
    return predictions(local.path(SCORE).read_bytes())


def test_a_run_has_all_results_in_storage_and_the_next_call_finds_them(
    storage: Storage, expected: object, tmp_path: Path
) -> None:
    workflow = make_workflow(tmp_path / "clone")
    ended = workflow.run(*command(workflow, storage))
    assert ended.status == 0, ended.said
    objects = storage.objects()
    assert predictions(objects[SCORE]) == expected
    kinds = ("adapters", "candidates", "rescored", "folds")
    assert all(any(key.startswith(f"results/store/{kind}/") for key in objects) for kind in kinds)
    assert not [key for key in objects if key.endswith("SHA256SUMS")]
    again = workflow.run(*command(workflow, storage))
    assert again.status == 0, again.said
    assert "Nothing to be done" in again.said
    # so does one in another place that remembers nothing
    other = make_workflow(tmp_path / "other")
    elsewhere = other.run(*command(other, storage))
    assert elsewhere.status == 0, elsewhere.said
    assert not {"train_adapter", "search_candidates", "rescore_candidates"} & set(elsewhere.jobs), elsewhere.said


@pytest.mark.parametrize("same_place", [True, False])
def test_half_of_an_upload_is_not_taken_for_a_result(
    storage: Storage, expected: object, tmp_path: Path, same_place: bool
) -> None:
    """All is killed while the second file of an adapter is on its way."""
    workflow = make_workflow(tmp_path / "clone")
    storage.hold = re.compile(r"/adapters/[^.]*/fold-\d+/")
    given, environment = command(workflow, storage)
    process = subprocess.Popen(
        given, cwd=workflow.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    while process.poll() is None and not storage.held.wait(1):
        pass
    assert storage.held.is_set(), "it ended before anything was held"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    storage.hold = None
    storage.free.set()
    there = [key for key in storage.objects() if "/adapters/" in key]
    assert there, "the kill came before anything was uploaded"
    halves = {key.rpartition("/")[0] for key in there if not key.endswith(".json") or key.count("fold-") == 1}
    assert any(f"{half}.json" not in there for half in halves), there

    after = workflow if same_place else make_workflow(tmp_path / "other")
    ended = after.run(*command(after, storage))
    assert ended.status == 0, ended.said
    assert predictions(storage.objects()[SCORE]) == expected


def test_results_without_storage_and_keys_that_need_them_are_refused(storage: Storage, tmp_path: Path) -> None:
    workflow = make_workflow(tmp_path / "clone")
    given, environment = workflow.command(SCORE, *STORAGE, "-n", keep_going=True)
    refused(workflow.run(given, environment | storage.environment), "keep_going", "object storage")
    workflow.path("results").mkdir()
    workflow.write("results/SHA256SUMS", "")
    refused(workflow.run(*command(workflow, storage)), "results/SHA256SUMS", "without object storage")

"""Why a cluster ended a job, behind Snakemake's words for it."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from arcfold.terminal.cluster import SaysWhy

LOG = ".snakemake/slurm_logs/group_fold/12.log"


@pytest.fixture
def logger() -> Any:
    made = logging.getLogger("test of a cluster")
    made.propagate = True
    made.setLevel(logging.INFO)
    yield made
    for kept in list(made.filters):
        made.removeFilter(kept)


def said(logger: logging.Logger, caplog: pytest.LogCaptureFixture, why: Any, **record: Any) -> list[str]:
    logger.filters[:] = [SaysWhy(logger, why)]
    with caplog.at_level(logging.INFO):
        logger.error("Error in something", extra=record)
        logger.error("Error in something", extra=record)
    return [found.getMessage() for found in caplog.records]


def test_a_group_that_failed_is_named_with_its_rules_and_first_output_once(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def why(job: str, log: str) -> str:
        asked.append((job, log))
        return "out of memory: it had 150M (mem_mb)"

    infos = [{"rule_name": "train_adapter", "output": ["a/fold-0"]}, {"rule_name": "search_candidates", "output": []}]
    event = SimpleNamespace(value="group_error")
    lines = said(logger, caplog, why, event=event, aux_logs=[LOG], job_error_info=infos)
    line = "error: search_candidates, train_adapter (a/fold-0): out of memory: it had 150M (mem_mb) (SLURM job 12)"
    assert sorted(lines) == ["Error in something", "Error in something", line]
    assert asked == [("12", LOG)]


def test_a_single_job_has_the_log_of_the_cluster_among_its_own(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    record = {"rule_name": "make_shards", "output": ["shards"], "log": ["results/logs/make_shards/x.log", LOG]}
    lines = said(logger, caplog, lambda job, log: f"it was {job}", event="job_error", **record)
    assert "error: make_shards (shards): it was 12 (SLURM job 12)" in lines


def test_nothing_is_said_of_other_records_nor_where_the_cluster_knows_nothing(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    assert said(logger, caplog, lambda *_: "x", event="job_info", aux_logs=[LOG]) == ["Error in something"] * 2
    caplog.clear()
    assert said(logger, caplog, lambda *_: None, event="job_error", aux_logs=[LOG]) == ["Error in something"] * 2

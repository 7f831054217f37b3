"""Why a cluster ended a job, as a line behind Snakemake's own words for it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path


class SaysWhy(logging.Filter):
    """On Snakemake's logger: one more line for a job that a cluster ended.

    why: asks the cluster; it gets the job's number there and the path of the log that the cluster wrote of it
    """

    def __init__(self, logger: logging.Logger, why: Callable[[str, str], str | None]) -> None:
        super().__init__()
        self._logger, self._why = logger, why
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass."""
        event = getattr(getattr(record, "event", None), "value", getattr(record, "event", None))
        if event in ("job_error", "group_error"):
            for log in (*(getattr(record, "aux_logs", None) or ()), *(getattr(record, "log", None) or ())):
                number = re.fullmatch(r"\d+(_\d+)?", Path(str(log)).stem)
                if number and number[0] not in self._told:
                    self._told.add(number[0])
                    if reason := self._why(number[0], str(log)):
                        self._logger.error(f"error: {_jobs_of(record)}: {reason} (SLURM job {number[0]})")
        return True


def _jobs_of(record: logging.LogRecord) -> str:
    """The rules of a record about a job or a group, with the fold."""
    infos = getattr(record, "job_error_info", None) or [vars(record)]
    rules = sorted({str(info.get("rule_name", "a job")) for info in infos})
    outputs = sorted(str(path) for info in infos for path in info.get("output") or ())
    return f"{', '.join(rules)} ({outputs[0]})" if outputs else ", ".join(rules)

"""The finished files that a page is made of, and the page's own.

A comparison names its score files, and a score its folders of the store. Scores that came from another machine have no
such folders here: of their runs the page has the outcomes, and no candidates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arcfold.arc.candidate_files import read_candidates
from arcfold.arc.tasks import Task
from arcfold.jobs import checksums
from arcfold.jobs.files import InputError, new_file, read_json
from arcfold.jobs.holes import read_hole
from arcfold.reports.candidates import Findings
from arcfold.reports.packing import pack_tasks
from arcfold.reports.page import render
from arcfold.reports.summary import summarize
from arcfold.runs.predictions import read_entries, read_submission

_FOLD = re.compile(r"fold-(\d+)\.json")


def read_scores(comparison: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The scores of the runs of a comparison, by name.

    Raises InputError for one that is missing, damaged, or of other data than the comparison says.
    """
    scores = {}
    for configuration in comparison["configurations"]:
        for run in configuration["runs"]:
            if not Path(run["file"]).is_file():
                raise InputError(f"{run['file']}: no such file, expected the score that was compared; ask for it first")
            checksums.check([run["file"]])
            score = read_json(run["file"], "score")
            ours, theirs = (each["data"] for each in (score, comparison))
            if ours["sha256"] != theirs["sha256"]:
                raise InputError(
                    f"{run['file']}: scored on {ours['name']} ({ours['sha256'][:12]}), the comparison on "
                    f"{theirs['name']} ({theirs['sha256'][:12]}): expected the same tasks (run the same command again)"
                )
            scores[run["run"]] = score
    return scores


def find(scores: Mapping[str, Mapping[str, Any]], tasks: Sequence[Task], tasks_file: str) -> Findings:
    """What the runs found, in the order of their scores; of runs whose files are not here nothing.

    Raises InputError for a file that is damaged or does not fit the tasks.
    """
    found = Findings(tasks)
    for number, (run, score) in enumerate(scores.items()):
        if "submission" in score:
            path = f"results/runs/{run}/submission.json"
            if Path(path).is_file():
                checksums.check([path])
                found.add_attempts(number, read_submission(path, tasks))
            continue
        method = score["provenance"]["run"]["settings"]["selection"]["method"]
        searched = _folds(score["steps"].get("candidates"))
        for fold, path in _folds(score["steps"].get("rescored")).items():
            entries = read_entries(path, fold, found.tasks)
            views = read_candidates(searched[fold], fold, tasks_file)[0]["tasks"] if fold in searched else {}
            found.add(number, entries, views, method=method)
    return found


def _folds(folder: str | None) -> dict[int, str]:
    """The files of a folder of the store that are there, by their fold; no holes."""
    if folder is None:
        return {}
    named = ((_FOLD.fullmatch(path.name), str(path)) for path in Path(folder).glob("fold-*.json"))
    paths = sorted((int(name[1]), path) for name, path in named if name)
    here = {fold: path for fold, path in paths if read_hole(path) is None}
    checksums.check(here.values())
    return here


def write_page(
    output: str, comparison: Mapping[str, Any], tasks: Sequence[Task], tasks_file: str, *, title: str
) -> None:
    """Writes the page of a comparison, which may be one of seeds of a single run.

    tasks, tasks_file: those that its runs are scored on, and the file that they stand in
    """
    scores = read_scores(comparison)
    page = render(
        summarize(comparison, scores, tasks),
        pack_tasks(find(scores, tasks, tasks_file)),
        title=title,
        command=f"snakemake {output}",
    )
    with new_file(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(f"{output}: {len(page.encode()) / 2**20:.1f} MiB")

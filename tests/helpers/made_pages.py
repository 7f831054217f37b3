"""Pages of studies that nobody ran."""

from __future__ import annotations

from made_reports import MadeStudy

from arcfold.reports.candidates import Findings
from arcfold.reports.packing import pack_tasks
from arcfold.reports.page import render
from arcfold.reports.summary import summarize


def found_in(study: MadeStudy) -> Findings:
    """What all its runs found."""
    found = Findings(study.tasks)
    for number, run in enumerate(study.names):
        if run not in study.strengths:  # a submission from elsewhere
            found.add_attempts(number, {task.id: [(pair.input, ((1,),)) for pair in task.test] for task in study.tasks})
            continue
        rescored, searched = study.entries(run)
        found.add(number, rescored, searched, method="product_of_experts")
    return found


def page_of(study: MadeStudy, title: str = "A study") -> str:
    summary = summarize(study.comparison, study.scores, study.tasks)
    return render(summary, pack_tasks(found_in(study)), title=title, command="snakemake results/compare_made.html")

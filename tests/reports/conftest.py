"""Pages of a study that nobody ran, and one browser for all tests that look at them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browsers
import pytest
from hostile import made_hostile
from made_pages import found_in, page_of
from made_reports import MadeStudy, made_study, made_tasks, with_submission

from arcfold.reports.candidates import Findings


@pytest.fixture(scope="session")
def study() -> MadeStudy:
    """24 tasks, four configurations, three seeds."""
    return made_study(made_tasks(24, longest=12), 4, 3, notes="Does a lower rank help?")


@pytest.fixture(scope="session")
def found(study: MadeStudy) -> Findings:
    return found_in(study)


@pytest.fixture(scope="session")
def pages(study: MadeStudy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files: of the study; of one run with a single seed; of small studies with hostile names and with a
    submission from elsewhere; of such a submission alone.
    """
    folder = tmp_path_factory.mktemp("pages")
    small = study.tasks[:6]
    made = {
        "study": page_of(study),
        "run": page_of(made_study(small, 1, 1), "A run"),
        "hostile": page_of(made_hostile(made_study(small, 3, 2))),
        "mixed": page_of(with_submission(made_study(small, 3, 2))),
        "theirs": page_of(with_submission(made_study(small, 1, 1), alone=True), "A submission"),
    }
    for name, page in made.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in made}


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    started = browsers.start()
    yield started
    started.quit()

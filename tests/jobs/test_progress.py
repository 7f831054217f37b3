import io
import re
import sys

import pytest

from arcfold.jobs.progress import progress_bar
from arcfold.search.replies import GroupStats, Progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _said(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar("search", 16, 2) as show:
        show(Progress(done=5, inputs=0, replies=3, tokens=1000, passes=2))
        show(Progress(done=12, inputs=1, replies=9, tokens=4000, passes=7))
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), _Terminal()], ids=["log", "terminal"])
def test_the_bar_says_inputs_candidates_speed_and_time_left(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO
) -> None:
    said = _said(monkeypatch, stream)
    assert "12/16" in said
    assert "1/2 test inputs, 9 candidates" in said
    assert re.search(r"[\d,]+ tokens/s", said)
    assert re.search(r"\d+ s left|<\d\d:\d\d", said)


def test_a_group_is_done_with_its_last_member() -> None:
    stats = GroupStats(["a", "b", "a"])
    counts = []
    for group in ("a", "b", "a"):
        stats.finish(group)
        counts.append(stats.done)
    assert counts == [0, 1, 2]

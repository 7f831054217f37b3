"""A progress bar for searches and rescorings: test inputs done, candidates, tokens per second, time left."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

SECONDS_BETWEEN_LINES = 10.0


class Counts(Protocol):
    """What a search or a rescoring says of itself."""

    @property
    def done(self) -> int: ...
    @property
    def inputs(self) -> int: ...
    @property
    def replies(self) -> int: ...
    @property
    def tokens(self) -> int: ...


@contextlib.contextmanager
def progress_bar(label: str, total: int, inputs: int) -> Iterator[Callable[[Counts], None]]:
    """A function that shows the counts it is given: a bar on a terminal, else a line every ten seconds and at the end.

    total: the number of prompts, each a test input in one view
    inputs: the number of test inputs
    """
    began = last_line = time.monotonic()
    latest: Counts | None = None
    bar = None
    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(total=total, desc=label, unit="prompt", file=sys.stderr)

    def facts(counts: Counts, seconds: float) -> str:
        rate = counts.tokens / max(seconds, 1e-9)
        return f"{counts.inputs}/{inputs} test inputs, {counts.replies} candidates, {rate:,.0f} tokens/s"

    def line(counts: Counts) -> None:
        seconds = time.monotonic() - began
        left = f", {seconds * (total - counts.done) / counts.done:.0f} s left" if 0 < counts.done < total else ""
        print(f"{label}: {counts.done}/{total} prompts, {facts(counts, seconds)}{left}", file=sys.stderr, flush=True)

    def show(counts: Counts) -> None:
        nonlocal last_line, latest
        latest = counts
        now = time.monotonic()
        if bar is not None:
            bar.n = counts.done
            bar.set_postfix_str(facts(counts, now - began), refresh=False)
            bar.update(0)
        elif now - last_line >= SECONDS_BETWEEN_LINES:
            last_line = now
            line(counts)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
        elif latest is not None:
            line(latest)

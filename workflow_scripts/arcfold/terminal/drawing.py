"""The table of a run as text for a terminal, while it runs and at its end.

stage                done  running  a job      rate
train_adapter        5/8      2    12.1 s   9.8/min
search_candidates    3/8      -     1.4 s   9.1/min
total              11/27      2
1 min 05 s so far · about 40 s left · GPUs 2 of 2
last score: results/score_8folds.json: 90.6 % (oracle 93.8 %)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from arcfold.terminal.progress import Failure, Progress, Score, Stage
from arcfold.terminal.results import MOST, Result, duration, missed, report

BAR = 12
AROUND = 7
"""Lines of a screen that are not stages: head, total, what follows."""
SHOWN = 3
"""Failed jobs that are shown while others run; at the end it is all of them."""


def while_running(progress: Progress, devices: str, now: float, height: int) -> RenderableType:
    """The live table.

    devices: what is in use, in words
    height: lines of the screen; where stages are too many, those that are over make room
    """
    failures = list(progress.failures.values())
    stages = _that_fit(list(progress.stages.values()), height - AROUND - 2 * min(len(failures), SHOWN))
    table = _table("stage", "", "done", "running", "a job", "rate")
    for stage in stages:
        style = "dim" if stage.is_over and not stage.failed else ""
        table.add_row(
            Text(stage.name, style=style, overflow="ellipsis"),
            _bar(stage.done, stage.total),
            Text(f"{stage.done}/{stage.total}", style=style),
            _running(stage),
            Text(duration(stage.mean), style=style),
            Text(_rate(stage.per_minute), style=style),
        )
    table.add_row(
        Text("total", style="bold"),
        _bar(progress.done, progress.total),
        Text(f"{progress.done}/{progress.total}", style="bold"),
        Text(str(len(progress.jobs) or "-")),
        "",
        "",
    )
    lines: list[RenderableType] = [table, Text(_facts(progress, devices, now))]
    if progress.scores:
        lines.append(Text(f"last score: {_score(progress.scores[-1])}"))
    lines += [_failed(failure) for failure in failures[-SHOWN:]]
    if progress.said:
        lines.append(Text(progress.said, style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*lines)


def at_the_end(
    progress: Progress,
    log: str | None,
    now: float,
    results: Sequence[Result] = (),
    comparisons: Mapping[str, Sequence[str]] | None = None,
    arguments: Sequence[str] = (),
) -> RenderableType:
    """What stays on the screen: jobs and seconds of each stage, results, what failed and where the log is.

    results: those of the scores of which the files could be read; comparisons: their sentences, by file
    arguments: of the command
    """
    table = _table("stage", "done", "a job", "job time")
    for stage in progress.stages.values():
        table.add_row(
            Text(stage.name, overflow="ellipsis"),
            _done(stage),
            duration(sum(stage.seconds) / stage.done if stage.done else None),
            duration(sum(stage.seconds) if stage.done else None),
        )
    table.add_row(
        Text("total", style="bold"),
        Text(f"{progress.done}/{progress.total}", style="bold"),
        "",
        duration(sum(sum(stage.seconds) for stage in progress.stages.values())),
    )
    lines: list[RenderableType] = [table, Text(f"{duration(now - progress.began)} in all")]
    told = {result.path for result in results}
    lines += [Text(_score(score), style="bold") for score in progress.scores if score.path not in told]
    if results:
        lines += ["", results_table(results, arguments), ""]
    lines += [comparison(path, sentences, arguments) for path, sentences in (comparisons or {}).items()]
    lines += [_failed(failure) for failure in progress.failures.values()]
    if log is not None:
        lines.append(Text(f"log: {log}", style="dim"))
    return Group(*lines)


def results_table(results: Sequence[Result], arguments: Sequence[str]) -> RenderableType:
    """A row for each run, why its outputs were missed, and where its page is."""
    with_seeds = any(result.seeds is not None for result in results)
    table = _table("run", "score", *(("seeds", "mean", "95 %") if with_seeds else ()), "oracle", "device time")
    shown = results[:MOST]
    for result in shown:
        seeds = result.seeds
        of_seeds = (
            []
            if not with_seeds
            else ["1", "-", "-"]
            if seeds is None
            else [str(seeds.number), f"{seeds.mean:.2f} %", "{:.1f} to {:.1f}".format(*seeds.interval)]
        )
        table.add_row(
            Text(result.run, style="bold", overflow="ellipsis"),
            Text(f"{result.score:.2f} %", style="bold"),
            *of_seeds,
            "-" if result.oracle is None else f"{result.oracle:.2f} %",
            duration(result.seconds),
        )
    lines: list[RenderableType] = [table]
    for result in shown:
        before = f"{result.run}: " if len(shown) > 1 else ""
        if said := missed(result):
            lines.append(Text(f"{before}{said}", style="dim"))
        lines.append(Text(f"{before}report: {report(result.path, arguments)}", overflow="fold"))
    if len(results) > len(shown):
        lines.append(Text(f"and {len(results) - len(shown)} more runs", style="dim"))
    return Group(*lines)


def comparison(path: str, sentences: Sequence[str], arguments: Sequence[str]) -> RenderableType:
    """What a comparison found, in words, and where its page is."""
    lines = [Text(sentence) for sentence in sentences[:MOST]]
    if len(sentences) > MOST:
        lines.append(Text(f"and {len(sentences) - MOST} more pairs", style="dim"))
    return Group(*lines, Text(f"{path}: report: {report(path, arguments)}", overflow="fold"))


def _table(*heads: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for place, head in enumerate(heads):
        left = place == 0 or head == ""
        # the stage's name gives way on a narrow screen, figures do not
        table.add_column(
            head, justify="left" if left else "right", no_wrap=True, overflow="ellipsis" if left else "fold"
        )
    return table


def _that_fit(stages: Sequence[Stage], lines: int) -> Sequence[Stage]:
    if len(stages) <= lines:
        return stages
    return [stage for stage in stages if not stage.is_over or stage.failed][: max(1, lines)]


def _bar(done: int, total: int) -> ProgressBar:
    return ProgressBar(total=max(1, total), completed=done, width=BAR)


def _running(stage: Stage) -> Text:
    if not stage.running:
        return Text("-" if not stage.failed else f"{stage.failed} failed", style="red" if stage.failed else "dim")
    return Text(str(len(stage.running)) + (f", {stage.failed} failed" if stage.failed else ""))


def _done(stage: Stage) -> Text:
    failed = f", {stage.failed} failed" if stage.failed else ""
    return Text(f"{stage.done}/{stage.total}{failed}", style="red" if failed else "")


def _facts(progress: Progress, devices: str, now: float) -> str:
    left = progress.time_left(now)
    facts = [f"{duration(now - progress.began, 0)} so far"]
    if left is not None:
        facts.append(f"{'more than' if left.at_least else 'about'} {duration(left.seconds, 0)} left")
    facts.append(devices)
    return " · ".join(facts)


def _score(score: Score) -> str:
    return f"{score.path}: {score.score:.1f} %" + ("" if score.oracle is None else f" (oracle {score.oracle:.1f} %)")


def _failed(failure: Failure) -> RenderableType:
    lines = [Text(f"{failure.stage} failed: {failure.what}", style="red"), Text(f"  {failure.line}", style="bold red")]
    if failure.log is not None:
        lines.append(Text(f"  log: {failure.log}", style="red", overflow="fold"))
    return Group(*lines)


def _rate(per_minute: float | None) -> str:
    if per_minute is None:
        return "-"
    return (
        f"{per_minute:.0f}/min"
        if per_minute >= 10
        else f"{per_minute:.1f}/min"
        if per_minute >= 1
        else f"{60 * per_minute:.1f}/h"
    )

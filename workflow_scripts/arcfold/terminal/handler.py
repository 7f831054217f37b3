"""Snakemake's log as a live table, where a person looks at a terminal.

The handler stands in the place of Snakemake's own and hands records on to it until a run's jobs begin: the graph's
making, a dry run, "nothing to be done" and what is wrong with the config look as they always do. While jobs run it
alone writes to the terminal: what jobs say goes to a pipe, the last line of it is shown, and the full log has it all.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from arcfold.jobs.devices import count_devices
from arcfold.jobs.files import InputError, read_json
from arcfold.terminal.progress import Failure, Job, Progress, Score, jobs_of
from arcfold.terminal.results import comparisons_of, results_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

PLAIN = "DefaultStreamHandler"
"""Name of Snakemake's own handler for the terminal; under a logger plugin there is none."""
OUR_LINE = re.compile(r"(internal )?error: ")
SCORE = re.compile(r"score_.*\.json")
# What says less than the table, before it and in it.
_BEFORE = (
    "Assuming unrestricted",
    "Using shell:",
    "Conda environments: ignored",
    "Singularity containers: ignored",
    "Group jobs: inactive",
)
_ENDED = "Complete log"
_NOTED = ("Will exit after", "Terminating processes", "Trying to restart")


class Settings(Protocol):
    """Of Snakemake's settings for its output, those that ask for its own lines."""

    dryrun: bool
    verbose: bool
    printshellcmds: bool
    debug_dag: bool
    nocolor: bool
    stdout: bool
    quiet: Any


def show_table(
    logger: logging.Logger,
    settings: Settings,
    wanted: Callable[[], bool] = lambda: True,
    environment: Mapping[str, str] = os.environ,
) -> bool:
    """Puts a table in the place of Snakemake's lines if a person wants one; whether it did.

    wanted: whether it is still so when the first job begins

    Not without a terminal, nor under TERM=dumb or NO_COLOR, nor where an option asks for other lines.
    """
    asked = ("dryrun", "verbose", "printshellcmds", "debug_dag", "nocolor", "stdout", "quiet")
    plain = next((handler for handler in logger.handlers if handler.name == PLAIN), None)
    if plain is None or any(getattr(settings, name, False) for name in asked):
        return False
    if environment.get("TERM", "dumb") == "dumb" or environment.get("NO_COLOR") or not _is_terminal(plain):
        return False
    try:
        import rich.live  # noqa: F401
    except ImportError:  # Snakemake alone has no need of it
        return False
    logger.removeHandler(plain)
    logger.addHandler(TableHandler(plain, lambda: _files_of(logger), wanted))
    return True


def _is_terminal(handler: logging.Handler) -> bool:
    try:
        return isinstance(handler, logging.StreamHandler) and os.isatty(handler.stream.fileno())
    except (OSError, ValueError):
        return False


def _files_of(logger: logging.Logger) -> list[logging.FileHandler]:
    return [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]


class TableHandler(logging.Handler):
    """Draws the table from the first job to the last, and hands all else on to `plain`."""

    def __init__(
        self, plain: logging.Handler, files: Callable[[], list[logging.FileHandler]], wanted: Callable[[], bool]
    ) -> None:
        """files: Snakemake's log files, which get what jobs say; wanted: as `show_table` has it"""
        super().__init__(plain.level)
        self.name = PLAIN
        self._plain = plain
        self._files = files
        self._wanted = wanted
        self._progress: Progress | None = None
        self._terminal: Terminal | None = None
        self._cores: int | None = None
        self._gpus: int | None = None
        self._devices_here: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._progress is None:
                self._before(record)
            elif self._terminal is not None:
                self._during(record, self._progress)
            elif record.levelno >= logging.WARNING:
                self._plain.handle(record)
        except Exception:
            # a table that cannot be drawn must not end a run
            self._end()
            self.handleError(record)

    def close(self) -> None:
        self._end()
        self._plain.close()
        super().close()

    def flush(self) -> None:
        self._plain.flush()

    def _before(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == "resources_info":
            self._cores = getattr(record, "cores", self._cores)
            with contextlib.suppress(KeyError, TypeError, ValueError):
                self._gpus = int(getattr(record, "provided_resources", {})["gpu"])
        elif event == "run_info" and self._wanted():
            self._begin(jobs_of(record.stats))  # type: ignore[attr-defined]
        elif event != "workflow_started" and not record.getMessage().startswith(_BEFORE):
            self._plain.handle(record)

    def _begin(self, jobs: dict[str, int]) -> None:
        from arcfold.terminal.drawing import while_running

        progress = self._progress = Progress(jobs, time.monotonic())
        atexit.register(self._end)
        self._terminal = Terminal(
            lambda height: while_running(progress, self._devices(progress), time.monotonic(), height), self._hear
        )
        self._terminal.open()

    def _during(self, record: logging.LogRecord, progress: Progress) -> None:
        event = getattr(record, "event", None)
        message = record.getMessage()
        if event == "job_info":
            progress.begin(record.jobid, _job_of(record))  # type: ignore[attr-defined]
        elif event == "job_finished":
            self._finish(progress, record.job_id)  # type: ignore[attr-defined]
        elif event == "job_error":
            self._fail(progress, record)
        elif event is None and message.startswith(_ENDED):
            self._end(os.path.relpath(message.partition(":")[2].strip()))
        elif record.levelno >= logging.WARNING and event in (None, "error", "group_error"):
            if not _says_that_a_job_failed(message):
                self._show(record)
        elif event is None and message.startswith(_NOTED):
            progress.said = message

    def _finish(self, progress: Progress, number: int) -> None:
        job = progress.end(number, time.monotonic())
        for path in job.outputs if job is not None else ():
            progress.made.append(path)
            if SCORE.fullmatch(Path(path).name):
                with contextlib.suppress(InputError, KeyError, TypeError, AttributeError):
                    content = read_json(path)
                    progress.scores.append(Score(path, content["score"], content.get("oracle")))

    def _fail(self, progress: Progress, record: logging.LogRecord) -> None:
        number = record.jobid  # type: ignore[attr-defined]
        job = progress.jobs.get(number)
        logs = [str(log) for log in getattr(record, "log", [])]
        line, log = next(((line, log) for log in logs if (line := _last_line(log))), (None, None))
        stage = str(getattr(record, "rule_name", ""))
        what = job.what if job is not None else f"job {number}"
        heard = self._terminal.heard if self._terminal is not None else ()
        said = next((line for line in reversed(heard) if line.strip()), "without a word")
        progress.fail(number, Failure(stage, what, line or said, log))

    def _show(self, record: logging.LogRecord) -> None:
        """Shows a warning or an error as plain text above the table, where it stays."""
        assert self._terminal is not None
        from rich.text import Text

        style = "red" if record.levelno >= logging.ERROR else "yellow"
        self._terminal.console.print(Text(self._plain.format(record), style=style), soft_wrap=True)

    def _hear(self, line: str) -> None:
        """What a job says: into the full log, and the last of it below the table."""
        if self._progress is not None:
            self._progress.said = line
        for file in self._files():
            with file.lock or contextlib.nullcontext(), contextlib.suppress(OSError, ValueError, AttributeError):
                file.stream.write(f"{line}\n")  # type: ignore[union-attr]
                file.flush()

    def _devices(self, progress: Progress) -> str:
        """What the jobs that run have of what there is: GPUs if there are any and a job has one, else cores."""
        jobs = list(progress.jobs.values())
        if gpus := sum(job.gpus for job in jobs):
            if self._devices_here is None:
                self._devices_here = count_devices()
            # a job that waits until a device is free counts as none
            if here := self._devices_here:
                there = min(self._gpus or here, here)
                return f"GPUs {min(gpus, there)} of {there}"
        cores = sum(job.threads for job in jobs)
        return f"cores {cores}" + (f" of {self._cores}" if self._cores is not None else "")

    def _end(self, log: str | None = None) -> None:
        """Gives the terminal back and leaves the summary there."""
        terminal = self._terminal
        if terminal is None or self._progress is None:
            return
        from arcfold.terminal.drawing import at_the_end

        terminal.close()
        self._terminal = None
        atexit.unregister(self._end)
        made = self._progress.made
        told = results_of(made), comparisons_of(made), sys.argv[1:]
        terminal.console.print(at_the_end(self._progress, log, time.monotonic(), *told), soft_wrap=False)


def _job_of(record: logging.LogRecord) -> Job:
    given = record.__dict__
    resources = given.get("resources") or {}
    return Job(
        stage=given["rule_name"],
        what=given.get("rule_msg") or ", ".join(given.get("output") or []) or given["rule_name"],
        gpus=int(resources.get("gpu", 0)),
        threads=int(given.get("threads") or 1),
        began=time.monotonic(),
        logs=tuple(given.get("log") or ()),
        outputs=tuple(given.get("output") or ()),
    )


def _says_that_a_job_failed(message: str) -> bool:
    """Whether an error says only that a job has ended with an error: the job's own line says more."""
    return message.startswith("Exiting because a job execution failed") or "CalledProcessError" in message[:100]


def _last_line(log: str) -> str | None:
    """Our one line of a job's log, else its last."""
    try:
        lines = [line for line in Path(log).read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        return None
    ours = [line for line in lines if OUR_LINE.match(line)]
    return next(reversed(ours or lines), None)


class Terminal:
    """The terminal while the table has it: nobody else writes there, jobs' words are heard through a pipe."""

    def __init__(self, draw: Callable[[int], Any], hear: Callable[[str], None]) -> None:
        """draw: the table for a screen of that many lines; hear: what to do with a line of a job"""
        from rich.console import Console
        from rich.live import Live

        self.heard: deque[str] = deque(maxlen=50)
        self._hear = hear
        self._listener: threading.Thread | None = None
        self._taken: dict[int, int] = {}
        self._own = os.fdopen(os.dup(2), "w", encoding="utf-8")
        self.console: Console = Console(file=self._own, highlight=False, markup=False, emoji=False)
        self._live: Live = Live(
            console=self.console,
            get_renderable=lambda: draw(self._lines()),
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def open(self) -> None:
        """Takes the terminal and draws the table four times a second; an interrupt may come in between."""
        ear, mouth = os.pipe()
        self._listener = threading.Thread(target=self._listen, args=(ear,), daemon=True)
        self._listener.start()
        for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
            if os.isatty(descriptor):
                stream.flush()
                self._taken[descriptor] = os.dup(descriptor)
                os.dup2(mouth, descriptor)
        os.close(mouth)
        self._live.start(refresh=True)

    def close(self) -> None:
        """Takes the table away and gives the terminal back, the cursor shown; a second call does nothing."""
        self._live.stop()
        self.console.show_cursor(True)
        while self._taken:
            descriptor, copy = self._taken.popitem()
            os.dup2(copy, descriptor)
            os.close(copy)
        if self._listener is not None:
            self._listener.join(timeout=0.5)  # a program that a job has left behind may hold the pipe

    def _lines(self) -> int:
        """The height of the screen as it is now; rich would ask the descriptors that are taken away."""
        size = os.get_terminal_size(self._own.fileno())
        if size.columns and size.lines:
            self.console.size = (size.columns, size.lines)
        return self.console.height

    def _listen(self, ear: int) -> None:
        with os.fdopen(ear, encoding="utf-8", errors="replace") as said:
            for line in said:
                if text := line.rstrip():
                    self.heard.append(text)
                    self._hear(text)

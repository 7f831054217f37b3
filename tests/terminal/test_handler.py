import logging
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from shipped import ROOT

from arcfold.terminal.handler import PLAIN, TableHandler, show_table

SNAKEFILE = f"""
import sys
sys.path.append({str(ROOT / "workflow_scripts")!r})
include: {str(ROOT / "rules/helpers/table.smk")!r}
FOLDS = range(3)
rule score_run:
    input: expand("adapters/{{fold}}", fold=FOLDS)
    output: "results/score_tiny.json"
    message: "score of tiny"
    shell: "echo '{{{{\\"score\\": 50.0, \\"oracle\\": 75.0}}}}' > {{output}}"
rule train_adapter:
    output: "adapters/{{fold}}"
    log: "logs/{{fold}}.log"
    message: "training fold {{wildcards.fold}}"
    shell: "bash train.sh {{wildcards.fold}} {{log}} && touch {{output}}"
"""
TRAINS = "echo fold $1 has trained >&2\n"
FAILS = 'if [ $1 = 1 ]; then echo "the command" > $2; echo "error: no tokens" >> $2; exit 1; fi\n'
WAITS = "sleep 3600\n"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "train.sh").write_text(TRAINS)
    return tmp_path


def command(*arguments):
    return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]


def on_a_terminal(folder, *arguments, until=None, **variables):
    """What a run writes to a terminal of 100 columns, and its status; Ctrl-C is typed once `until` stands there."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ.update({"TERM": "xterm", "COLUMNS": "100", "LINES": "40", **variables})
        os.environ.pop("NO_COLOR", None)
        os.execv(sys.executable, command(*arguments))
    written, began = b"", time.monotonic()
    while True:
        if time.monotonic() - began > 300:
            os.kill(process, signal.SIGKILL)  # it may wait for somebody to read what it writes
            break
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # Linux's way to say that nobody is left
            break
        if not data:
            break
        written += data
        if until is not None and until in written:
            os.write(terminal, b"\x03")
            until = None
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), written.decode()


def after_the_table(written):
    """The plain lines that follow the last picture of the table."""
    shown = written.rpartition("\x1b[?25h")[2]
    return [line.rstrip() for line in ESCAPE.sub("", shown).splitlines() if line.strip()]


def test_a_run_on_a_terminal_is_a_table_and_leaves_a_summary(folder):
    status, written = on_a_terminal(folder)
    assert status == 0
    before, _, table = written.partition("\x1b[?25l")
    # what Snakemake itself says until its graph is made
    assert len(before.splitlines()) <= 3
    text = ESCAPE.sub("", table)
    assert re.search(r"train_adapter +\S+ +3/3", text)
    assert "Finished jobid" not in written
    left = after_the_table(written)
    assert re.fullmatch(r"total +4/4 +[\d.]+ s", left[3])
    assert left[5] == "results/score_tiny.json: 50.0 % (oracle 75.0 %)"
    assert len(left) == 7
    log = folder / left[6].removeprefix("log: ")
    said = log.read_text()
    assert "Finished jobid" in said
    assert "fold 2 has trained" in said


def test_what_failed_stands_at_the_end_in_plain_text(folder):
    (folder / "train.sh").write_text(FAILS)
    status, written = on_a_terminal(folder, "--keep-going")
    assert status == 1
    left = after_the_table(written)
    place = left.index("train_adapter failed: training fold 1")
    assert left[place + 1 : place + 3] == ["  error: no tokens", "  log: logs/1.log"]
    assert "CalledProcessError" not in written
    assert re.match(r"train_adapter +2/3, 1 failed", left[1])


def test_ctrl_c_gives_the_terminal_back(folder):
    (folder / "train.sh").write_text(WAITS)
    status, written = on_a_terminal(folder, until=b"?25l")
    assert status != 0
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l") > 0
    assert re.match(r"total +0/4", after_the_table(written)[3])


def test_through_a_pipe_there_are_snakemakes_lines_and_no_escape_codes(folder):
    done = subprocess.run(command(), cwd=folder, capture_output=True, text=True, env={**os.environ, "TERM": "xterm"})
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr.count("Finished jobid") == 4
    assert "Job stats:" in done.stderr
    assert "4 of 4 steps (100%) done" in done.stderr


# --- who gets a table -----------------------------------------------------------------------------

NOTHING_ASKED = {
    "dryrun": False,
    "verbose": False,
    "printshellcmds": False,
    "debug_dag": False,
    "nocolor": False,
    "stdout": False,
    "quiet": set(),
}


@pytest.fixture
def terminal():
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        yield stream
    os.close(ours)


def logger_of(name, stream):
    logger = logging.Logger("snakemake")
    handler = logging.StreamHandler(stream)
    handler.name = name
    logger.addHandler(handler)
    return logger


@pytest.mark.parametrize(
    ("asked", "environment", "expected"),
    [
        ({}, {"TERM": "xterm"}, True),
        ({}, {"TERM": "xterm", "NO_COLOR": ""}, True),
        ({}, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({}, {"TERM": "dumb"}, False),
        ({}, {}, False),
        ({"dryrun": True}, {"TERM": "xterm"}, False),
        ({"quiet": {"progress"}}, {"TERM": "xterm"}, False),
        ({"verbose": True}, {"TERM": "xterm"}, False),
        ({"printshellcmds": True}, {"TERM": "xterm"}, False),
        ({"nocolor": True}, {"TERM": "xterm"}, False),
    ],
)
def test_a_table_is_for_a_terminal_on_which_nothing_else_was_asked_for(terminal, asked, environment, expected):
    logger = logger_of(PLAIN, terminal)
    settings = SimpleNamespace(**{**NOTHING_ASKED, **asked})
    assert show_table(logger, settings, environment=environment) is expected
    assert [isinstance(handler, TableHandler) for handler in logger.handlers] == [expected]


def test_without_rich_there_are_snakemakes_lines(terminal, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.live", None)
    logger = logger_of(PLAIN, terminal)
    assert not show_table(logger, SimpleNamespace(**NOTHING_ASKED), environment={"TERM": "xterm"})
    assert [handler.name for handler in logger.handlers] == [PLAIN]


def test_another_plugin_keeps_the_terminal(terminal):
    logger = logger_of("a plugin's", terminal)
    assert not show_table(logger, SimpleNamespace(**NOTHING_ASKED), environment={"TERM": "xterm"})


def test_until_jobs_begin_everything_looks_as_it_always_does(terminal):
    logger, stream = logger_of(PLAIN, terminal), []
    logger.handlers[0].emit = lambda record: stream.append(record.getMessage())
    show_table(logger, SimpleNamespace(**NOTHING_ASKED), environment={"TERM": "xterm"})
    logger.info("Building DAG of jobs...")
    logger.info("Nothing to be done (all requested files are present and up to date).")
    logger.error("error in the Snakefile")
    assert stream == [
        "Building DAG of jobs...",
        "Nothing to be done (all requested files are present and up to date).",
        "error in the Snakefile",
    ]


def test_the_table_is_in_this_workflow():
    assert 'include: "rules/helpers/table.smk"' in (Path(ROOT) / "Snakefile").read_text()

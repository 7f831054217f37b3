import subprocess
import sys

import pytest
from environments import environment_of_tests
from shipped import ROOT

from arcfold.jobs.holes import read_hole

START = """
import sys
from types import SimpleNamespace
from arcfold.jobs.files import InputError
from arcfold.jobs.job import job
from arcfold.jobs.request import Values
parts = dict.fromkeys(("input", "output", "wildcards", "resources"), Values([]))
given = SimpleNamespace(**parts, rule="some", threads=1, config={}, log=Values(["logs/inner/job.log"]))
"""
COMMAND = f"python {ROOT}/workflow_scripts/run_job.py logs/inner/job.job.json\n"


@pytest.fixture
def run_job(tmp_path):
    """Runs lines inside a job, in a process of its own; gives status, standard error and log."""

    def run(lines, threads=1, before=""):
        code = f"{START}given.params = Values({{'threads': {threads}}})\n{before}\nwith job(given):\n"
        script = tmp_path / "some.py"
        script.write_text(code + "".join(f"    {line}\n" for line in lines))
        done = subprocess.run(
            [sys.executable, script], cwd=tmp_path, env=environment_of_tests(), capture_output=True, text=True
        )
        log = (tmp_path / "logs/inner/job.log").read_text()
        assert log.startswith(COMMAND)
        return done.returncode, done.stderr, log.removeprefix(COMMAND), done.stdout

    return run


def test_wrong_input_ends_with_status_1_and_its_line_last_on_both(run_job):
    status, error, log, _ = run_job(["print('working', file=sys.stderr)", "raise InputError('a.json: what is wrong')"])
    assert status == 1
    assert error == log == "working\nerror: a.json: what is wrong\n"


def test_an_error_of_ours_leaves_its_traceback_in_the_log_alone(run_job):
    status, error, log, _ = run_job(["raise KeyError('nothing')"])
    assert status == 1
    assert error == "internal error: KeyError: 'nothing' (traceback in logs/inner/job.log)\n"
    assert "Traceback" in log
    assert log.endswith(error)


def test_a_job_that_ends_well_says_nothing_and_keeps_what_it_was_told(run_job):
    status, error, log, said = run_job(["import logging", "logging.getLogger('x').info('a note')", "print('result')"])
    assert (status, said) == (0, "result\n")
    assert error == log == "a note\n"


def test_the_number_of_threads_is_set_before_any_library_is_loaded(run_job):
    lines = ["import os", "assert 'torch' not in sys.modules", "print(os.environ['OMP_NUM_THREADS'])"]
    assert run_job(lines, threads=3)[3] == "3\n"


def test_a_log_holds_the_last_job_only(run_job):
    run_job(["print('first', file=sys.stderr)"])
    assert run_job(["print('second', file=sys.stderr)"])[2] == "second\n"


def logged_in_vain(log, lines, tmp_path):
    """Runs lines in a job whose log is a device without room, or stands where none can be made."""
    code = f"import sys\nfrom arcfold.jobs.job import logged\nwith logged({str(log)!r}, 1, first_line={lines[0]!r}):\n"
    code += "".join(f"    {line}\n" for line in lines[1:])
    return subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment_of_tests(), capture_output=True, text=True
    )


def test_a_log_that_cannot_be_made_ends_the_job_before_it_begins_with_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for log, reason in (("/dev/full", "No space left on device"), (tmp_path / "file" / "a.log", "File exists")):
        done = logged_in_vain(log, ["first line", "print('working')"], tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"error: {log}: the log cannot be written ({reason}); ")
        assert done.stderr.count("\n") == 1


def test_a_log_that_fills_the_disk_ends_and_the_job_goes_on(tmp_path):
    lines = [None, "print('one', file=sys.stderr)", "print('two', file=sys.stderr)", "print('result')"]
    done = logged_in_vain("/dev/full", lines, tmp_path)
    assert (done.returncode, done.stdout) == (0, "result\n")
    assert done.stderr == "one\n/dev/full: the log ends here (No space left on device)\ntwo\n" or done.stderr == (
        "one/dev/full: the log ends here (No space left on device)\n\ntwo\n"
    )


def test_a_full_disk_anywhere_in_a_job_is_one_line(run_job):
    status, error, log, _ = run_job(["open('/dev/full', 'w', buffering=1).write('no room\\n')"])
    assert status == 1
    assert error == log
    assert error.startswith("error: ")
    assert "cannot be written (No space left on device); make room there and run the same command again" in error


def test_a_value_that_the_jobs_file_lacks_is_named(tmp_path):
    from arcfold.jobs.files import InputError
    from arcfold.jobs.request import Values

    given = Values({"folds": 3}, "a.job.json: params")
    assert (given.folds, given[0], given.get("seed", 7)) == (3, 3, 7)
    assert not hasattr(given, "seed")
    with pytest.raises(InputError, match=r"a\.job\.json: params: no seed, expected one"):
        given.seed  # noqa: B018
    with pytest.raises(InputError, match=r"a\.job\.json: params: 1 values, expected one at place 1"):
        given[1]


KEEPS_GOING = """
given.params = Values({"of_a_fold": True})
given.output = Values(["found/fold-1.json", "adapters/fold-1"])
given.config = {"keep_going": True}
"""


def test_a_fold_that_fails_leaves_holes_if_the_run_keeps_going(run_job, tmp_path):
    status, error, log, _ = run_job(["raise InputError('training: the loss is nan')"], before=KEEPS_GOING)
    assert status == 0
    assert error == log == "error: training: the loss is nan\nkeep_going: the run goes on without this fold\n"
    for path in ("found/fold-1.json", "adapters/fold-1"):
        assert read_hole(tmp_path / path) == {"rule": "some", "reason": "training: the loss is nan"}
    assert [path.name for path in (tmp_path / "adapters/fold-1").iterdir()] == ["failed.json"]
    status, error, _, _ = run_job(["raise KeyError('x')"], before=KEEPS_GOING)
    assert (status, read_hole(tmp_path / "adapters/fold-1")["reason"]) == (0, "KeyError: 'x'")


@pytest.mark.parametrize(
    ("line", "before"),
    [
        ("raise InputError('x')", KEEPS_GOING.replace("True}\n", "False}\n")),
        ("raise InputError('x')", KEEPS_GOING.replace('"of_a_fold": True', "")),
        ("raise OSError(28, 'No space left on device')", KEEPS_GOING),
        ("raise KeyboardInterrupt", KEEPS_GOING),
    ],
    ids=["not asked for", "not of a fold", "full disk", "interrupt"],
)
def test_otherwise_a_job_that_fails_leaves_nothing(run_job, tmp_path, line, before):
    assert before != KEEPS_GOING or "Error(28" in line or "Interrupt" in line
    status, *_ = run_job([line], before=before)
    assert status != 0
    assert not (tmp_path / "found").exists()
    assert not (tmp_path / "adapters").exists()

import io

import pytest
from rich.console import Console

from arcfold.terminal.drawing import at_the_end, while_running
from arcfold.terminal.progress import Failure, Job, Progress, Score


def lines(renderable, width):
    console = Console(file=io.StringIO(), width=width, height=24, color_system=None, force_terminal=True)
    console.print(renderable)
    return console.file.getvalue().splitlines()


@pytest.fixture
def progress():
    """After 30 s of a run of eight folds on two GPUs."""
    progress = Progress({"make_folds": 1, "train_adapter": 8, "rescore_candidates": 8, "score_run": 1}, now=0)
    progress.begin(0, Job("make_folds", "folds", 0, 1, 0))
    progress.end(0, 2)
    for number, began in ((1, 2), (2, 2), (3, 12), (4, 12)):
        progress.begin(number, Job("train_adapter", f"training fold {number}", 1, 1, began))
        if number < 3:
            progress.end(number, 12)
    progress.said = "fold-3: 120/400 prompts " + "and more " * 20
    return progress


@pytest.mark.parametrize("width", [80, 120])
def test_a_row_for_each_stage_and_what_is_known_of_the_run(progress, width):
    progress.scores.append(Score("results/score_8folds.json", 90.625, 93.75))
    drawn = lines(while_running(progress, "GPUs 2 of 4", 15, 24), width)
    assert max(map(len, drawn)) <= width
    rows = {line.split()[0]: line.split() for line in drawn if line}
    assert rows["make_folds"][-5:] == ["1/1", "-", "2.0", "s", "-"]
    assert rows["train_adapter"][-5:] == ["2/8", "2", "10.0", "s", "12/min"]
    assert rows["rescore_candidates"][-4:] == ["0/8", "-", "-", "-"]
    assert rows["total"][-2:] == ["3/18", "2"]
    (facts,) = [line for line in drawn if "so far" in line]
    assert facts.split(" · ") == [
        "15 s so far",
        "more than 27 s left",
        "GPUs 2 of 4",
    ]
    assert "last score: results/score_8folds.json: 90.6 % (oracle 93.8 %)" in drawn
    assert drawn[-1].startswith("fold-3: 120/400 prompts")


def test_on_a_low_screen_stages_that_are_over_make_room(progress):
    drawn = "\n".join(lines(while_running(progress, "cores 2", 15, 10), 80))
    assert "make_folds" not in drawn
    assert "train_adapter" in drawn


def test_a_failure_is_there_while_others_run_and_at_the_end_whole(progress):
    line = "error: tasks.json: first/train/0: no output, expected a grid of 1 to 30 rows and columns, colours 0 to 9"
    progress.fail(3, Failure("train_adapter", "training fold 3", line, "results/logs/fold-3.log"))
    for drawn in (while_running(progress, "cores 2", 15, 24), at_the_end(progress, "run.log", 30)):
        text = " ".join(" ".join(lines(drawn, 80)).split())
        assert "1 failed" in text
        assert f"train_adapter failed: training fold 3 {line} log: results/logs/fold-3.log" in text


def test_the_summary_has_jobs_seconds_scores_and_the_log(progress):
    progress.scores.append(Score("results/score_8folds.json", 90.625, None))
    drawn = lines(at_the_end(progress, ".snakemake/log/one.log", 3700), 80)
    rows = {line.split()[0]: line.split()[1:] for line in drawn if line}
    assert rows["make_folds"] == ["1/1", "2.0", "s", "2.0", "s"]
    assert rows["train_adapter"] == ["2/8", "10.0", "s", "20.0", "s"]
    assert rows["total"] == ["3/18", "22.0", "s"]
    assert drawn[-3:] == ["1 h 01 min in all", "results/score_8folds.json: 90.6 %", "log: .snakemake/log/one.log"]

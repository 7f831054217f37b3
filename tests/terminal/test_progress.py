import heapq
import random

import pytest

from arcfold.terminal.progress import Failure, Job, Progress, jobs_of, time_left

STAGES = ("train_adapter", "search_candidates", "rescore_candidates")


def job(stage, began, gpus=1):
    return Job(stage=stage, what=f"{stage} of a fold", gpus=gpus, threads=1, began=began)


def done(progress, number, stage, began, ended, gpus=1):
    progress.begin(number, job(stage, began, gpus))
    progress.end(number, ended)


def test_nothing_is_known_before_the_first_job_is_done():
    progress = Progress({"train_adapter": 2}, now=0)
    assert progress.time_left(0) is None
    progress.begin(1, job("train_adapter", 0))
    assert progress.time_left(5) is None


def test_work_is_shared_among_the_jobs_that_run_at_once():
    progress = Progress({"train_adapter": 4}, now=0)
    for number in (1, 2):
        progress.begin(number, job("train_adapter", 0))
    for number in (1, 2):
        progress.end(number, 10)
    for number in (3, 4):
        progress.begin(number, job("train_adapter", 10))
    assert progress.time_left(13) == (pytest.approx(7), False)


def test_a_stage_of_which_nothing_is_known_makes_it_a_bound():
    progress = Progress({"train_adapter": 3, "search_candidates": 3, "score_run": 1}, now=0)
    done(progress, 1, "train_adapter", 0, 10)
    assert progress.time_left(10) == (20, True)
    done(progress, 2, "search_candidates", 10, 12)
    # one score among many jobs is no reason for a bound
    assert progress.time_left(12) == (2 * 10 + 2 * 2, False)


def test_the_last_fold_goes_through_all_its_stages_however_many_devices_there_are():
    progress = Progress(dict.fromkeys(STAGES, 8), now=0)
    for stage, seconds in zip(STAGES, (30, 20, 10), strict=True):
        for number in range(4):
            progress.begin(hash((stage, number)), job(stage, 0))
        for number in range(4):
            progress.end(hash((stage, number)), seconds)
    assert progress.time_left(0) == (pytest.approx(60), False)


def test_devices_that_wait_for_their_next_job_half_of_the_time_are_half_as_many():
    progress = Progress({"train_adapter": 20}, now=0)
    for turn in range(5):
        for device in (0, 1):
            progress.begin(10 * turn + device, job("train_adapter", 2 * turn))
        for device in (0, 1):
            progress.end(10 * turn + device, 2 * turn + 1)
    assert progress.time_left(10) == (pytest.approx(10), False)


def test_first_jobs_that_take_long_are_forgotten():
    progress = Progress({"train_adapter": 10}, now=0)
    for number, seconds in enumerate((30, 30, 2, 2, 2, 2)):
        done(progress, number, "train_adapter", 100 * number, 100 * number + seconds)
    assert progress.time_left(1000) == (4 * 2, False)


def test_jobs_without_gpus_do_not_widen_those_with():
    progress = Progress({"collect_tasks": 4, "train_adapter": 4}, now=0)
    for number in range(4):
        progress.begin(number, job("collect_tasks", 0, gpus=0))
    for number in range(4):
        progress.end(number, 1)
    done(progress, 10, "train_adapter", 1, 11)
    assert progress.time_left(11) == (30, False)


@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("folds", [8, 40])
@pytest.mark.parametrize("deep", [False, True])
def test_a_simulated_run_ends_about_when_it_was_said_to(devices, folds, deep):
    """deep: a fold goes through all stages before the next begins, where a device is free for it."""
    draw = random.Random(folds + devices)
    seconds = {
        (stage, fold): mean * draw.uniform(0.7, 1.3) for stage, mean in enumerate((10, 6, 3)) for fold in range(folds)
    }
    progress = Progress(dict.fromkeys(STAGES, folds), now=0)
    ready = [(0, fold) for fold in range(folds)]
    running, now, said = [], 0.0, []
    while ready or running:
        while ready and len(running) < devices:
            ready.sort(key=lambda one: (-one[0] if deep else one[0], one[1]))
            stage, fold = ready.pop(0)
            progress.begin(100 * stage + fold, job(STAGES[stage], now))
            heapq.heappush(running, (now + seconds[stage, fold], stage, fold))
        said.append((now, progress.time_left(now)))
        now, stage, fold = heapq.heappop(running)
        progress.end(100 * stage + fold, now)
        if stage + 1 < len(STAGES):
            ready.append((stage + 1, fold))
    for moment, left in said:
        if left is None:
            continue
        if left.at_least:
            # which jobs are long is not known to begin with
            assert left.seconds <= 1.3 * (now - moment), moment
        elif now - moment > 20:
            assert left.seconds == pytest.approx(now - moment, rel=0.3), moment


def test_a_job_that_fails_and_is_done_again_is_not_a_failure_in_the_end():
    progress = Progress({"train_adapter": 2}, now=0)
    progress.begin(1, job("train_adapter", 0))
    failure = Failure("train_adapter", "fold 0", "error: no device", "fold-0.log")
    progress.fail(1, failure)
    progress.fail(1, failure)
    stage = progress.stages["train_adapter"]
    assert (stage.failed, stage.waiting, len(stage.running)) == (1, 1, 0)
    done(progress, 1, "train_adapter", 5, 8)
    assert (stage.failed, stage.done, progress.failures) == (0, 1, {})


def test_jobs_that_are_found_on_the_way_count():
    progress = Progress({"train_adapter": 1}, now=0)
    done(progress, 1, "train_adapter", 0, 1)
    done(progress, 2, "train_adapter", 1, 2)
    done(progress, 3, "draw_task", 2, 3)
    assert (progress.done, progress.total) == (3, 3)


def test_a_rate_is_jobs_in_a_minute_of_the_time_in_which_they_were_done():
    progress = Progress({"train_adapter": 9}, now=0)
    for number in range(3):
        done(progress, number, "train_adapter", 10 + 20 * number, 30 + 20 * number)
    assert progress.stages["train_adapter"].per_minute == pytest.approx(3)


def test_the_sum_in_snakemakes_statistics_is_no_stage():
    assert jobs_of({"collect_tasks": 1, "train_adapter": 8, "total": 9}) == {"collect_tasks": 1, "train_adapter": 8}


def test_nothing_is_left_of_nothing():
    assert time_left([], {True: 0, False: 0}, 0) is None

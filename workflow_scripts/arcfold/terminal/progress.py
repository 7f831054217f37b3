"""What of a run is done, what runs, and when it will be done.

For example after two of four trainings on two GPUs, 10 s each, with the other two just begun:

    train_adapter       total 4, seconds [10, 10], running 2, most at once 2
    rescore_candidates  total 4, seconds []

20 s of training are left for two GPUs, so 10 s; how long a rescoring takes nobody knows yet, so it is "at least 10 s".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass
class Job:
    """A job that runs."""

    stage: str
    what: str
    """What it does, in the words of its rule."""
    gpus: int
    threads: int
    began: float
    logs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass
class Stage:
    """The jobs of one rule. Times are seconds of any one clock."""

    name: str
    total: int
    on_gpus: bool = False
    running: dict[int, Job] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    """Of each job that is done, in the order in which they ended."""
    failed: int = 0
    began: float | None = None
    ended: float | None = None

    @property
    def done(self) -> int:
        return len(self.seconds)

    @property
    def waiting(self) -> int:
        """Jobs that have not begun."""
        return max(0, self.total - self.done - self.failed - len(self.running))

    @property
    def is_over(self) -> bool:
        return not self.waiting and not self.running

    @property
    def mean(self) -> float | None:
        """Seconds of a job: the mean of the later half, for the first on a device take longer."""
        later = self.seconds[len(self.seconds) // 2 :]
        return sum(later) / len(later) if later else None

    @property
    def per_minute(self) -> float | None:
        """Jobs done in a minute, from the first begun to the last done; one job makes no rate."""
        if self.done < 2 or self.began is None or self.ended is None or self.ended <= self.began:
            return None
        return 60 * self.done / (self.ended - self.began)


class Failure(NamedTuple):
    """A job that failed, with its own line about it."""

    stage: str
    what: str
    line: str
    log: str | None


class Score(NamedTuple):
    """What a score's file says, in percent."""

    path: str
    score: float
    oracle: float | None


class Estimate(NamedTuple):
    """Seconds that are left; at least these where stages with several jobs have none done."""

    seconds: float
    at_least: bool


class Progress:
    """The stages of a run, told of each job that begins and ends.

    One thread changes it while another draws it: the latter copies what it goes through, which Python does at once.
    """

    def __init__(self, totals: Mapping[str, int], now: float) -> None:
        """totals: the number of jobs of each rule, in the order in which they are done"""
        self.stages = {name: Stage(name, total) for name, total in totals.items()}
        self.began = now
        self.jobs: dict[int, Job] = {}
        self.failures: dict[int, Failure] = {}
        self.scores: list[Score] = []
        self.made: list[str] = []
        """The outputs of all jobs that are done."""
        self.said = ""
        """What a job has said last."""
        self.most_at_once = {True: 0, False: 0}
        """Jobs that ran at once at most, of those with GPUs and of the others."""

    @property
    def total(self) -> int:
        return sum(stage.total for stage in list(self.stages.values()))

    @property
    def done(self) -> int:
        return sum(stage.done for stage in list(self.stages.values()))

    def begin(self, number: int, job: Job) -> None:
        """A job begins, perhaps once more after it has failed."""
        stage = self.stages.setdefault(job.stage, Stage(job.stage, 0))
        if self.failures.pop(number, None):
            stage.failed -= 1
        stage.running[number] = self.jobs[number] = job
        stage.on_gpus = job.gpus > 0
        stage.began = job.began if stage.began is None else stage.began
        # Snakemake finds some jobs only when others have run
        stage.total = max(stage.total, stage.done + stage.failed + len(stage.running))
        running = sum(bool(other.gpus) is stage.on_gpus for other in self.jobs.values())
        self.most_at_once[stage.on_gpus] = max(self.most_at_once[stage.on_gpus], running)

    def end(self, number: int, now: float) -> Job | None:
        """A job is done; the job, if it was known to run."""
        job = self.jobs.pop(number, None)
        if job is not None:
            stage = self.stages[job.stage]
            del stage.running[number]
            stage.seconds.append(now - job.began)
            stage.ended = now
        return job

    def fail(self, number: int, failure: Failure) -> None:
        """A job has failed; a second word about the same is not counted."""
        if number in self.failures:
            return
        self.failures[number] = failure
        stage = self.stages.setdefault(failure.stage, Stage(failure.stage, 1))
        stage.failed += 1
        if self.jobs.pop(number, None) is not None:
            del stage.running[number]

    def time_left(self, now: float) -> Estimate | None:
        """As the function of that name."""
        return time_left(list(self.stages.values()), self.at_once(now), now)

    def at_once(self, now: float) -> dict[bool, float]:
        """How many jobs have run at once on average since the first, of those with GPUs and of the others.

        Where jobs are short, starting them takes longer than they do, and fewer run than there is room for.
        """
        mean: dict[bool, float] = {}
        for kind, most in self.most_at_once.items():
            stages = [one for one in list(self.stages.values()) if one.on_gpus is kind and one.began is not None]
            busy = sum(sum(one.seconds) + sum(now - job.began for job in list(one.running.values())) for one in stages)
            passed = now - min((one.began for one in stages if one.began is not None), default=now)
            mean[kind] = min(most, busy / passed) if passed > 0 else most
        return mean


def time_left(stages: Iterable[Stage], at_once: Mapping[bool, float], now: float) -> Estimate | None:
    """How long a run will still take; None if nothing is known.

    stages: in the order in which a fold goes through them
    at_once: how many jobs run at once, of those with GPUs (True) and of the others (False)

    The work that is left is shared among as many jobs as run at once, and is never done before the last fold has gone
    through all stages that are left to it.
    """
    work = {True: 0.0, False: 0.0}
    jobs = {True: 0, False: 0}
    chain = 0.0
    at_least = False
    for stage in stages:
        if stage.is_over:
            continue
        mean = stage.mean
        if mean is None:
            at_least |= stage.total > 1
            continue
        running = [max(0.0, mean - (now - job.began)) for job in list(stage.running.values())]
        work[stage.on_gpus] += stage.waiting * mean + sum(running)
        jobs[stage.on_gpus] += stage.waiting + len(running)
        chain += mean if stage.waiting else max(running, default=0.0)
    # a place for a job may be empty while the last jobs run
    shared = sum(work[kind] / max(1, min(at_once[kind], jobs[kind])) for kind in work)
    seconds = max(shared, chain)
    return Estimate(seconds, at_least) if seconds > 0 else None


def jobs_of(stats: Mapping[str, Any]) -> dict[str, int]:
    """Jobs of each rule in Snakemake's statistics, without their sum."""
    return {str(name): int(count) for name, count in stats.items() if name != "total"}

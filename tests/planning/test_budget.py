"""Time is dealt out so that a run ends in time: whole runs on a simulated clock, and decisions worked out by hand."""

from __future__ import annotations

import heapq
import json
import random

import pytest
from made_tasks import task

from arcfold.jobs.files import InputError, check_schema
from arcfold.planning import budget as budgets
from arcfold.planning import overhead
from arcfold.planning.budget import STEPS, Ledger, OutOfTime, decide, new_budget, note_decision, ratios, taken_over
from arcfold.planning.rungs import rungs_of

SETTINGS = {"training": {"epochs": 8, "views": 8}, "search": {"views": 8, "min_prob": 0.1}, "rescoring": {"views": 8}}
RUNGS = rungs_of(
    SETTINGS, [{"rescoring": {"views": 0.5}}, {"training": {"epochs": 0.5}}, {"training": {"epochs": 0.25}}]
)
TASKS = [task("a", [("1", "2")], [("1", None)])]
SHARES = [(1, 1, 1), (1, 1, 0.5), (0.5, 1, 0.5), (0.25, 1, 0.5), (0.25, 1, 0)]
"""Of the seconds of each step, on each rung."""


def a_budget(seconds, *, stop=None, devices=1, known=True):
    """A budget of folds whose steps take these seconds on rung 0."""
    run = {"name": "mine", "dataset": "a", "folds": len(seconds), "seed": 0, "model": "m"}
    clock = None if stop is None else {"began": 0.0, "deadline": stop, "stop": stop}
    made = new_budget(run, RUNGS, devices, clock)
    made["predicted"] = [
        [[each * share for each, share in zip(of_fold, shares, strict=True)] for shares in SHARES]
        for of_fold in seconds
    ]
    made["measured_rates"] = known
    return made


def taken(budget):
    """The rungs of each fold's steps, None where the fold was dropped."""
    return [
        None if "dropped" in entry else tuple(entry["steps"][step]["rung"] for step in STEPS if step in entry["steps"])
        for entry in budget["folds"].values()
    ]


def simulate(budget, *, slower=lambda fold, step: 1.0, hangs=(), order=None, job=0.0):
    """A run on devices that take `slower` times what was predicted; the second at which it ends.

    hangs: folds and steps that never end by themselves
    job: what the job of each fold takes beside its steps, also of one that is told that there is no time
    """
    waiting = list(order or range(len(budget["folds"])))[::-1]
    events = [(0.0, device, None, None, None) for device in range(budget["devices"])]
    ended, worked = 0.0, dict.fromkeys(waiting, 0.0)
    while events:
        now, device, fold, step, stopped = heapq.heappop(events)
        ended = max(ended, now) if fold is not None else ended
        if fold is None:
            if waiting:
                overhead.begin(budget, waiting[-1])
                heapq.heappush(events, (now + job, device, waiting.pop(), None, None))
            continue
        entry = budget["folds"][str(fold)]
        if stopped:
            entry["stops"] = entry.get("stops", 0) + 1
            if not budgets._lower(budget, entry, step) or entry["stops"] >= budgets.DEATHS:
                entry["dropped"] = "stopped"
        elif step is not None:
            entry.pop("running")
            of = entry["steps"][step]
            of |= {"seconds": now - of.pop("began"), "measured": True, "store": "there"}
            worked[fold] += of["seconds"]
        if "dropped" in entry or (step == STEPS[-1] and not stopped):
            overhead.end(budget, fold, now, worked[fold])
            heapq.heappush(events, (now, device, None, None, None))
            continue
        if not stopped:
            step = STEPS[0] if step is None else STEPS[STEPS.index(step) + 1]
        rung, said = decide(budget, fold, step, now)
        if rung is None:
            entry["dropped"] = said
            overhead.end(budget, fold, now, worked[fold])
            heapq.heappush(events, (now, device, None, None, None))
            continue
        made = note_decision(budget, fold, step, rung, now)
        entry["steps"][step]["began"] = now
        entry.setdefault("running", {"step": step, "since": now})
        predicted = entry["steps"][step]["predicted"]
        lasts = predicted * slower(fold, step) if (fold, step) not in hangs or not predicted else 1e9
        late = made.ends_by is not None and now + lasts > made.ends_by
        heapq.heappush(events, (made.ends_by if late else now + lasts, device, fold, step, late))
    return ended


def test_with_time_enough_nothing_gives_way():
    budget = a_budget([(10, 4, 4)] * 4, stop=100, devices=1)
    assert simulate(budget) == 72
    assert taken(budget) == [(0, 0, 0)] * 4


def test_all_folds_give_way_alike_before_one_is_dropped():
    # 72 s in full; 64 s with half of the scoring views; 44 s with half of the epochs
    for stop, rung in ((68, 1), (47, 2)):
        budget = a_budget([(10, 4, 4)] * 4, stop=stop)
        assert simulate(budget) <= stop
        assert taken(budget)[0] == (rung, rung, rung)
        assert None not in taken(budget)


def test_what_steps_took_corrects_what_is_predicted():
    # the machine is twice as slow as it should be: the first fold finds it out, the others give way
    budget = a_budget([(10, 4, 4)] * 8, stop=200)
    assert simulate(budget, slower=lambda fold, step: 2.0) <= 200
    assert taken(budget)[0][0] == 0
    assert sum(rungs[0] > 0 for rungs in taken(budget)) >= 4
    assert None not in taken(budget)
    assert ratios(budget)["training"] == pytest.approx(2.0, abs=0.2)
    # and the other way round: twice as fast, the last ones are done in full
    budget = a_budget([(10, 4, 4)] * 8, stop=100)
    assert simulate(budget, slower=lambda fold, step: 0.5) <= 100
    assert taken(budget)[0][0] > 0
    assert taken(budget)[-1] == (0, 0, 0)


def test_too_little_time_drops_the_last_folds_and_no_more():
    budget = a_budget([(40, 4, 4)] * 8, stop=60)  # 14 s a fold on the last rung
    assert simulate(budget) <= 60
    assert [each is None for each in taken(budget)] == [False] * 4 + [True] * 4
    assert "which need" in budget["folds"]["7"]["dropped"]


def test_a_guess_drops_nobody_before_something_was_measured():
    # a guess that is a hundred times too long
    budget = a_budget([(1000, 400, 400)] * 4, stop=100, known=False)
    assert simulate(budget, slower=lambda fold, step: 0.01) <= 100
    assert None not in taken(budget)
    assert taken(budget)[-1] == (0, 0, 0)


def test_a_step_that_hangs_is_stopped_and_begun_on_the_last_rung():
    budget = a_budget([(10, 4, 4)] * 4, stop=1000)
    assert simulate(budget, hangs={(1, "training")}) <= 1000
    assert taken(budget) == [(0, 0, 0), None, (0, 0, 0), (0, 0, 0)]
    assert budget["folds"]["1"]["lowered"] == ["training", "training"]
    # a rescoring that hangs costs its scores, no answers: the last rung has none
    budget = a_budget([(10, 4, 4)] * 4, stop=1000)
    simulate(budget, hangs={(1, "rescoring")})
    assert taken(budget)[1] is None or taken(budget)[1][2] == len(RUNGS) - 1


def test_what_is_slow_is_not_stopped_as_long_as_there_is_time():
    """A machine with other work: one training takes ten times as long as the others."""
    slow = {"slower": lambda fold, step: 10.0 if (fold, step) == (2, "training") else 1.0}
    budget = a_budget([(10, 4, 4)] * 4, stop=1000)
    assert simulate(budget, **slow) == 162
    assert taken(budget) == [(0, 0, 0)] * 4
    # with less of it the others' answers are worth more
    budget = a_budget([(10, 4, 4)] * 4, stop=140)
    assert simulate(budget, **slow) <= 140
    assert budget["folds"]["2"]["lowered"] == ["training"]


@pytest.mark.parametrize(("job", "stop"), [(0.2, 300), (2.0, 300), (5.0, 600), (2.0, 2000)])
def test_there_is_time_to_tell_everybody_that_there_is_none(job, stop):
    """Two devices and 200 folds of 12 s, or 4 s on the last rung, whose jobs take seconds on a busy machine."""
    budget = a_budget([(8, 2, 2)] * 200, stop=stop, devices=2)
    assert simulate(budget, job=job) <= stop + 2 * job
    done = sum(each is not None for each in taken(budget))
    # as many as there can be, but for one in five
    assert done >= 0.8 * min(200, (stop - 100 * job) / (4 / 2))


@pytest.mark.parametrize("seed", range(40))
def test_runs_of_all_kinds_end_in_time(seed):
    """Folds of any length, on machines of any speed, some steps hang: no step ends behind the stop."""
    draws = random.Random(seed)
    folds, devices = draws.randint(1, 30), draws.randint(1, 4)
    seconds = [tuple(draws.lognormvariate(2, 1) for _ in STEPS) for _ in range(folds)]
    whole = sum(map(sum, seconds)) / devices
    speed = draws.choice((0.1, 0.5, 1.0, 2.0, 10.0))
    hangs = {(fold, draws.choice(STEPS)) for fold in range(folds) if draws.random() < 0.1}
    stop = whole * draws.choice((0.1, 0.5, 1.0, 2.0)) * draws.choice((1.0, speed))
    budget = a_budget(seconds, stop=stop, devices=devices, known=draws.random() < 0.5)
    easy_first = sorted(range(folds), key=lambda fold: sum(seconds[fold]))
    ended = simulate(budget, slower=lambda fold, step: speed * draws.uniform(0.7, 1.4), hangs=hangs, order=easy_first)
    assert ended <= stop + 1e-6
    check_schema(json.loads(json.dumps(budget)), "budget", "budget")
    for entry in budget["folds"].values():
        assert "dropped" in entry or len(entry["steps"]) == len(STEPS)


def test_a_budget_is_replayed_by_looking_it_up(tmp_path):
    first = a_budget([(10, 4, 4)] * 8, stop=60)
    simulate(first)
    replay = taken_over(a_budget([(10, 4, 4)] * 8), json.loads(json.dumps(first)), replayed=True)
    path = tmp_path / "budget.json"
    path.write_text(json.dumps(replay))
    ledger = Ledger(path)
    for fold, rungs in enumerate(taken(first)):
        for step in STEPS:
            if rungs is None and step not in first["folds"][str(fold)]["steps"]:
                with pytest.raises(OutOfTime, match=r"out of time: .* are left for"):
                    ledger.decide(fold, step)
                break
            decision = ledger.decide(fold, step)
            assert decision.rung == first["folds"][str(fold)]["steps"][step]["rung"]
            assert (decision.settings, decision.ends_by) == (first["rungs"][decision.rung][step], None)


def test_a_restart_keeps_what_is_done_and_tries_dropped_folds_again():
    first = a_budget([(10, 4, 4)] * 3, stop=30)
    simulate(first)
    assert taken(first)[-1] is None or taken(first)[-1][0] > 0
    first["folds"]["1"]["steps"]["search"].pop("seconds")  # it was interrupted there
    again = taken_over(a_budget([(10, 4, 4)] * 3, stop=1000), first, replayed=False)
    assert set(again["folds"]["1"]["steps"]) == {"training", "rescoring"}
    assert not any("dropped" in entry for entry in again["folds"].values())
    assert decide(again, 0, "training", 0.0)[0] == first["folds"]["0"]["steps"]["training"]["rung"]
    assert decide(again, 1, "search", 0.0)[0] == 0


def test_a_budget_of_another_run_is_refused(tmp_path):
    run = {"name": "mine", "dataset": "a", "folds": 1, "seed": 0, "model": "m"}
    path = tmp_path / "budget.json"
    given = {"devices": 1, "folds": [0], "clock": None}
    budgets.begin(path, run, RUNGS, TASKS, replayed=new_budget(run, RUNGS, 4, None), **given)
    other = new_budget({**run, "name": "other", "seed": 1}, RUNGS, 1, None)
    with pytest.raises(InputError, match="that of run other with other settings, tasks or seed than mine"):
        budgets.begin(path, run, RUNGS, TASKS, replayed=other, **given)

"""Comparisons of made-up score files, and their sentences and tables."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest

from arcfold.comparisons.compare import compare
from arcfold.comparisons.table import as_csv
from arcfold.comparisons.words import sentence
from arcfold.jobs.files import InputError, check_schema

DATA = {"name": "mine", "source": "mine.json", "sha256": "0" * 64, "n_outputs": 61}
SETTINGS: dict[str, Any] = {"training": {"rank": 32, "warmup_ratio": 0.1}, "search": {"min_prob": 0.17}}


def score(right: Any, *, seed: int = 0, settings: Any = SETTINGS, adapters: str = "", **more: Any) -> dict[str, Any]:
    """A score file of one task for each row of `right`, of one output for each column."""
    tasks = {
        f"task{number}": {
            "score": float(np.mean(outputs)),
            "outputs": [
                {"correct": bool(is_right), "rank": 1 if is_right else None, "n_candidates": 1, "source": "candidates"}
                for is_right in outputs
            ],
        }
        for number, outputs in enumerate(right)
    }
    outputs = [output["correct"] for task in tasks.values() for output in task["outputs"]]
    reached = [all(output["correct"] for output in task["outputs"]) for task in tasks.values()]
    made: dict[str, Any] = {
        "score": 100 * float(np.mean([task["score"] for task in tasks.values()])),
        "score_outputs": 100 * float(np.mean(outputs)),
        "oracle": 100 * float(np.mean(reached)),
        "n_tasks": len(tasks),
        "n_outputs": len(outputs),
        "n_fallback": 0,
        "complete": True,
        "data": DATA,
        "scorer": "s",
        "code": "c",
        "steps": {"adapters": adapters or f"store/{seed}/{settings['training']['rank']}"},
        "leakage": [],
        "failed": [],
        "folds": [{"fold": 0, "first_loss": 2.0, "last_loss": 1.0, "tokens": 1000 + seed}],
        "tasks": tasks,
        "provenance": {
            "run": {"name": "x", "dataset": "mine", "folds": 8, "seed": seed, "model": "m", "settings": settings},
            "model": {"name": "m", "hash": "h"},
            "git_commit": "0123",
            "versions": {"python": "3.11"},
            "seconds_of_folds": {
                "train_adapter": [{"import": 1.0, "wait for a device": 5.0, "training": 10.0, "total": 16.0}],
                "search_candidates": [{"wait for a device": 2.0, "search": 4.0, "total": 6.0}],
            },
            "devices_of_folds": {"train_adapter": [{"kind": "cuda", "name": "H100", "peak_mib": 900 + seed}]},
            "peak_host_mib": {"train_adapter": 1500, "search_candidates": 1600},
        },
    }
    return made | more


def changed(section: str, key: str, value: Any) -> dict[str, Any]:
    return {**SETTINGS, section: {**SETTINGS[section], key: value}}


def rows(tasks: int, right: int, flips: int = 0, seed: int = 0) -> list[list[bool]]:
    """So many tasks of one output with the first ones right, but for some flips."""
    made = [[number < right] for number in range(tasks)]
    for place in np.random.default_rng(seed).choice(tasks, flips, replace=False):
        made[place][0] = not made[place][0]
    return made


def study(name: str = "mine", **configurations: list[str]) -> dict[str, Any]:
    base = next(iter(configurations))
    return {
        "name": name,
        "base": base,
        "notes": "why?",
        "configurations": [{"name": each, "runs": runs} for each, runs in configurations.items()],
        "pairs": [[each, base] for each in configurations if each != base],
    }


def several(right: int, *, tasks: int = 100, flips: int = 4, seeds: int = 5, **more: Any) -> list[dict[str, Any]]:
    return [score(rows(tasks, right, flips, seed + 17 * right), seed=seed, **more) for seed in range(seeds)]


def named(name: str, scores: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {f"{name}-seed{each['provenance']['run']['seed']}": each for each in scores}


def compared(**groups: list[dict[str, Any]]) -> dict[str, Any]:
    scores = {name: named(name, of_group) for name, of_group in groups.items()}
    of_runs = {run: each for of_group in scores.values() for run, each in of_group.items()}
    made = compare(study(**{name: list(of_group) for name, of_group in scores.items()}), of_runs, [])
    check_schema({**made, "provenance": {}}, "compare", "x")
    return made


def test_seeds_are_a_group_with_mean_spread_best_number_and_cost() -> None:
    base = several(40)
    made = compared(base=base, higher=several(60, settings=changed("training", "rank", 64)))
    (one, other) = made["configurations"]
    totals = [each["score"] for each in base]
    assert one["score"]["mean"] == pytest.approx(np.mean(totals), abs=1e-3)
    assert one["score"]["sd"] == pytest.approx(np.std(totals, ddof=1), abs=1e-3)
    assert (one["score"]["best"], one["score"]["n"]) == (max(totals), 5)
    low, high = one["score"]["interval"]
    assert low < one["score"]["mean"] < high
    assert (one["settings"], other["settings"]) == ({}, {"training.rank": 64})
    assert one["runs"][3]["device_seconds"] == {"train_adapter": 10.0, "search_candidates": 4.0, "total": 14.0}
    assert one["device_seconds"] == 14.0
    assert (one["peak_host_mib"], one["peak_device_mib"], one["tokens"]) == (1600, 904, 1002.0)
    assert one["runs"][3]["devices"] == ["H100"]
    assert made["tasks"]["task0"] == {
        name: [each["tasks"]["task0"]["score"] for each in of_group]
        for name, of_group in (("base", base), ("higher", several(60)))
    }


def test_a_large_difference_is_better_or_worse_and_a_small_one_cannot_be_told() -> None:
    rank = changed("training", "rank", 8)
    made = compared(base=several(40), up=several(60, settings=rank), down=several(20, settings=rank), same=several(41))
    up, down, same = made["pairs"]
    assert [pair["verdict"] for pair in made["pairs"]] == ["better", "worse", "unclear"]
    assert up["difference"] == pytest.approx(20, abs=3)
    assert up["interval"][0] < 20 < up["interval"][1]
    assert up["sentence"] == (
        f"up is better than base, by {up['difference']:.1f} points "
        f"(95 % interval +{up['interval'][0]:.1f} to +{up['interval'][1]:.1f})."
    )
    assert down["sentence"].startswith("down is worse than base, by ")
    assert same["sentence"].startswith("Whether same is better than base can't be told: ")
    assert f"A difference of {same['detectable']:.1f} would have shown in four cases of five." in same["sentence"]
    assert up["more_seeds"] == 0
    assert all(pair["p_holm"] >= pair["p"] for pair in made["pairs"])
    assert up["won"] > up["lost"] > 0


def test_one_seed_says_that_it_holds_the_noise_of_tasks_alone() -> None:
    made = compared(base=several(40, seeds=1), up=several(70, seeds=1, settings=changed("training", "rank", 8)))
    (pair,) = made["pairs"]
    assert pair["noise"] == "tasks"
    assert pair["sentence"].endswith("One seed of each: what another seed would change is not in this.")
    assert made["configurations"][0]["score"]["sd"] is None
    assert made["warnings"][0].startswith("one seed alone of base, up")


def test_runs_that_share_adapters_are_paired_by_seed() -> None:
    wider = changed("search", "min_prob", 0.05)
    made = compared(base=several(40), wider=several(41, settings=wider), other=several(41, adapters="elsewhere"))
    assert [pair["seeds"]["paired"] for pair in made["pairs"]] == [True, False]
    fewer = compared(base=several(40), wider=several(41, settings=wider, seeds=3))
    assert fewer["pairs"][0]["seeds"] == {"a": 3, "b": 5, "paired": False}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {**DATA, "sha256": "1" * 64, "source": "theirs.json"}}, "expected the same tasks"),
        ({"scorer": "t"}, "expected the same"),
    ],
)
def test_other_data_or_another_scorer_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        compared(base=several(40, seeds=1), other=[{**each, **changes} for each in several(40, seeds=1)])
    assert "results/score_other-seed0.json" in str(error.value)


def test_a_comparison_so_far_has_what_is_finished_and_names_the_rest() -> None:
    scores = named("base", several(40, seeds=2)) | named("up", several(60, seeds=1))
    wanted = study(base=["base-seed0", "base-seed1"], up=["up-seed0", "up-seed1"], never=["never-seed0"])
    made = compare(wanted, scores, ["up-seed1", "never-seed0"])
    assert [each["name"] for each in made["configurations"]] == ["base", "up"]
    assert [(pair["a"], pair["b"]) for pair in made["pairs"]] == [("up", "base")]
    assert made["missing"] == ["up-seed1", "never-seed0"]
    with pytest.raises(InputError, match="comparison mine: no score is finished, expected one at least"):
        compare(wanted, {}, [])


def test_a_submission_from_elsewhere_is_compared_as_a_run_and_a_leaderboard_stands_beside() -> None:
    theirs = score(rows(100, 55), leaderboard=12.5)
    theirs = {
        key: value for key, value in theirs.items() if key not in ("oracle", "n_fallback", "steps", "folds", "failed")
    }
    provenance = {
        "run": {"name": "theirs", "dataset": "mine", "submission": "x.json"},
        "git_commit": None,
        "versions": {},
    }
    theirs |= {"submission": "5" * 64, "provenance": {**provenance, "peak_host_mib": 90}}
    theirs["tasks"] = {
        name: {**task, "outputs": [{"correct": output["correct"]} for output in task["outputs"]]}
        for name, task in theirs["tasks"].items()
    }
    base = named("base", several(40))
    made = compare(study(base=list(base), theirs=["theirs"]), {**base, "theirs": theirs}, [])
    check_schema({**made, "provenance": {}}, "compare", "x")
    _, found = made["configurations"]
    assert (found["kind"], found["leaderboard"], found["oracle"], found["device_seconds"]) == (
        "submission",
        12.5,
        None,
        None,
    )
    assert found["runs"][0]["seed"] is None
    assert found["settings"]["submission"] == "x.json"
    assert made["pairs"][0]["verdict"] == "better"
    table = list(csv.DictReader(io.StringIO(as_csv(made))))
    assert [row["configuration"] for row in table] == ["base", "theirs"]
    assert (table[1]["leaderboard"], table[1]["verdict"], table[1]["seeds"]) == ("12.5", "better", "1")
    assert table[0]["difference"] == table[1]["oracle_mean"] == ""
    assert float(table[1]["difference"]) == made["pairs"][0]["difference"]


def test_what_should_be_known_before_believing_it_is_said() -> None:
    base, other = several(40, seeds=2), several(42, seeds=2)
    other[0]["code"] = "mixed"
    other[1] |= {"code": "d", "complete": False, "leakage": [{"by": "m"}]}
    other[1]["cuts"] = [{"fold": 0, "settings": {"search": {"views": 2}}}]
    other[1]["provenance"]["devices_of_folds"] = {"train_adapter": [{"kind": "cpu"}]}
    said = "\n".join(compared(base=base, other=other)["warnings"])
    for words in (
        "other code than there was",
        "not all runs were made by the same code",
        "CPU, H100",
        "not all test inp",
    ):
        assert words in said
    assert "has seen tasks that they are scored on: other-seed1" in said
    assert "gave way to a deadline, in folds that `cuts` of the score names: other-seed1" in said


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"more_seeds": 1}, "To show one of 0.4 takes one more seed of each."),
        ({"more_seeds": 12}, "To show one of 0.4 takes 12 more seeds of each."),
        ({"more_seeds": None}, "No number of seeds would show one of 0.4 on these tasks."),
        ({"p": 0.01}, "Alone it could; of 15 comparisons one such is to be expected by chance."),
    ],
)
def test_a_sentence_says_what_would_tell(more: dict[str, Any], words: str) -> None:
    pair = {
        "a": "x",
        "b": "y",
        "difference": -0.4,
        "interval": [-2.0, 1.2],
        "p": 0.6,
        "detectable": 2.3,
        "more_seeds": 12,
        "noise": "tasks and seeds",
        "verdict": "unclear",
    }
    said = sentence({**pair, **more}, 15)
    assert said.startswith("Whether x is better than y can't be told: −0.4 points (−2.0 to +1.2).")
    assert words in said


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_task_is_compared_and_tells_nothing(seeds: int) -> None:
    right = [score([[True]], seed=seed) for seed in range(seeds)]
    wrong = [score([[False]], seed=seed, settings=changed("training", "rank", 8)) for seed in range(seeds)]
    made = compared(base=right, other=wrong)
    (pair,) = made["pairs"]
    assert (pair["difference"], pair["interval"], pair["p"], pair["verdict"]) == (-100, [-100, 100], 1, "unclear")
    assert made["configurations"][0]["score"]["interval"] == [0, 100]

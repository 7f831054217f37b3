"""What a study of the config means, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shipped import CONFIG

from arcfold.jobs.files import InputError
from arcfold.runs.ensembles import check_ensembles
from arcfold.runs.runs import resolve_run
from arcfold.runs.studies import Study, canonical, check_studies, other_seeds, resolve_study


def names(study: Study) -> list[str]:
    return [each.name for each in study.configurations]


def with_study(config: Any, **entry: Any) -> Any:
    config["studies"] = {"mine": {"base": "8folds", **entry}}
    check_studies(config, "config")
    return config


def test_iteration_02_has_each_parameter_alone_around_8folds_and_three_pairs() -> None:
    study = resolve_study(CONFIG, "iteration_02")
    alone = ["folds1", "folds2", "folds4", "folds16", "foldsper_task", "rank16", "rank64", "epochs4", "search_views16"]
    alone += ["min_prob0p35", "min_prob0p1", "min_prob0p05"]
    together = ["rank64_epochs4", "search_views16_min_prob0p05", "foldsper_task_rank16"]
    assert names(study) == ["8folds", *(f"8folds_{change}" for change in alone + together)]
    assert len(study.runs) == 16 * 5
    assert study.configurations[1].runs == tuple(f"8folds_folds1-seed{seed}" for seed in range(5))
    assert len(study.pairs) == 15 + 3
    assert study.pairs[0] == ("8folds_folds1", "8folds")


def test_iteration_02_full_is_every_combination_each_once() -> None:
    study = resolve_study(CONFIG, "iteration_02_full")
    assert len(set(names(study))) == len(study.configurations) == 6 * 3 * 2 * 2 * 4
    assert study.base == names(study)[0] == "8folds"
    assert "8folds_folds4_rank16_epochs4_search_views16_min_prob0p35" in names(study)


def test_iteration_11_holds_a_pretrained_adapter_against_a_fresh_one_of_its_rank() -> None:
    study = resolve_study(CONFIG, "iteration_11")
    assert len(study.configurations) == 10
    assert len(study.pairs) == 5
    for pretrained, fresh in study.pairs:
        one, other = (resolve_run(CONFIG, name, lambda _: 16).settings["training"] for name in (pretrained, fresh))
        assert one.pop("init") == f"arc2_new_training_r{other['rank']}"
        assert one | {"rank": other["rank"]} == other


def test_what_the_base_has_anyway_stands_in_no_name(config: Any) -> None:
    assert canonical(config, "8folds_rank32_min_prob0p1") == "8folds_min_prob0p1"
    assert canonical(config, "arc2_evaluation_8folds_folds8") == "arc2_evaluation_8folds"
    assert canonical(config, "4folds_rank32") == "4folds_rank32"  # its own is 64
    study = resolve_study(
        with_study(config, grid={"rank": [16, 32]}, pairs=[["8folds_rank16", "8folds_rank32"]]), "mine"
    )
    assert names(study) == ["8folds", "8folds_rank16"]
    assert study.pairs == (("8folds_rank16", "8folds"),)


def test_a_dataset_in_front_or_in_the_entry_is_that_of_all_runs(config: Any) -> None:
    config = with_study(config, grid={"rank": [16]}, runs=["thorough"], dataset="arc2_evaluation")
    assert names(resolve_study(config, "mine"))[0] == "arc2_evaluation_8folds"
    study = resolve_study(config, "arc1_evaluation_mine")
    assert names(study) == [f"arc1_evaluation_{each}" for each in ("8folds", "8folds_rank16", "thorough")]
    assert study.runs[-1] == "arc1_evaluation_thorough-seed4"


def test_submissions_have_no_seed_and_ensembles_have(config: Any) -> None:
    config["runs"]["theirs"] = {"submission": "x.json", "dataset": "quick"}
    config["runs"]["both"] = {"ensemble": ["8folds", "4folds"]}
    study = resolve_study(with_study(config, runs=["theirs", "both"], seeds=[3, 5]), "mine")
    assert [each.runs for each in study.configurations] == [
        ("8folds-seed3", "8folds-seed5"),
        ("theirs",),
        ("both-seed3", "both-seed5"),
    ]


def test_a_study_can_be_done_in_slices_of_its_seeds(config: Any) -> None:
    config = with_study(config, seeds=[7, 8, 9])
    assert resolve_study(config, "mine-2seeds").runs == ["8folds-seed7", "8folds-seed8"]
    assert resolve_study(config, "mine-seed9").runs == ["8folds-seed9"]
    assert resolve_study(config, "mine-so-far").so_far
    assert resolve_study(config, "quick_mine-2seeds-so-far").runs == ["quick_8folds-seed7", "quick_8folds-seed8"]
    for name, said in [
        ("mine-seed1", "no seed 1, expected one of 7, 8, 9"),
        ("mine-4seeds", "4 of its seeds, expected 1"),
    ]:
        with pytest.raises(InputError, match=said):
            resolve_study(config, name)


def test_two_runs_are_compared_without_a_study_the_second_being_the_base() -> None:
    study = resolve_study(CONFIG, "8folds_rank16--arc1_evaluation_4folds-seed3")
    assert (study.base, study.pairs) == (
        "arc1_evaluation_4folds-seed3",
        (("8folds_rank16", "arc1_evaluation_4folds-seed3"),),
    )
    assert study.runs == ["arc1_evaluation_4folds-seed3", "8folds_rank16"]


def test_a_run_does_not_stand_alone_where_it_has_other_seeds(tmp_path: Path) -> None:
    for name in ("8folds", "8folds-seed0", "8folds-seed2", "8folds-seed1", "8folds_rank16-seed1", "8folds-seedx"):
        (tmp_path / f"score_{name}.json").write_text("{}")
    assert other_seeds(CONFIG, "8folds", tmp_path) == ["8folds-seed1", "8folds-seed2"]  # 0 is the config's own
    assert other_seeds(CONFIG, "8folds-seed2", tmp_path) == []


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"base": "8fold"}, "config: studies/mine/base: run 8fold: unknown"),
        ({"base": "8folds-seed1"}, "studies/mine/base: 8folds-seed1 has a seed, expected a name without"),
        ({"runs": ["8folds", "thorugh"]}, "studies/mine/runs/1: run thorugh: unknown"),
        ({"grid": {"rnak": [1]}}, "studies/mine/grid/rnak: rnak: no parameter of a run (did you mean rank?)"),
        ({"grid": [{"rank": [8]}, {"views": [8]}]}, "studies/mine/grid/1/views: views: stands in several sections"),
        ({"grid": {"rank": [8, 0]}}, "studies/mine/grid/rank: '0', expected rank of the LoRA, 1 to 4096"),
        ({"grid": {"min_prob": ["a"]}}, "studies/mine/grid/min_prob: 'a', expected a probability"),
        ({"grid": {"rank": [8], "training.rank": [9]}}, "a parameter stands twice"),
        (
            {"grid": {key: list(range(1, 30)) for key in ("rank", "epochs", "batch")}},
            "24389 combinations, expected at m",
        ),
        ({"pairs": [["8folds", "4folds"]]}, "pairs: 4folds is none of its runs"),
        ({"pairs": [["8folds", "8folds_rank32"]]}, "pairs: 8folds and 8folds_rank32 are one run, expected two"),
        ({"dataset": "quik"}, "studies/mine/dataset: dataset quik: unknown"),
    ],
)
def test_a_wrong_study_is_one_line_with_its_place(config: Any, entry: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        with_study(config, **entry)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("iteraton_02", "(did you mean iteration_02?)"),
        ("quick_iteraton_02", "(did you mean quick_iteration_02?)"),
        ("8folds--8fold", "run 8fold: unknown"),
        ("8folds--8folds", "one run, expected two"),
        ("8folds--4folds--2folds", "unknown"),
    ],
)
def test_a_study_that_is_not_there_is_one_line_with_the_nearest(name: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        resolve_study(CONFIG, name)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (["8folds", "8fold"], "config: runs/both/ensemble/1: run 8fold: unknown"),
        (["8folds", "theirs"], "runs/both/ensemble/1: theirs is a submission from elsewhere, expected a run with ad"),
        (["8folds", "more-seed3"], "runs/both/ensemble/1: more-seed3 is an ensemble itself, expected a run with adapt"),
    ],
)
def test_a_member_that_cannot_answer_is_one_line(config: Any, members: list[str], said: str) -> None:
    config["runs"]["theirs"] = {"submission": "x.json"}
    config["runs"]["more"] = {"ensemble": ["8folds", "4folds"]}
    config["runs"]["both"] = {"ensemble": members}
    with pytest.raises(InputError) as error:
        check_ensembles(config, "config")
    assert str(error.value).startswith("config: ")
    assert said in str(error.value)

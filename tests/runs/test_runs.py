import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_tasks import task
from shipped import CONFIG

from arcfold.arc.text import codec_with_own_ids
from arcfold.jobs.files import InputError, read_schema
from arcfold.runs.leakage import subset_of_adapter
from arcfold.runs.runs import (
    LARGEST_RANK,
    LARGEST_SEED,
    STAGES,
    check_fold,
    pretraining_settings,
    resolve_run,
    settings_of_key,
    split_of,
    tasks_file,
)
from arcfold.training.samples import fold_samples

SIZES = {"quick": 16, "arc2_evaluation": 120, "arc1_evaluation": 400, "arc2_new": 347}


def count(dataset):
    return SIZES.get(dataset, 1)


def shared(one, other):
    """The stages whose files the two runs share."""
    return [stage for stage in STAGES if one.store(stage) == other.store(stage)]


@pytest.mark.parametrize(
    ("name", "dataset", "folds", "seed"),
    [
        ("8folds", "quick", 8, 0),
        ("1folds", "quick", 1, 0),
        ("11folds", "quick", 11, 0),
        ("16folds", "quick", 16, 0),
        ("per_task", "quick", 16, 0),
        ("8folds-seed3", "quick", 8, 3),
        ("8folds-seed0", "quick", 8, 0),
        ("arc2_evaluation_8folds", "arc2_evaluation", 8, 0),
        ("arc2_evaluation_per_task", "arc2_evaluation", 120, 0),
        ("arc1_evaluation_25folds-seed12", "arc1_evaluation", 25, 12),
        ("arc2_new_4folds", "arc2_new", 4, 0),
        ("db695cfb_per_task", "db695cfb", 1, 0),
        ("db695cfb_1folds-seed1", "db695cfb", 1, 1),
        ("quick_8folds", "quick", 8, 0),
    ],
)
def test_a_runs_name_says_dataset_folds_and_seed(config, name, dataset, folds, seed):
    run = resolve_run(config, name, count)
    assert (run.name, run.dataset, run.folds, run.seed, run.model) == (name, dataset, folds, seed, "base-15m")


@pytest.mark.parametrize(
    ("name", "iteration"),
    [
        ("4folds", {"rank": 64, "epochs": 4, "warmup_steps": 100, "batch": 4, "search_views": 16}),
        ("8folds", {"rank": 32, "epochs": 6, "warmup_ratio": 0.1, "batch": 4, "search_views": 8}),
        ("per_task", {"rank": 16, "epochs": 10, "warmup_ratio": 0.1, "batch": 1, "search_views": 8}),
    ],
)
def test_the_named_runs_carry_the_parameters_of_the_notes(config, name, iteration):
    settings = resolve_run(config, name, count).settings
    training = settings["training"]
    found = {key: training[key] for key in iteration if key in training} | {"search_views": settings["search"]["views"]}
    assert found == iteration
    assert ("warmup_steps" in training) != ("warmup_ratio" in training)
    same = {"alpha": 16, "rslora": True, "accumulation": 1, "views": 8, "longest": 8192}
    assert {key: training[key] for key in same} == same
    targets = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj embed_tokens lm_head"
    assert sorted(training["targets"]) == sorted(targets.split())
    assert settings["search"]["min_prob"] == 0.17
    assert settings["search"]["longest"] == 8192


def test_the_notes_learning_rates_hold_unless_the_model_has_its_own(config):
    config["models"]["8b"] = {"path": "x", "format": "architects"}
    config["runs"]["large"] = {"folds": 8, "model": "8b"}
    config["runs"]["own"] = {"folds": 8, "settings": {"training": {"learning_rate": 0.5}}}
    training = resolve_run(config, "large", count).settings["training"]
    assert (training["learning_rate"], training["embedding_learning_rate"]) == (1e-4, 1e-5)
    small = config["models"]["base-15m"]["settings"]["training"]["learning_rate"]
    assert resolve_run(config, "8folds", count).settings["training"]["learning_rate"] == small != 1e-4
    assert resolve_run(config, "own", count).settings["training"]["learning_rate"] == 0.5


def test_an_adapter_is_pretrained_with_the_parameters_of_the_notes_in_every_rank(config):
    config["models"]["8b"] = {"path": "x", "format": "architects"}
    of_notes = {"longest": 8192, "batch": 4, "accumulation": 1, "learning_rate": 1e-4, "embedding_learning_rate": 1e-5}
    config["model"] = "8b"
    for rank in (2, 4, 8, 16, 32):
        settings = pretraining_settings(config, rank)
        assert {key: settings[key] for key in of_notes} == of_notes
        assert settings["rank"] == rank
    config["model"] = "base-15m"
    small = config["models"]["base-15m"]["settings"]["training"]
    assert pretraining_settings(config, 8)["learning_rate"] == small["learning_rate"]


@pytest.mark.parametrize(("tasks", "folds", "epochs", "steps"), [(100, 2, 4, 400), (120, 8, 4, 120), (120, 8, 6, 180)])
def test_a_fold_takes_as_many_steps_as_the_notes_say(tasks, folds, epochs, steps):
    from arcfold.training.job import TrainingSettings, make_schedule

    of_fold = [task(f"{number:08x}", [("1", "2")], [("3", "4")]) for number in range(tasks // folds)]
    codec = codec_with_own_ids("embedded")
    samples = fold_samples(of_fold, codec, seed=0, epochs=epochs, views=8, longest=100, mask_first_output=False)
    settings = TrainingSettings(32, 16, True, ("q_proj",), 1e-4, 1e-5, warmup_ratio=0.1, batch=4)
    assert make_schedule(len(samples), settings).steps == steps


@pytest.mark.parametrize(
    ("section", "change", "still_shared"),
    [
        ("folds", {"split": "random"}, []),
        ("training", {"rank": 8}, ["folds"]),
        ("training", {"epochs": 1}, ["folds"]),
        ("training", {"warmup_steps": 3}, ["folds"]),
        ("search", {"min_prob": 0.1}, ["folds", "adapters"]),
        ("search", {"views": 16}, ["folds", "adapters"]),
        ("rescoring", {"views": 16}, ["folds", "adapters", "candidates"]),
        ("selection", {"method": "sum_2024"}, ["folds", "adapters", "candidates", "rescored"]),
    ],
)
def test_runs_share_the_steps_before_the_first_that_differs(config, section, change, still_shared):
    config["runs"]["changed"] = {"folds": 8, "settings": {section: change}}
    one, other = (resolve_run(config, name, count) for name in ("8folds", "changed"))
    assert shared(one, other) == still_shared


def test_runs_of_another_seed_dataset_or_number_of_folds_share_nothing(config):
    runs = [
        resolve_run(config, name, count) for name in ("11folds", "12folds", "11folds-seed1", "arc2_evaluation_11folds")
    ]
    for one, other in itertools.combinations(runs, 2):
        assert shared(one, other) == []


def test_another_model_shares_the_folds_only(config):
    config["models"]["other"] = {**config["models"]["base-15m"], "path": "x"}
    config["runs"]["changed"] = {"folds": 8, "model": "other"}
    assert shared(resolve_run(config, "8folds", count), resolve_run(config, "changed", count)) == ["folds"]


def test_two_names_of_one_experiment_share_every_step(config):
    one = resolve_run(config, "8folds", count)
    for name in ("quick_8folds", "8folds-seed0"):
        assert shared(one, resolve_run(config, name, count)) == list(STAGES)


def test_a_folder_of_the_store_leads_back_to_its_settings(config):
    config["runs"]["mine"] = {"folds": 3, "settings": {"training": {"rank": 5}, "rescoring": {"views": 2}}}
    sections = {"folds": "folds", "adapters": "training", "candidates": "search", "rescored": "rescoring"}
    for name in ("8folds", "4folds", "per_task", "mine", "7folds-seed4", "arc2_evaluation_mine"):
        run = resolve_run(config, name, count)
        for stage in STAGES:
            settings = settings_of_key(config, stage, run.store(stage).rsplit("/", 1)[1])
            assert settings[sections[stage]] == run.settings[sections[stage]]
    with pytest.raises(InputError, match="no run of the config has these settings"):
        settings_of_key(config, "adapters", "0" * 12)


NAMED = "4folds, 8folds, 8folds_16views, thorough, per_task or {n}folds"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("8fold", f"run 8fold: unknown, expected one of {NAMED} (did you mean 8folds?)"),
        ("quik_8folds", f"run quik_8folds: unknown, expected one of {NAMED} (did you mean quick_8folds?)"),
        ("0folds", "run 0folds: unknown"),
        ("08folds", "run 08folds: unknown"),
        ("8folds-seed", "run 8folds-seed: unknown"),
        ("8folds-seed03", "run 8folds-seed03: unknown"),
        ("nonsense_8folds", "run nonsense_8folds: unknown"),
        ("folds", "run folds: unknown"),
        ("17folds", "run 17folds: 17 folds, expected at most 16, the number of tasks of quick"),
        ("arc2_evaluation_121folds", "121 folds, expected at most 120, the number of tasks of arc2_evaluation"),
    ],
)
def test_an_impossible_run_is_named_with_its_remedy_in_one_line(config, name, said):
    with pytest.raises(InputError) as error:
        resolve_run(config, name, count)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_longest_dataset_name_in_front_wins(config):
    config["datasets"] |= {"arc2": {"of": "quick", "shortest": 2}, "arc2_new_small": {"of": "quick", "shortest": 3}}
    config["runs"]["small_8folds"] = {"folds": 8}
    for name, entry in (("arc2_new_small_2folds", 2), ("arc2_new_small_8folds", 8), ("arc2_small_8folds", 8)):
        run = resolve_run(config, name, lambda _: 99)
        assert (run.dataset, run.folds) == ("arc2" if name.startswith("arc2_small") else "arc2_new_small", entry)


@given(folds=st.integers(1, 120), seed=st.none() | st.integers(0, 10**6))
def test_every_number_of_folds_and_every_seed_is_a_run(folds, seed):
    name = f"arc2_evaluation_{folds}folds" + ("" if seed is None else f"-seed{seed}")
    run = resolve_run(CONFIG, name, count)
    assert (run.folds, run.seed) == (folds, seed or 0)
    assert re.fullmatch(
        rf"results/store/adapters/arc2_evaluation/{folds}folds-seed{run.seed}/[0-9a-f]{{12}}", run.store("adapters")
    )


def test_tasks_of_datasets_and_subsets_have_their_own_files(config):
    assert tasks_file(config, "quick") == "results/tasks/quick.json"
    assert tasks_file(config, "db695cfb") == "results/tasks/db695cfb.json"
    assert tasks_file(config, "arc2_new") == "results/subsets/arc2_new.json"
    with pytest.raises(InputError, match=r"dataset quik: unknown.*\(did you mean quick\?\)"):
        tasks_file(config, "quik")


@pytest.mark.parametrize(
    "name", ["0folds-seed0", "17folds-seed0", "08folds-seed0", "8folds-seed00", "8folds-seed4294967296"]
)
def test_a_split_that_no_run_has_is_refused(name):
    assert split_of("8folds-seed4294967295", "quick", 16) == (8, 4294967295)
    with pytest.raises(InputError, match=f"quick/{name}: no such split, expected 1 to 16 folds"):
        split_of(name, "quick", 16)


def test_folds_count_from_0():
    check_fold("run 8folds", 7, 8)
    with pytest.raises(InputError, match="run 8folds: no fold 8, expected 0 to 7"):
        check_fold("run 8folds", 8, 8)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("8folds-seed4294967296", "seed 4294967296, expected at most 4294967295"),
        (f"8folds-seed{9 * '9'}{180 * '0'}", "200 letters, expected at most 180"),
        ("../x", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_runs_name_that_no_file_could_have_is_refused(name, said):
    with pytest.raises(InputError, match=said):
        resolve_run(CONFIG, name, count)


def test_seeds_and_ranks_in_names_have_the_bounds_of_the_config():
    properties = read_schema("config")["properties"]
    assert properties["seed"]["maximum"] == LARGEST_SEED
    assert properties["settings"]["properties"]["training"]["properties"]["rank"]["maximum"] == LARGEST_RANK
    assert subset_of_adapter(CONFIG, f"arc2_new_r{LARGEST_RANK}") == ("arc2_new", LARGEST_RANK)
    for rank in (LARGEST_RANK + 1, 5000 * "9"):
        with pytest.raises(InputError, match="expected a rank of 1 to 4096"):
            subset_of_adapter(CONFIG, f"arc2_new_r{rank}")

"""Names of changed runs, read and written."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shipped import CONFIG

from arcfold.jobs.files import InputError, hash_of
from arcfold.runs.names import name_parts
from arcfold.runs.runs import STAGES, keep_keys, resolve_run, settings_of_key
from arcfold.runs.variants import changed_name, parameter, parameters, read_changes, value_text

SIZES = {"quick": 16, "arc2_evaluation": 120}


def count(dataset: str) -> int:
    return SIZES.get(dataset, 400)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("8folds_rank16", {"rank": 16}),
        ("8folds_rank16_min_prob0p1-seed2", {"rank": 16, "min_prob": 0.1}),
        ("arc2_evaluation_8folds_search_views16", {"search_views": 16}),
        ("8folds_folds4", {"folds": 4}),
        ("8folds_foldsper_task_rank16", {"folds": "per_task", "rank": 16}),
        ("thorough_learning_rate0p0001", {"learning_rate": 0.0001}),
        ("8folds_optimizeradamw_8bit_rslorafalse", {"optimizer": "adamw_8bit", "rslora": False}),
        ("8folds_initarc2_new_training_r8_epochs2", {"init": "arc2_new_training_r8", "epochs": 2}),
        ("8folds_initnone_warmup_steps100", {"init": None, "warmup_steps": 100}),
        ("8folds_methodsum_2024_splitrandom", {"method": "sum_2024", "split": "random"}),
        ("8folds_max_grad_norm1000000000000", {"max_grad_norm": 1e12}),
    ],
)
def test_a_name_says_what_is_changed(name: str, changes: dict[str, Any]) -> None:
    assert name_parts(CONFIG, name).changes == changes


def test_a_changed_run_is_the_run_with_these_settings_and_shares_what_comes_before(config: Any) -> None:
    config["runs"]["mine"] = {"folds": 8, "settings": {"training": {"rank": 16}, "search": {"min_prob": 0.1}}}
    mine, changed = resolve_run(config, "mine", count), resolve_run(config, "8folds_rank16_min_prob0p1", count)
    assert (changed.settings, changed.folds, changed.model) == (mine.settings, mine.folds, mine.model)
    assert changed.steps() == mine.steps()
    one, other = resolve_run(config, "8folds", count), resolve_run(config, "8folds_min_prob0p1", count)
    assert one.store("adapters") == other.store("adapters")
    assert one.store("candidates") != other.store("candidates")
    assert resolve_run(config, "8folds_folds4", count).steps() == resolve_run(config, "2folds_folds4", count).steps()
    assert resolve_run(config, "quick_8folds_foldsper_task", count).folds == 16


def test_alternatives_and_null_are_laid_over_the_run(config: Any) -> None:
    training = resolve_run(config, "8folds_warmup_steps100", count).settings["training"]
    assert training["warmup_steps"] == 100
    assert "warmup_ratio" not in training
    config["settings"]["training"]["init"] = "arc2_new_training_r8"
    assert "init" not in resolve_run(config, "8folds_initnone", count).settings["training"]


def test_a_run_of_the_config_with_that_very_name_wins(config: Any) -> None:
    config["runs"]["8folds_rank16"] = {"folds": 8, "settings": {"training": {"rank": 5}}}
    assert resolve_run(config, "8folds_rank16", count).settings["training"]["rank"] == 5
    both = resolve_run(config, "arc2_evaluation_8folds_rank16_min_prob0p1-seed1", count)
    assert (both.settings["training"]["rank"], both.settings["search"]["min_prob"]) == (5, 0.1)
    assert (both.dataset, both.seed) == ("arc2_evaluation", 1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("8folds_rnak16", "run 8folds_rnak16: 'rnak16': no parameter and its value (did you mean rank?), expected one"),
        ("8folds_rank16_mni_prob0p1", "'mni_prob0p1': no parameter and its value (did you mean min_prob?)"),
        ("8folds_views16", "'views16': several parameters are called views, expected one of rescoring_views, search_"),
        ("8folds_training_rank16", "no parameter and its value (did you mean rank?)"),
        ("8folds_rank0", "'0' behind rank, expected rank of the LoRA, 1 to 4096"),
        ("8folds_rank016", "'016' behind rank, expected rank"),
        ("8folds_rank", "'nothing' behind rank"),
        ("8folds_min_prob0p10", "'0p10' behind min_prob, expected a probability above 0, at most 1, with p for the p"),
        ("8folds_min_prob0.1", "'0.1' behind min_prob"),
        ("8folds_backendfast", "'fast' behind backend, expected auto, packed, trl"),
        ("8folds_rank16_rank8", "'rank8': rank stands twice"),
        ("8folds_epochs90000_training_views9000", "90000 epochs of 9000 views, expected at most 100000 in all"),
        ("8folds_folds17", "17 folds, expected at most 16"),
        ("8fold_rank16", "run 8fold_rank16: unknown, expected one of"),
        ("8folds_16view", "(did you mean 8folds_16views?)"),
        (f"8folds_rank{160 * '9'}", "behind rank"),
        (f"8folds_{100 * '_'}", "no parameter"),
    ],
)
def test_a_name_that_cannot_be_read_is_one_line_with_the_nearest(name: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        resolve_run(CONFIG, name, count)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_with_two_meanings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from arcfold.runs import variants

    texts = {"type": "string", "description": "a text", "enum": ["a", "a_two1"]}
    numbers = {"type": "integer", "description": "a number"}
    made = (
        variants.Parameter("one", ("settings", "x", "one"), texts, False),
        variants.Parameter("two", ("settings", "x", "two"), numbers, False),
    )
    monkeypatch.setattr(variants, "parameters", lambda: made)
    with pytest.raises(InputError, match="'onea_two1' means one a_two1, or one a and two 1, expected one meaning"):
        read_changes("onea_two1")


def test_no_shipped_parameter_begins_the_name_of_another_and_its_value() -> None:
    """What would make names ambiguous: `rank` and `rank1`, say."""
    names = [each.name for each in parameters()]
    assert len(set(names)) == len(names)
    assert not [(one, two) for one in names for two in names if one != two and two.startswith(one) and one != "folds"]


VALUES = {
    "rank": st.integers(1, 4096),
    "alpha": st.floats(1e-9, 1e6, allow_nan=False) | st.integers(1, 10**6),
    "min_prob": st.floats(1e-12, 1.0, exclude_min=True),
    "learning_rate": st.floats(1e-9, 10.0),
    "rslora": st.booleans(),
    "folds": st.integers(1, 10**6) | st.just("per_task"),
    "backend": st.sampled_from(["auto", "packed", "trl"]),
    "optimizer": st.sampled_from(["adamw", "adamw_8bit"]),
    "init": st.none() | st.sampled_from(["arc2_new_training_r8", "quick_r2", "a_rank8_r16"]),
    "search_views": st.integers(1, 10_000),
    "warmup_ratio": st.none() | st.floats(0, 0.5),
}


@given(
    changes=st.lists(st.sampled_from(list(VALUES)), unique=True, max_size=5).flatmap(
        lambda keys: st.fixed_dictionaries({key: VALUES[key] for key in keys})
    ),
    seed=st.none() | st.integers(0, 99),
)
def test_every_name_that_is_written_is_read_back(changes: dict[str, Any], seed: int | None) -> None:
    name = changed_name("arc2_evaluation_8folds", changes) + ("" if seed is None else f"-seed{seed}")
    if len(name) <= 180:
        parts = name_parts(CONFIG, name)
        assert (parts.dataset, parts.entry, parts.changes, parts.seed) == ("arc2_evaluation", "8folds", changes, seed)


@given(text=st.text(alphabet="abrank_0123p.ws", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        changes = read_changes(text)
        assert "_".join(f"{key}{value_text(value)}" for key, value in changes.items()) == text


@pytest.mark.parametrize("key", ["rank", "training.rank", "training_rank", "search.views", "search_views", "folds"])
def test_a_study_may_call_a_parameter_by_its_last_key_or_its_path(key: str) -> None:
    assert parameter(key).path[-1] == key.replace(".", "_").rsplit("_", 1)[-1]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("views", "views: stands in several sections, expected one of rescoring.views, search.views, training.views"),
        ("rnak", "rnak: no parameter of a run (did you mean rank?)"),
        ("targets", "targets: no parameter of a run"),
    ],
)
def test_a_key_that_is_none_or_several_is_one_line(key: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        parameter(key)
    assert said in str(error.value)


def test_a_job_finds_the_settings_of_a_changed_run_by_the_folder_in_the_store(config: Any, tmp_path: Any) -> None:
    run = resolve_run(config, "8folds_rank16_min_prob0p1-seed2", count)
    keys = {stage: run.store(stage).rsplit("/", 1)[1] for stage in STAGES}
    with pytest.raises(InputError, match="no run of the config has these settings"):
        settings_of_key(config, "rescored", keys["rescored"], tmp_path)
    keep_keys(run.keyed(), tmp_path)
    for stage, key in keys.items():
        assert hash_of(settings_of_key(config, stage, key, tmp_path), 12) == key
    (tmp_path / f"{keys['rescored']}.json").write_text('{"folds": {}}')  # what does not have that hash is none
    with pytest.raises(InputError, match="no run of the config has these settings"):
        settings_of_key(config, "rescored", keys["rescored"], tmp_path)

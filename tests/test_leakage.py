"""What a run starts from must not have seen the tasks that it is scored on, unless the config says so."""

import pytest
import yaml
from shipped import ROOT

from arcfold.files import InputError
from arcfold.leakage import check_leaks, leaks, subset_of_adapter
from arcfold.runs import resolve_run


@pytest.fixture
def config():
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def run(config, name):
    return resolve_run(config, name, lambda dataset: 1000)


def test_a_model_trained_on_a_dataset_has_seen_all_of_it(config):
    (leak,) = leaks(config, run(config, "arc1_training_8folds"))
    assert leak["by"] == "base-14m"
    assert len(leak["tasks"]) == 400
    with pytest.raises(InputError, match=r"base-14m was trained on 400 of its tasks .*allow_seen: \{base-14m: all\}"):
        check_leaks([leak], config["allow_seen"], "arc1_training_8folds")
    check_leaks([leak], {"base-14m": "all"}, "arc1_training_8folds")


def test_the_one_task_of_the_evaluation_set_that_is_a_training_task_is_found_and_allowed(config):
    # published as a duplicate: every pair of 070dd51e is a pair of the training task 40853293
    (leak,) = leaks(config, run(config, "arc1_evaluation_8folds"))
    assert leak["tasks"] == ["070dd51e"]
    check_leaks([leak], config["allow_seen"], "arc1_evaluation_8folds")
    with pytest.raises(InputError, match="070dd51e"):
        check_leaks([leak], {}, "arc1_evaluation_8folds")


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

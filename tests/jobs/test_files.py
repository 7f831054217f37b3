import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from environments import environment_of_tests
from hypothesis import given
from hypothesis import strategies as st

from arcfold.jobs.files import (
    InputError,
    check_schema,
    hash_of,
    hash_of_files,
    kept_while_unchanged,
    new_file,
    new_folder,
    read_json,
    without_provenance,
    write_json,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def temporary_files(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@given(value=VALUES)
def test_json_comes_back_as_it_was_written(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value
    assert json.loads(path.read_bytes()) == value  # by the standard library alone
    before = path.read_bytes()
    write_json(path, json.loads(before))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1,}', "line 1, column 9: not JSON"),
        (b'{\n"a" 1}', "line 2, column 5: not JSON"),
        (b"", "line 1, column 1: not JSON"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice, expected once"),
        (b'"\xff"', "cannot be read"),
    ],
)
def test_a_broken_file_is_named_with_the_place_in_one_line(tmp_path, content, said):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_json(path)
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_in_its_place_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.json: no such file"):
        read_json(tmp_path / "nothing.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)


def fail_while_writing(opened, name=""):
    with opened as temporary:
        (temporary / name).write_text("half of")
        raise ZeroDivisionError


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept.json"
    write_json(path, {"old": 1})
    with pytest.raises(ZeroDivisionError):
        fail_while_writing(new_file(path))
    with pytest.raises(InputError, match=r"kept\.json: top level"):
        write_json(path, {"new": 1}, "folds")
    assert read_json(path) == {"old": 1}
    assert temporary_files(tmp_path) == []


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path):
    path = tmp_path / "kept"
    with new_folder(path) as temporary:
        (temporary / "old").write_text("1")
    with pytest.raises(ZeroDivisionError):
        fail_while_writing(new_folder(path), "new")
    assert [file.name for file in path.iterdir()] == ["old"]
    assert temporary_files(tmp_path) == []


def test_a_new_folder_takes_the_place_of_the_old_one_as_a_whole(tmp_path):
    path = tmp_path / "made"
    for name in ("first", "second"):
        with new_folder(path) as temporary:
            (temporary / name).write_text(name)
            assert not (path / name).exists()
    assert [file.name for file in path.iterdir()] == ["second"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "kept.json"
    write_json(path, [1])
    code = (
        "import sys, time\nfrom arcfold.jobs.files import new_file\n"
        "with new_file(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('[2'); print('half', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdout=subprocess.PIPE,
        env=environment_of_tests(),
    ) as writer:
        assert writer.stdout.readline() == b"half\n"
        assert read_json(path) == [1]
        writer.send_signal(signal.SIGKILL)
    assert read_json(path) == [1]


def test_results_are_as_readable_as_any_other_file(tmp_path):
    (tmp_path / "plain").write_text("")
    (tmp_path / "folder").mkdir()
    write_json(tmp_path / "made.json", 1)
    with new_folder(tmp_path / "made") as temporary:
        private = temporary / "weights"
        private.write_text("")
        private.chmod(0o600)  # as the safetensors library leaves its files
        (temporary / "inner").mkdir(mode=0o700)
    for made, like in [("made.json", "plain"), ("made/weights", "plain"), ("made", "folder"), ("made/inner", "folder")]:
        assert stat.S_IMODE((tmp_path / made).stat().st_mode) == stat.S_IMODE((tmp_path / like).stat().st_mode), made


def test_the_hash_of_a_value_knows_content_and_not_the_order_of_keys():
    assert hash_of({"a": 1, "b": [1, 2]}) == hash_of({"b": [1, 2], "a": 1})
    assert len({hash_of(value) for value in ({"a": 1}, {"a": 2}, {"a": "1"}, {"a": 1.5}, [1, 2], [2, 1])}) == 6
    assert hash_of([1], 12) == hash_of([1])[:12]


def test_the_hash_of_files_knows_names_and_contents_and_not_time(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    first = hash_of_files(tmp_path, ["a", "b"])
    os.utime(tmp_path / "a", (time.time() + 9, time.time() + 9))
    assert hash_of_files(tmp_path, ["b", "a"]) == first
    assert hash_of_files(tmp_path, ["a"]) != first
    (tmp_path / "a").write_text("2")
    (tmp_path / "b").write_text("1")
    assert hash_of_files(tmp_path, ["a", "b"]) != first


def test_provenance_is_left_out_at_every_depth():
    value = {"a": [{"provenance": 1, "b": 2}], "provenance": {"time": 3}, "c": {"provenance": 4}}
    assert without_provenance(value) == {"a": [{"b": 2}], "c": {}}
    assert "provenance" in value


def test_the_schema_names_the_first_wrong_place():
    with pytest.raises(InputError) as error:
        check_schema({"seed": 0, "folds": [["a"], [1]]}, "folds", "somewhere.json")
    assert str(error.value).startswith("somewhere.json: folds/1/0: 1 is not of type 'string'")


def test_an_unknown_key_gets_a_guess():
    with pytest.raises(InputError, match=r"unknown key 'flods' \(did you mean 'folds'\? expected one of seed, folds\)"):
        check_schema({"seed": 0, "flods": []}, "folds", "x")


def test_a_file_is_read_again_when_it_changes_and_only_then(tmp_path):
    path, calls = tmp_path / "a.txt", []

    @kept_while_unchanged
    def text_of(name):
        calls.append(name)
        return Path(name).read_text()

    path.write_text("one")
    assert [text_of(path), text_of(str(path))] == ["one", "one"]
    assert calls == [str(path)]
    path.write_text("two")
    os.utime(path, (1, 1))
    assert text_of(path) == "two"
    new = tmp_path / "b.txt"
    new.write_text("six")
    os.utime(new, (1, 1))
    os.replace(new, path)  # of the same size and time
    assert text_of(path) == "six"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        text_of(path)

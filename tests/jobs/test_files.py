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
    remove_leftovers,
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
        (b"", "the file is empty, expected JSON; write or fetch it again"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice, expected once"),
        (b'"\xff"', "byte 1: not UTF-8, expected JSON in UTF-8"),
        (b'{"a": [1, 2', "line 1, column 12: the JSON ends here in the middle (a broken download or copy?)"),
        (b'{"a": "1, 2', "line 1, column 7: the JSON ends here in the middle"),
        (b'{"a": NaN}', "NaN is no number that JSON knows, expected a finite one"),
        (b"[-Infinity]", "-Infinity is no number that JSON knows"),
        (b"[1e999]", "1e999 is no number that JSON knows"),
        (b"[" + b"7" * 5000 + b"]", "a number of hundreds of digits, expected one of ordinary size"),
        (b"[1, -1" + b"0" * 309 + b"]", "a number of hundreds of digits"),
        (b"[" * 200_000 + b"]" * 200_000, "nested too deep, expected at most 64 levels"),
        (b'{"[\\"": ' * 200_000, "nested too deep, expected at most 64 levels"),
        (b'{"a": ' * 65 + b"1" + b"}" * 65, "nested too deep, expected at most 64 levels"),
        (b'{"a": ["\\ud800"]}', "'\\ud800' has half a surrogate pair, expected whole characters"),
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


def test_what_only_looks_malformed_is_read(tmp_path):
    path = tmp_path / "odd.json"
    deep = '{"a": ' * 63 + "[]" + "}" * 63
    brackets = json.dumps({"a": "[" * 500 + '"' + "{" * 500, "b\\": "\U0001f600"})
    for text in (deep, brackets, "[" + ",".join(["[[]]"] * 300) + "]", " 1 ", json.dumps("7" * 400), str(10**308)):
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert read_json(path) == json.loads(text)


def test_a_message_is_one_printable_line_whatever_stands_in_it():
    said = str(InputError("a\nb\u2028c\xa0\x1b[31m\udcff " + "x" * 5000 + " expected: y"))
    assert said.startswith("a b c [31m\\udcff x")
    assert said.endswith("x expected: y")
    assert said.isprintable()
    assert len(said) <= 1000


def test_a_full_disk_is_said_with_the_file_and_the_remedy_and_leaves_nothing(tmp_path):
    def fill(path):
        Path("/dev/full").write_text("a device that has no room")

    for opened in (new_file, new_folder):
        with pytest.raises(InputError) as error, opened(tmp_path / "made") as temporary:
            fill(temporary)
        assert str(error.value) == (
            f"{tmp_path / 'made'}: cannot be written (No space left on device); "
            "make room there and run the same command again"
        )
        assert list(tmp_path.iterdir()) == []


def test_a_file_that_may_not_grow_is_said_too(tmp_path):
    code = (
        "import resource, sys\nfrom arcfold.jobs.files import InputError, new_folder, write_json\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "import numpy, safetensors.numpy\n"
        "try:\n    write_json(sys.argv[1], list(range(1000)))\nexcept InputError as error:\n    print(error)\n"
        "try:\n    with new_folder(sys.argv[1]) as made:\n"
        "        safetensors.numpy.save_file({'a': numpy.zeros(1000)}, made / 'w')\n"
        "except InputError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, str(tmp_path / "large.json")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment_of_tests(),
        check=True,
    )
    line = f"{tmp_path / 'large.json'}: cannot be written (File too large); make room there and run the same command"
    assert [said.startswith(line) for said in done.stdout.splitlines()] == [True, True]
    assert list(tmp_path.iterdir()) == []


def test_where_no_file_can_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    for opened in (new_file, new_folder):
        with pytest.raises(InputError, match=r"made: cannot be written \(.*\), expected a folder that this user may"):
            fail_while_writing(opened(tmp_path / "file" / "made"))


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


def test_a_folder_is_read_again_when_a_file_in_it_changes(tmp_path):
    @kept_while_unchanged
    def texts_of(name):
        return sorted(path.read_text() for path in Path(name).iterdir())

    (tmp_path / "a").write_text("one")
    assert texts_of(tmp_path) == ["one"]
    (tmp_path / "a").write_text("two!")
    assert texts_of(tmp_path) == ["two!"]
    (tmp_path / "b").write_text("new")
    assert texts_of(tmp_path) == ["new", "two!"]


WRITER = """
import sys, time; from pathlib import Path; from arcfold.jobs.files import new_file, new_folder
with {new}("results/made") as temporary:
    print(flush=True); time.sleep(60)
"""


@pytest.mark.parametrize("new", ["new_file", "new_folder"])
def test_what_a_killed_writer_left_is_removed_and_what_a_live_one_writes_is_not(tmp_path, new):
    results = tmp_path / "results"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER.format(new=new)], cwd=tmp_path, env=environment_of_tests(), stdout=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        (temporary,) = results.iterdir()
        (results / ".made.json.abcdefgh").touch()  # of another file
        remove_leftovers(results / "made")
        assert temporary.exists()
        writer.kill()
        writer.wait()
        remove_leftovers(results / "made")
    assert [path.name for path in results.iterdir()] == [".made.json.abcdefgh"]

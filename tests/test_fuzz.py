"""Whatever is broken in a file, each reader takes it or says so in one line, and leaves nothing behind.

`FUZZ_EXAMPLES=100000 .venv/bin/pytest tests/test_fuzz.py` tries as many inputs of each reader, others in every run.
`tests/fuzz/fuzz_readers.py` goes further: it is guided by what of the library its inputs reach.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from breaking import Choose, broken
from hypothesis import given, settings
from hypothesis import strategies as st
from readers import READERS

from arcfold.jobs.files import InputError, parse_json

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
more_when_asked = settings(max_examples=EXAMPLES or 60, derandomize=not EXAMPLES, database=None)


def choices(stream: bytes) -> Choose:
    """Choices from a stream of bytes; behind its end always the first."""
    place = 0

    def choose(n: int) -> int:
        nonlocal place
        size = 1 if n <= 256 else 3
        value = int.from_bytes(stream[place : place + size], "big")
        place += size
        return value % n

    return choose


def check_refusal(read: Callable[[], Any]) -> None:
    """Reads, and if that is refused, checks that it is with one line that a terminal can show."""
    said = ""
    try:
        read()
    except InputError as error:
        said = str(error)
    assert said.isprintable()
    assert len(said) <= 1000


@pytest.mark.parametrize("name", READERS)
def test_a_broken_file_is_taken_or_refused_with_one_line(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    reader.write(tmp_path)
    reader.read(tmp_path)
    whole = {file: (tmp_path / file).read_bytes() for file in reader.files}
    files = set(tmp_path.rglob("*"))

    @more_when_asked
    @given(file=st.sampled_from(reader.files), stream=st.binary(max_size=80))
    def breaks(file: str, stream: bytes) -> None:
        # a new file each time: readers may keep what they have read of an unchanged one
        (tmp_path / file).unlink()
        (tmp_path / file).write_bytes(broken(whole[file], file, choices(stream)))
        try:
            check_refusal(lambda: reader.read(tmp_path))
        finally:
            shutil.rmtree(tmp_path / "made", ignore_errors=True)  # what a reader makes of a file that it takes
            (tmp_path / file).write_bytes(whole[file])
        assert set(tmp_path.rglob("*")) == files

    breaks()


@more_when_asked
@given(content=st.binary(max_size=40) | st.text('[]{}",:0123456789.eE+-\\ud8truefalsn \n', max_size=40).map(str.encode))
def test_any_bytes_are_json_or_refused(content: bytes) -> None:
    check_refusal(lambda: parse_json(content, "x.json"))

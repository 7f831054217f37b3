"""Breaks a file in a way that a stream of choices decides: what both fuzzers do to valid input.

Half of the ways are those of disks and networks (flipped bits, a missing end, zeros), half those of other programs:
the value inside is read, a part of it replaced by something odd, and the file written again as what it was.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

Choose = Callable[[int], int]
"""choose(n) is a number from 0 to n - 1."""


def _nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = {"a": [value]}
    return value


ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, -1, 30, 31, 1.5, -0.0, 1e308, 10**30, 10**400, 2**31, 2**63, 2**64, float("nan"),
    float("-inf"), "", "x", "\ud800", "../../x", "/", "a\nb", "\0", "x" * 500, "é", "float99", "gpt2", [], {}, [[]],
    [{}], {"": 1}, {"a": {}}, [0], [1, 2], [[1, 2], [3]], [[10]], [-1, -1], ["a"], ["a", "a"], [[0] * 31], _nested(10),
    _nested(40),
)  # fmt: skip


def broken(content: bytes, name: str, choose: Choose) -> bytes:
    """The content of a file of that name, broken in one to three places."""
    for _ in range(1 + choose(3)):
        content = _broken_inside(content, name, choose) if choose(2) else _broken_bytes(content, choose)
    return content


def _broken_bytes(content: bytes, choose: Choose) -> bytes:
    if not content:
        return b"\0"
    place = choose(len(content))
    way = choose(6)
    if way == 0:
        return content[:place]
    if way == 1:
        return content[:place] + content[place + 1 + choose(8) :]
    if way == 2:
        return content[:place] + b"\0" * (1 + choose(64)) + content[place:]
    if way == 3:
        return content[:place] + bytes([choose(256)]) + content[place + 1 :]
    if way == 4:
        return content[:place] + content[choose(len(content)) :]
    return content[:place] + bytes([content[place] ^ (1 << choose(8))]) + content[place + 1 :]


def _broken_inside(content: bytes, name: str, choose: Choose) -> bytes:
    try:
        if name.endswith(".json"):
            return _dumped(_broken_value(json.loads(content), choose))
        if name.endswith(".safetensors"):
            (length,) = struct.unpack("<Q", content[:8])
            header = _dumped(_broken_value(json.loads(content[8 : 8 + length]), choose))
            return struct.pack("<Q", len(header)) + header + content[8 + length :]
        if name.endswith(".zip"):
            return _broken_zip(content, choose)
        if name.endswith(".gz"):
            return _broken_tar(content, choose)
    except Exception:  # it has been broken before, and is no such file any more
        pass
    return _broken_bytes(content, choose)


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def _broken_value(value: Any, choose: Choose) -> Any:
    """The value with one part, at any depth, replaced, left out or under another name."""
    if isinstance(value, dict) and value and choose(8):
        keys = list(value)
        key = keys[choose(len(keys))]
        way = choose(8)
        if way == 0:
            return {other: value[other] for other in keys if other != key}
        if way == 1:
            new = ODD[choose(len(ODD))]
            return {new if other == key and isinstance(new, str) else other: value[other] for other in keys}
        return {other: _broken_value(value[other], choose) if other == key else value[other] for other in keys}
    if isinstance(value, list) and value and choose(8):
        place = choose(len(value))
        way = choose(8)
        if way == 0:
            return value[:place] + value[place + 1 :]
        if way == 1:
            return [*value, value[place]]
        return [*value[:place], _broken_value(value[place], choose), *value[place + 1 :]]
    return ODD[choose(len(ODD))]


_NAMES = ("../../x.json", "/tmp/x.json", "x/../tasks/a.json", ".json", "tasks/.json", "tasks/\u00e9.json", "a")


def _broken_zip(content: bytes, choose: Choose) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        names = old.namelist()
        chosen = choose(len(names))
        for place, name in enumerate(names):
            data = old.read(name)
            if place == chosen:
                if choose(3) == 0:
                    name = _NAMES[choose(len(_NAMES))]
                data = _broken_inside(data, ".json", choose)
            new.writestr(name, data)
    return stream.getvalue()


def _broken_tar(content: bytes, choose: Choose) -> bytes:
    stream = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as old,
        tarfile.open(fileobj=stream, mode="w") as new,
    ):
        entries = old.getmembers()
        chosen = choose(len(entries))
        for place, entry in enumerate(entries):
            file = old.extractfile(entry)
            data = b"" if file is None else file.read()
            if place == chosen:
                way = choose(4)
                if way == 0:
                    entry.name = _NAMES[choose(len(_NAMES))]
                elif way == 1:
                    entry.type, entry.linkname, data = tarfile.SYMTYPE, "/etc/passwd", b""
                else:
                    data = _broken_inside(data, entry.name, choose)
            entry.size = len(data)
            new.addfile(entry, io.BytesIO(data))
    return gzip.compress(stream.getvalue(), 1, mtime=0)

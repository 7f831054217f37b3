"""What a script's code says, so that a rule runs again when its meaning changes and only then."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import sys
from functools import cache
from pathlib import Path
from typing import Any

from arcfold.jobs.files import InputError, read_json, write_json

PACKAGE = Path(__file__).resolve().parents[1]


def hash_of_code(script: str | Path, known: str | Path | None = None) -> str:
    """A hash of a script and of all modules of this package that it imports, directly or through others.

    It is taken over the syntax trees without docstrings, so that comments, docstrings and layout do
    not count. Imports inside functions count too.

    known: a file for what was found, by the bytes of each module, so that the next look need not parse them
    """
    store = _Known() if known is None else _known(Path(known))
    seen: dict[Path, str] = {}
    waiting = [Path(script).resolve()]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen[path], names = store.look(path)
            waiting += [file for name in names for file in _files(name)]
    store.save()
    total = hashlib.sha256()
    for path in sorted(seen):
        name = path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name
        total.update(f"{name}\0{seen[path]}\n".encode())
    return total.hexdigest()[:16]


class _Known:
    """What modules mean, by their bytes, kept in a file if one is named."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._kept: dict[str, Any] = {}
        self._grown = False
        self._read: dict[tuple[Path, int], tuple[str, list[str]]] = {}
        if path is not None:
            with contextlib.suppress(InputError, TypeError, ValueError):  # none there, or none of ours
                self._kept = dict(read_json(path))

    def look(self, path: Path) -> tuple[str, list[str]]:
        """As `_read`."""
        if self._path is None:
            return _read(path, path.stat().st_mtime_ns)
        return self._look(path, path.stat().st_mtime_ns)

    def _look(self, path: Path, modified: int) -> tuple[str, list[str]]:
        if (path, modified) in self._read:
            return self._read[path, modified]
        content = path.read_bytes()
        # a syntax tree is written otherwise by another Python
        key = hashlib.sha256(sys.version.encode() + content).hexdigest()[:32]
        if not _is_meaning(self._kept.get(key)):
            self._kept[key] = _meaning(content.decode())
            self._grown = True
        meaning, names = self._read[path, modified] = self._kept[key]
        return meaning, names

    def save(self) -> None:
        """Writes what is new; a folder that cannot be written to costs time only."""
        if self._path is not None and self._grown:
            with contextlib.suppress(OSError, InputError):
                write_json(self._path, self._kept)
            self._grown = False


_known = cache(_Known)


@cache
def _read(path: Path, _modified: int) -> tuple[str, list[str]]:
    """The hash of one file's meaning, and the names of this package that it imports."""
    return _meaning(path.read_text(encoding="utf-8"))


def _meaning(text: str) -> tuple[str, list[str]]:
    tree = ast.parse(text)
    imported = [name for node in ast.walk(tree) for name in _names(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # a string that stands alone is a docstring, also behind an assignment; an empty body needs a statement
            node.body = [statement for statement in node.body if not _is_bare_string(statement)] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), list(dict.fromkeys(imported))


def _is_meaning(kept: object) -> bool:
    """Whether a value of a file has the form of what `_meaning` returns."""
    match kept:
        case [str(), [*names]]:
            return all(isinstance(name, str) for name in names)
    return False


def _is_bare_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _names(node: ast.AST) -> list[str]:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.partition(".")[0] == PACKAGE.name]


@cache
def _files(name: str) -> list[Path]:
    """The files of a module or package of that name; none for a name in a module."""
    place = PACKAGE.joinpath(*name.split(".")[1:])
    return [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]

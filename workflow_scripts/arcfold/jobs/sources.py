"""What a script's code says, so that a rule runs again when its meaning changes and only then."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def hash_of_code(script: str | Path) -> str:
    """A hash of a script and of all modules of this package that it imports, directly or through others.

    It is taken over the syntax trees without docstrings, so that comments, docstrings and layout do
    not count. Imports inside functions count too.
    """
    seen: dict[Path, str] = {}
    waiting = [Path(script).resolve()]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen[path], imported = _read(path, path.stat().st_mtime_ns)
            waiting += imported
    total = hashlib.sha256()
    for path in sorted(seen):
        name = path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name
        total.update(f"{name}\0{seen[path]}\n".encode())
    return total.hexdigest()[:16]


@cache
def _read(path: Path, _modified: int) -> tuple[str, list[Path]]:
    """The hash of one file's meaning, and the files of this package that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = [module for node in ast.walk(tree) for module in _modules(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # a string that stands alone is a docstring, also behind an assignment; an empty body needs a statement
            node.body = [statement for statement in node.body if not _is_bare_string(statement)] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), imported


def _is_bare_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _modules(node: ast.AST) -> Iterator[Path]:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    for name in names:
        parts = name.split(".")
        if parts[0] == PACKAGE.name:
            place = PACKAGE.joinpath(*parts[1:])
            yield from (path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file())

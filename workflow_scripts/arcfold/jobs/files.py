"""Files that appear whole or not at all, checked against their schemas, with their provenance."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache, update_wrapper
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

SCHEMAS = Path(__file__).resolve().parents[3] / "schemas"


class InputError(Exception):
    """What a user gave is wrong. The message is one line: file, place, what is wrong, what was expected."""


class PlacedError(InputError):
    """An InputError that knows where in a file it belongs, so that whoever knows the file better can name it."""

    def __init__(self, where: str | Path, place: str, said: str, keys: Sequence[str] | None = None) -> None:
        """place: keys from the outermost on, slashes between; keys: the same as a list, if the fault lies deeper"""
        super().__init__(f"{where}: {place}: {said}")
        self.place, self.said = place, said
        self.keys = tuple(place.split("/") if keys is None else keys)


def read_json(path: str | Path, schema: str | None = None) -> Any:
    """The content of a JSON file, checked against `schemas/{schema}.schema.json` if one is named.

    Raises InputError for a missing file, broken JSON, a key that stands twice in one object
    (json would silently keep the last), or a value that the schema refuses.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)})") from None
    try:
        value = json.loads(text, object_pairs_hook=_object_without_duplicates)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}, column {error.colno}: not JSON ({error.msg})") from None
    except _DuplicateKey as error:
        raise InputError(f"{path}: the key {str(error)!r} stands twice, expected once") from None
    if schema is not None:
        check_schema(value, schema, path)
    return value


def kept_while_unchanged(function: Callable[[str], Result]) -> Callable[[str | Path], Result]:
    """Makes a function of a file's path look at the file again only when it has changed.

    For what several jobs of one process ask of the same file. Give out nothing that a caller could change.
    """

    @lru_cache(maxsize=16)
    def kept(path: str, _inode: int, _size: int, _modified: int) -> Result:
        return function(path)

    def looked_up(path: str | Path) -> Result:
        try:
            found = os.stat(path)
        except OSError:  # the function says what is wrong with it
            return function(str(path))
        return kept(str(path), found.st_ino, found.st_size, found.st_mtime_ns)

    return update_wrapper(looked_up, function)


def check_schema(value: Any, schema: str, where: str | Path, *, once: bool = False) -> None:
    """Raises InputError naming `where` and the first place at which `value` breaks the named schema.

    once: for a small value that is the only one of its schema, since making the fast check takes longer than a slow one
    """
    if once:
        _explain(value, schema, where)
        return
    import fastjsonschema

    try:
        _compiled(schema)(value)
    except fastjsonschema.JsonSchemaException:
        # the compiled check is a hundred times faster on files of grids; jsonschema tells places better
        _explain(value, schema, where)
        raise


def _explain(value: Any, schema: str, where: str | Path) -> None:
    """Raises InputError if jsonschema finds something wrong."""
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft7Validator(read_schema(schema)).iter_errors(value))
    if error is not None:
        keys = [str(part) for part in error.absolute_path]
        place = "/".join(keys) or "top level"
        raise PlacedError(where, place, _explained(error), [*keys, *_odd_keys(error)]) from None


def _odd_keys(error: Any) -> list[str]:
    """The key inside the place of a schema error that the error is about, if it is about one."""
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        return [str(key) for key in error.instance if key not in error.schema.get("properties", {})][:1]
    if error.validator == "required":
        return [key for key in error.validator_value if key not in error.instance][:1]
    return [error.instance] if "propertyNames" in error.schema_path else []


def _explained(error: Any) -> str:
    """What a schema error says in one line, with the remedy for a key that nobody knows."""
    if error.validator == "additionalProperties" and "properties" in error.schema:
        known = list(error.schema["properties"])
        (odd,) = _odd_keys(error)
        close = difflib.get_close_matches(odd, known, n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        return one_line(f"unknown key {shortened(odd)!r} ({guess}expected one of {', '.join(known)})", 600)
    hint = error.schema.get("description") if isinstance(error.schema, dict) else None
    if error.validator == "required":
        hint = error.schema.get("properties", {}).get(_odd_keys(error)[0], {}).get("description", hint)
    if error.validator in ("pattern", "maxLength", "oneOf", "anyOf") and hint:  # which say nothing to a reader
        return f"{shortened(repr(error.instance), 100)}, expected {hint}"
    remedy = _remedy_of_quotes(error) if error.validator == "type" else ""
    return one_line(error.message) + (f" (expected: {hint}{remedy})" if hint else "")


def _remedy_of_quotes(error: Any) -> str:
    """What to write where a number stands in quotes, or what should be text stands without."""
    wanted, found = error.validator_value, error.instance
    if wanted in ("integer", "number") and isinstance(found, str):
        with contextlib.suppress(ValueError):
            float(found)
            return "; write it without quotes"
    return '; write it in quotes: "…"' if wanted == "string" and isinstance(found, int | float) else ""


@cache
def read_schema(name: str) -> Any:
    """The content of `schemas/{name}.schema.json`; not to be changed."""
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))


@cache
def _compiled(name: str) -> Callable[[Any], Any]:
    import fastjsonschema

    # defaults are the config's own business: a check must not change what it checks
    return fastjsonschema.compile(read_schema(name), use_default=False)


def write_json(path: str | Path, value: Any, schema: str | None = None) -> None:
    """Writes `value` as JSON, whole or not at all; the bytes depend on the value alone.

    One line for each key of the outermost levels keeps large files of grids readable and
    small. Raises InputError when the named schema refuses the value.
    """
    if schema is not None:
        check_schema(value, schema, path)
    text = _dump(value) + "\n"
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _dump(value: Any, indent: int = 0, depth: int = 3) -> str:
    if depth == 0 or not isinstance(value, dict) or not value:
        return json.dumps(value, separators=(",", ":") if depth == 0 else (", ", ": "), ensure_ascii=False)
    pad = "  " * (indent + 1)
    items = [f"{pad}{json.dumps(str(key))}: {_dump(item, indent + 1, depth - 1)}" for key, item in value.items()]
    return "{\n" + ",\n".join(items) + "\n" + "  " * indent + "}"


@contextlib.contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place if the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _with_default_mode(temporary, 0o666)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place if the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        for made in (temporary, *temporary.rglob("*")):
            _with_default_mode(made, 0o777 if made.is_dir() else 0o666)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _with_default_mode(path: Path, mode: int) -> None:
    """mkstemp, mkdtemp and safetensors make private files; a result should be as readable as any other file."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(mode & ~mask)


def hash_of(value: Any, length: int = 64) -> str:
    """The SHA-256 of a JSON value's canonical text, in hexadecimal, cut to `length` digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def hash_of_file(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal, as `sha256sum` gives it."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_of_files(folder: str | Path, names: Iterable[str]) -> str:
    """The SHA-256 of the named files of a folder, names and contents; missing ones count as absent."""
    total = hashlib.sha256()
    for name in sorted(names):
        path = Path(folder) / name
        if path.is_file():
            total.update(f"{name}\0{hash_of_file(path)}\n".encode())
    return total.hexdigest()


def without_provenance(value: Any) -> Any:
    """A copy of a JSON value without any `provenance`: what must be equal when a job is run again."""
    if isinstance(value, Mapping):
        return {key: without_provenance(item) for key, item in value.items() if key != "provenance"}
    if isinstance(value, list):
        return [without_provenance(item) for item in value]
    return value


class _DuplicateKey(ValueError):
    pass


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKey(key)
            seen.add(key)
    return made


def one_line(message: object, longest: int = 300) -> str:
    """A message of any kind as a part of a line."""
    line = " ".join(str(message).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def shortened(name: str, longest: int = 60) -> str:
    """A name that may be far too long, as a line can show it."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"

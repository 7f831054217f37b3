"""Files that appear whole or not at all, checked against their schemas, with their provenance."""

from __future__ import annotations

import codecs
import contextlib
import difflib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache, update_wrapper
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

_CLONE, _PACKAGE = Path(__file__).resolve().parents[3] / "schemas", Path(__file__).resolve().parents[1] / "schemas"
SCHEMAS = _PACKAGE if _PACKAGE.is_dir() else _CLONE
"""Where the schemas lie: in the clone beside the scripts, or in the package where that was installed."""
LARGE = 16 * 2**20
"""Bytes from which on a process hashes a file once, and then goes by its size and times: base weights above all."""


DEEPEST = 64
"""Levels of lists and objects that a JSON file may have; what walks through one recursively need not fear more."""


class InputError(Exception):
    """What a user gave is wrong. The message is one line: file, place, what is wrong, what was expected."""

    def __init__(self, message: object) -> None:
        # names and values of the user's stand in it: they may be long, or have anything in them
        super().__init__(one_line(message, longest=1000))


class Declined(InputError):
    """A job does not do its work, and nothing has gone wrong in its process."""


class PlacedError(InputError):
    """An InputError that knows where in a file it belongs, so that whoever knows the file better can name it."""

    def __init__(self, where: str | Path, place: str, said: str, keys: Sequence[str] | None = None) -> None:
        """place: keys from the outermost on, slashes between; keys: the same as a list, if the fault lies deeper"""
        super().__init__(f"{where}: {place}: {said}")
        self.place, self.said = place, said
        self.keys = tuple(place.split("/") if keys is None else keys)


def read_json(path: str | Path, schema: str | None = None) -> Any:
    """The content of a JSON file, checked against `schemas/{schema}.schema.json` if one is named.

    Raises InputError for a missing file, and as parse_json does.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # the second of a path that can be none
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from None
    return parse_json(content, path, schema)


def parse_json(content: bytes, where: str | Path, schema: str | None = None) -> Any:
    """The value of a JSON text in UTF-8, with or without a byte order mark.

    Raises InputError, naming `where`, for what is no JSON, or none that can be worked with: a text that ends too
    early, a key that stands twice in one object (json would silently keep the last), NaN and numbers too large
    for a float, half a surrogate pair in a string, more than DEEPEST levels, or a value that the schema refuses.
    """
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: byte {error.start}: not UTF-8, expected JSON in UTF-8") from None
    try:
        if _is_deep(content):
            raise RecursionError
        value = json.loads(
            text,
            object_pairs_hook=_object_without_duplicates,
            parse_int=_ordinary if _LONG in content.translate(_DIGITS) else None,
            parse_float=_finite,
            parse_constant=_no_number,
        )
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: line {error.lineno}, column {error.colno}: {_not_json(error)}") from None
    except _DuplicateKey as error:
        raise InputError(f"{where}: the key {str(error)!r} stands twice, expected once") from None
    except _NoNumber as error:
        raise InputError(f"{where}: {error} is no number that JSON knows, expected a finite one") from None
    except RecursionError:
        raise InputError(f"{where}: nested too deep, expected at most {DEEPEST} levels") from None
    except (ValueError, OverflowError):  # Python reads no number of thousands of digits
        raise InputError(f"{where}: a number of hundreds of digits, expected one of ordinary size") from None
    if _SURROGATE.search(text) is not None:
        _check_surrogates(value, where)
    if schema is not None:
        check_schema(value, schema, where)
    return value


def kept_while_unchanged(function: Callable[[str], Result]) -> Callable[[str | Path], Result]:
    """Makes a function of a file's path, or a folder's, look again only when it, or a file in it, has changed.

    For what several jobs of one process ask of the same file. Give out nothing that a caller could change.
    """

    @lru_cache(maxsize=64)
    def kept(path: str, _stamp: tuple[Any, ...]) -> Result:
        return function(path)

    def looked_up(path: str | Path) -> Result:
        try:
            stamp = _stamp(os.stat(path))
            if os.path.isdir(path):
                stamp += tuple((entry.name, *_stamp(entry.stat())) for entry in os.scandir(path))
        except (OSError, ValueError):  # the function says what is wrong with it
            return function(str(path))
        return kept(str(path), stamp)

    return update_wrapper(looked_up, function)


def _stamp(found: os.stat_result) -> tuple[Any, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


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
    # what a whole file is stands in its title, what a part of it may be in the part's description
    described = error.schema if isinstance(error.schema, dict) else {}
    hint = described.get("title", described.get("description"))
    if error.validator == "required":
        hint = described.get("properties", {}).get(_odd_keys(error)[0], {}).get("description", hint)
    if error.validator in ("pattern", "maxLength", "oneOf", "anyOf", "not") and hint:  # which say nothing to a reader
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
    with says_what_cannot_be_written(path):
        with _refusals(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=_prefix(path), dir=path.parent)
        temporary = Path(name)
        try:
            _lock(handle)
            yield temporary
            _with_default_mode(temporary, 0o666)
            with _refusals(path):
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
            os.close(handle)


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place if the block ends without an error."""
    path = Path(path)
    with says_what_cannot_be_written(path):
        with _refusals(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
            handle = os.open(temporary, os.O_RDONLY)
        try:
            _lock(handle)
            yield temporary
            for made in (temporary, *temporary.rglob("*")):
                _with_default_mode(made, 0o777 if made.is_dir() else 0o666)
            with _refusals(path):
                if path.is_dir():
                    shutil.rmtree(path)
                os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            os.close(handle)


def remove_leftovers(path: str | Path) -> None:
    """Removes what killed processes have left of `new_file` and `new_folder` beside a path; what is locked stays."""
    path = Path(path)
    name = re.compile(re.escape(_prefix(path)) + "[a-z0-9_]{8}")
    for left in list(path.parent.iterdir()) if path.parent.is_dir() else ():
        if name.fullmatch(left.name):
            with contextlib.suppress(OSError), _opened(left) as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left) if left.is_dir() else left.unlink()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def _prefix(path: Path) -> str:
    return f".{path.name[:100]}."


def _lock(handle: int) -> None:
    """Says as long as this process lives that it writes a temporary file or folder."""
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def says_what_cannot_be_written(path: str | Path) -> Iterator[None]:
    """Where the disk is full in the block, an InputError says so: what was being written, and the remedy."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = no_room(error)
        if reason is None:
            raise
        raise InputError(
            f"{path}: cannot be written ({reason}); make room there and run the same command again"
        ) from None


def no_room(error: BaseException) -> str | None:
    """The system's words for a full disk, a full quota or a file that may not grow, if the error is such a one."""
    codes = [error.errno] if isinstance(error, OSError) else re.findall(r"os error (\d+)", str(error))
    for code in map(int, filter(None, codes)):  # a library in Rust (safetensors) says the number in its text
        if code in _NO_ROOM:
            return os.strerror(code)
    return None


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Says as one line what keeps the block from making a file or folder: no permission, say."""
    try:
        yield
    except OSError as error:
        if no_room(error):
            raise
        raise InputError(
            f"{path}: cannot be written ({error.strerror}), expected a folder that this user may write to"
        ) from None


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
    """The SHA-256 of a file, in hexadecimal, as `sha256sum` gives it; of a large one once while it is unchanged."""
    return _hash_of_large_file(path) if os.stat(path).st_size >= LARGE else _hash_of_file(str(path))


def _hash_of_file(path: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_hash_of_large_file = kept_while_unchanged(_hash_of_file)


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


class _NoNumber(ValueError):
    pass


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_STRING = re.compile(rb'"[^"]*"')
_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))


def _is_deep(content: bytes) -> bool:
    """Whether a JSON text has more than DEEPEST levels; where it is no JSON, the answer means nothing.

    Each round takes out the innermost brackets: a few passes in C over a text that shrinks fast.
    """
    if b"\\" in content:
        content = _ESCAPED.sub(b"", content)
    brackets = _STRING.sub(b"", content.translate(None, _NO_BRACKETS))
    for _ in range(DEEPEST):
        left = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(left) == len(brackets):
            return False
        brackets = left
    return bool(brackets)


_LONG = b"0" * 309
_DIGITS = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))


def _ordinary(digits: str) -> int:
    """Raises OverflowError for a whole number that is no float; asked only where there are such long ones."""
    value = int(digits)
    float(value)
    return value


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _NoNumber(one_line(digits, 40))
    return value


def _no_number(name: str) -> Any:
    raise _NoNumber(name)


def _not_json(error: json.JSONDecodeError) -> str:
    rest = error.doc[error.pos :]
    if not error.doc.strip():
        return "the file is empty, expected JSON; write or fetch it again"
    if not rest.strip() or error.msg.startswith("Unterminated string"):
        return "the JSON ends here in the middle (a broken download or copy?), expected all of it; fetch it again"
    return f"not JSON ({error.msg})"


def _check_surrogates(value: Any, where: str | Path) -> None:
    """Half a surrogate pair, as in "\\ud800", is no character and cannot be written to a file."""
    for text in _strings(value):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(f"{where}: {text!r} has half a surrogate pair, expected whole characters") from None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


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
    """What an error says in one printable line; of a long one the middle is left out, the end says what to do."""
    text = str(message).encode("utf-8", "backslashreplace").decode()
    if not text.isprintable():  # ends of lines, what a terminal obeys, spaces of other kinds
        text = "".join(character if character.isprintable() else "\n" for character in text)
    line = re.sub(r"\n[ \n]*", " ", text).strip()
    if len(line) <= longest:
        return line
    end = longest // 3
    return f"{line[: longest - end - 3]} … {line[-end:]}"


def shortened(name: str, longest: int = 60) -> str:
    """A name that may be far too long, as a line can show it."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"

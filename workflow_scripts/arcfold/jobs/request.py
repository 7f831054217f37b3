"""A job's file: all that a job is given, as JSON, so that it can be done again without Snakemake.

It lies beside the job's log, with `.job.json` in place of `.log`. For example, shortened:

    {"rule": "make_folds", "script": "make_folds.py",
     "input": {"tasks": "results/tasks/quick.json"}, "output": ["results/store/folds/…/folds.json"],
     "params": {"split": [8, 0], "settings": {"split": "balanced"}}, "wildcards": {"dataset": "quick"},
     "resources": {}, "threads": 1, "config": {"report_to": "none"}, "log": ["results/logs/make_folds/….log"]}

`input`, `output` and `log` are a mapping where the rule names its files, else a list. Paths are as Snakemake
has them, relative to the folder that it runs in.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from arcfold.jobs.files import InputError, read_json, remove_leftovers, write_json

SCRIPTS = Path(__file__).resolve().parents[2]
"""Where the rules' scripts lie."""
RUNNER = "run_job.py"
"""The script that does one job from its file."""
OF_CONFIG = ("report_to", "keep_going", "datasets", "subsets")
"""Keys of the config that scripts read without being run again when they change; all others are params.

Of datasets it is the content that counts, wherever its files lie.
"""


class MissingName(InputError, AttributeError):
    """A script asks for a name that the job's file does not have."""


class MissingPlace(InputError, IndexError):
    """A script asks for a place that the job's file does not have."""


class Values:
    """Files, parameters or wildcards of a job: by name as attributes, by place as items, as Snakemake has them.

    where: the place in the job's file, for the message about one that is missing
    """

    def __init__(self, content: Mapping[str, Any] | list[Any], where: str = "job") -> None:
        self._where = where
        self._named = dict(content) if isinstance(content, Mapping) else {}
        self._listed = list(content.values()) if isinstance(content, Mapping) else content

    def __getattr__(self, name: str) -> Any:
        named = self.__dict__.get("_named", {})
        if name not in named:
            raise MissingName(f"{self.__dict__.get('_where')}: no {name}, expected one")
        return named[name]

    def __getitem__(self, place: int) -> Any:
        try:
            return self._listed[place]
        except IndexError:
            raise MissingPlace(f"{self._where}: {len(self)} values, expected one at place {place}") from None

    def __len__(self) -> int:
        return len(self._listed)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._listed)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of that name, or the default."""
        return self._named.get(name, default)

    def items(self) -> list[tuple[str, Any]]:
        """Names and values; none if there are no names."""
        return list(self._named.items())


def request_path(log: str | Path) -> Path:
    """Where the file of the job with that log lies."""
    return Path(log).with_suffix(".job.json")


def command_of(log: str | Path) -> str:
    """The command that does the job with that log again, from the folder that Snakemake runs in."""
    runner = SCRIPTS / RUNNER
    here = Path.cwd().resolve()
    path = os.path.relpath(runner, here) if runner.is_relative_to(here) else str(runner)
    return shlex.join(["python", path, str(request_path(log))])


def write_request(given: Any) -> None:
    """Writes a job's file beside its log; `given` is the object `snakemake` of the script that runs."""
    # Snakemake runs a copy of the script under the original's name
    script = Path(str(sys.modules["__main__"].__file__)).name
    write_request_of(given, given.rule, script, given.config)


def write_request_of(given: Any, rule: str, script: str, config: Mapping[str, Any]) -> None:
    """Writes a job's file beside its log; `given` has the parts of the file as Snakemake's jobs have them."""
    content = {
        "rule": rule,
        "script": script,
        **{part: plain(getattr(given, part)) for part in ("input", "output", "params", "wildcards")},
        # what a script may ask for; names with an underscore and the folder for temporary files are Snakemake's own
        "resources": {name: value for name, value in given.resources.items() if name[0] != "_" and name != "tmpdir"},
        "threads": given.threads,
        "config": {key: config[key] for key in OF_CONFIG if key in config},
        "log": plain(given.log),
    }
    path = request_path(given.log[0])
    remove_leftovers(path)
    write_json(path, content)


class Request(SimpleNamespace):
    """A job's file as the object `snakemake` that a script reads, with the path of the script as `script`."""


def read_request(path: str | Path) -> Request:
    """What a job's file says.

    Raises InputError for a file that is none, or a script that does not exist.
    """
    content = read_json(path, "job")
    script = SCRIPTS / content["script"]
    if not script.is_file():
        raise InputError(f"{path}: script: no {content['script']} in {SCRIPTS}, expected the name of a rule's script")
    parts = {
        part: Values(content[part], f"{path}: {part}")
        for part in ("input", "output", "params", "wildcards", "resources", "log")
    }
    plain = {key: content[key] for key in ("rule", "threads", "config")}
    return Request(**parts, **plain, script=script)


def plain(values: Any) -> Any:
    """Snakemake's lists with names, or `Values`, as a mapping if there are names, else as a list."""
    named = {name: plain_value(value) for name, value in values.items()}
    return named or [plain_value(value) for value in values]


def plain_value(value: Any) -> Any:
    """Paths are a class of their own in Snakemake, and lists of them too."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {key: plain_value(item) for key, item in value.items()}
    return [plain_value(item) for item in value] if isinstance(value, list | tuple) else value

"""Where relative paths of the config lead: into the folder that a user works in, else into the workflow's own.

The workflow may lie elsewhere (`snakemake -s /software/arcfold/Snakefile --directory here`), and may be read-only: what
comes with it, the base model above all, is found there; results, caches and locks lie where the user works. A job that
has its sources alone, as on Kubernetes, finds the rest in its image, in the folder that ARCFOLD_FILES names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WORKFLOW = Path(__file__).resolve().parents[3]
"""The folder of the Snakefile."""
IN_IMAGE = "ARCFOLD_FILES"
"""The variable that names an image's folder of such files."""
DEFAULTS = "config.yaml"
"""The config that every run begins with."""

_PATHS = {
    "datasets": ("tasks", "challenges", "solutions"),
    "models": ("path",),
    "adapters": ("path",),
    "corpora": ("path",),
    "runs": ("submission",),
}
"""The keys of each section's entries that are paths."""


def found(path: str, workflow: Path = WORKFLOW) -> str:
    """A path as it is, or beside the Snakefile, or in the image, if only there is something of that name."""
    if Path(path).exists():
        return path
    places = [workflow, *([Path(os.environ[IN_IMAGE])] if os.environ.get(IN_IMAGE) else [])]
    return next((str(place / path) for place in places if (place / path).exists()), path)


def missing(path: str | Path, kind: str = "file", workflow: Path = WORKFLOW) -> str:
    """What is said of a path that leads nowhere: `mine.json: no such file`, and both places where it was looked for."""
    if Path(path).is_absolute() or workflow == Path.cwd():
        return f"{path}: no such {kind}"
    return f"{path}: no such {kind}, neither in {Path.cwd()} nor in {workflow}"


def configs(workflow: Path = WORKFLOW) -> list[Path]:
    """The configs that are read without being asked for: the defaults, and over them one where the user works."""
    here = Path(DEFAULTS)
    default = workflow / DEFAULTS
    if not here.is_file() or here.resolve() == default:
        return [here if here.is_file() else default]
    return [default, here]


def placed(config: Mapping[str, Any], workflow: Path = WORKFLOW) -> dict[str, Any]:
    """A config in which each path is where it was found."""
    after = dict(config)
    for section, keys in _PATHS.items():
        if section in config:
            after[section] = {name: _placed(entry, keys, workflow) for name, entry in config[section].items()}
    return after


def _placed(entry: Mapping[str, Any], keys: tuple[str, ...], workflow: Path) -> dict[str, Any]:
    return {key: found(value, workflow) if key in keys else value for key, value in entry.items()}


def unplaced(value: Any, workflow: Path = WORKFLOW) -> Any:
    """A JSON value with paths beside the Snakefile as the config has them: equal wherever the workflow lies."""
    if isinstance(value, str):
        return value.removeprefix(f"{workflow}/")
    if isinstance(value, Mapping):
        return {key: unplaced(item, workflow) for key, item in value.items()}
    return [unplaced(item, workflow) for item in value] if isinstance(value, list | tuple) else value

"""The bundle itself, a folder that is uploaded as a whole:

    bundle.json          which run, for which Python, what it expects of the image, bytes and files of each part
    notebook.ipynb       three cells: install, run, leave the submission
    config.json          the run's config in the contest
    workflow/            the Snakefile, the rules, the library
    wheels/              what the image lacks, and requirements.txt
    model/               the base model
    adapters/  data/     the adapter that the run starts from, and tasks that it reads besides, if there are any
    SHA256SUMS           `sha256sum -c` reads it; the notebook's first cell checks every file

The bytes depend on these files alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from arcfold.jobs.checksums import files_of, write_sums
from arcfold.jobs.files import InputError, hash_of_files, new_folder, write_json
from arcfold.kaggle.inside import CONFIG, MANIFEST, NOTEBOOK, OLDEST_TORCH, WORKFLOW
from arcfold.kaggle.notebook import notebook
from arcfold.models.folder import read_files

PARTS = ("Snakefile", "config.yaml", "envs", "profiles", "rules", "schemas", "workflow_scripts")
"""What of the workflow a run needs."""
BESIDES = ("LICENSE", "resources/rates.json")
"""What goes with it where it is there."""
_PAPERS = ("LICENSE*", "LICENCE*", "NOTICE*", "README*", "USE_POLICY*")
"""What goes with a model that is passed on."""


def workflow_files(workflow: Path) -> list[str]:
    """The names of the workflow's files that go with a bundle. Raises InputError for a part that is not there."""
    parts = [*PARTS, *(name for name in BESIDES if (workflow / name).is_file())]
    return [name for part in parts for name in _of_part(workflow, part)]


def hash_of_workflow(workflow: Path) -> str:
    return hash_of_files(workflow, workflow_files(workflow))[:16]


def write_bundle(
    folder: str | Path,
    *,
    workflow: Path,
    config: Mapping[str, Any],
    about: Mapping[str, Any],
    model: str | Path,
    parts: Mapping[str, str],
) -> dict[str, Any]:
    """Writes a bundle, whole or not at all, and gives what its bundle.json says.

    config: of the run there; about: what bundle.json says beside the sizes; model: the folder of the base model
    parts: other files and folders, by their place in the bundle: wheels, adapters, tasks
    """
    with new_folder(folder) as made:
        for name in workflow_files(workflow):
            _copy(workflow / name, made / WORKFLOW / name)
        for name in _of_model(Path(model)):
            _copy(Path(model) / name, made / "model" / name)
        for place, source in parts.items():
            names = files_of(Path(source).parent, Path(source).name)
            if not names:
                raise InputError(f"{source}: no files, expected what the bundle has as {place}")
            for name in names:
                _copy(Path(source).parent / name, made / f"{place}{name.removeprefix(Path(source).name)}")
        write_json(made / CONFIG, config)
        (made / NOTEBOOK).write_text(json.dumps(notebook(about["run"]), indent=1) + "\n", encoding="utf-8")
        manifest = {**about, "oldest_torch": OLDEST_TORCH, **_sizes(made)}
        write_json(made / MANIFEST, manifest)
        write_sums(made)
    return manifest


def in_words(manifest: Mapping[str, Any]) -> Iterator[str]:
    """What a bundle holds, line by line."""
    for part, size in manifest["parts"].items():
        yield f"{part}: {size['files']} files, {_mb(size['bytes'])}"
    yield f"in all {_mb(manifest['bytes'])} for Python {manifest['python']}; left to the image: {manifest['left_out']}"


def _of_part(workflow: Path, part: str) -> list[str]:
    names = [name for name in files_of(workflow, part) if "__pycache__" not in Path(name).parts]
    if not names:
        raise InputError(f"{workflow / part}: no such file, expected a whole copy of the workflow")
    return names


def _of_model(folder: Path) -> list[str]:
    papers = {path.name for pattern in _PAPERS for path in folder.glob(pattern) if path.is_file()}
    sums = {"SHA256SUMS"} if (folder / "SHA256SUMS").is_file() else set()
    return sorted({*read_files(folder), *papers, *sums})


def _sizes(folder: Path) -> dict[str, Any]:
    """Files and bytes of each part, and of all."""
    parts: dict[str, dict[str, int]] = {}
    for name in files_of(folder):
        part = parts.setdefault(name.partition("/")[0], {"files": 0, "bytes": 0})
        part["files"] += 1
        part["bytes"] += (folder / name).stat().st_size
    return {"parts": parts, "bytes": sum(part["bytes"] for part in parts.values())}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        raise InputError(f"{source}: no such file, expected what the bundle has as {target.name}") from None


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"

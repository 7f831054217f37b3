"""Whether the tasks of a run fit into its lengths, looked at before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arcfold.arc.datasets import dataset_identity, load_dataset
from arcfold.arc.lengths import misfits
from arcfold.arc.text import FORMATS, Codec, codec_with_own_ids
from arcfold.jobs.files import InputError, hash_of, hash_of_file
from arcfold.jobs.known import is_text_by_text, known
from arcfold.jobs.sources import hash_of_code
from arcfold.models.tokenizer import TOKENIZER, ModelTokenizer
from arcfold.runs.runs import Run

NAMED = 20
"""How many tasks a line names at most."""


def check_fit(config: Mapping[str, Any], run: Run, folder: str | Path, cache: str | Path | None = None) -> None:
    """Raises InputError, naming all of them, if there are tasks that the run can't train on or search.

    folder: of the run's base model; of one that is not there yet, what its tokenizer puts in front of a text counts
        as nothing
    cache: a folder for what was found, named by all that it depends on, so that the next look is a quick one

    A dataset without solutions is not refused, nor a run that keeps going: its jobs skip what does not fit.
    """
    if config["keep_going"]:
        return
    found = tasks_that_do_not_fit(config, run, folder, cache)
    if found:
        ids = list(found)
        more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
        raise InputError(
            f"run {run.name}: {len(ids)} of its tasks cannot fit: {', '.join(ids[:NAMED])}{more} (task {ids[0]}: "
            f"{found[ids[0]]}); raise the length, or skip them with keep_going: true in the config"
        )


def tasks_that_do_not_fit(
    config: Mapping[str, Any], run: Run, folder: str | Path, cache: str | Path | None = None
) -> dict[str, str]:
    """The solved tasks of a run that don't fit, each with the reason; none for a dataset without solutions."""
    lengths = {"training": run.settings["training"]["longest"], "search": run.settings["search"]["longest"]}
    tokenizer = Path(folder) / TOKENIZER
    text_format = config["models"][run.model]["format"]

    def look() -> dict[str, str]:
        tasks = load_dataset(config, run.dataset)
        if not all(task.has_solutions for task in tasks):
            return {}
        own = codec_with_own_ids(text_format)
        head = ModelTokenizer(folder).head if tokenizer.is_file() else ()
        codec = Codec(FORMATS[text_format], own.ids, head)
        reasons = {task.id: misfits(task, codec, **lengths) for task in tasks}
        return {task_id: of_task[0] for task_id, of_task in reasons.items() if of_task}

    if cache is None:
        return look()
    code = hash_of_code(__file__, Path(cache) / "code.json")
    depends_on = [dataset_identity(config, run.dataset, solved=True), lengths, text_format, code]
    depends_on.append(hash_of_file(tokenizer) if tokenizer.is_file() else None)
    path = Path(cache) / f"{hash_of(depends_on, 24)}.json"
    return known(path, look, is_text_by_text)

"""The folder of a base model: which files make one, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arcfold.arc.text import FORMATS, Codec
from arcfold.jobs.checksums import check_own_sums
from arcfold.jobs.files import InputError, check_schema, hash_of_file, hash_of_files, read_json
from arcfold.jobs.places import missing, unplaced
from arcfold.models.positions import GRID_TOKENS, MODEL_TYPE, rule_of
from arcfold.models.tokenizer import MODEL_SETTINGS, TOKENIZER, TOKENIZER_SETTINGS, ModelTokenizer
from arcfold.models.weights import CONFIG, WEIGHTS, WEIGHTS_INDEX, check_weights, weight_files

IDENTITY = ("name", "hash", "hub", "revision")
"""What is recorded of a base model beside an adapter; the last two of one that is used as the hub has it."""

_WITH_US = "resources/"
"""Where models lie that come with the workflow."""


def model_files(folder: str | Path) -> list[str]:
    """The names of the files that make a base model, relative to its folder, sorted.

    Raises InputError if one is missing: config.json, tokenizer.json, and the weights as safetensors
    in one file or in parts with their index. Pickled weights are never read.
    """
    folder = Path(folder)
    needed = [CONFIG, TOKENIZER]
    if (folder / WEIGHTS_INDEX).is_file():
        needed += [WEIGHTS_INDEX, *weight_files(folder)]
    else:
        needed.append(WEIGHTS)
    if not folder.is_dir():
        raise InputError(f"{missing(folder, 'folder')}, expected a model folder with {', '.join(needed)}")
    for name in needed:
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name}, expected a model folder with {', '.join(needed)}")
    return sorted(needed)


def read_files(folder: str | Path) -> list[str]:
    """The names of all files of a model folder that are read: `model_files`, and the settings beside them."""
    more = {*TOKENIZER_SETTINGS, *MODEL_SETTINGS}
    return sorted({*model_files(folder), *(name for name in more if (Path(folder) / name).is_file())})


def read_config(folder: str | Path) -> dict[str, Any]:
    """The content of a model's config.json. Raises InputError if it is that of no causal language model."""
    config: Any = read_json(Path(folder) / CONFIG)
    if not isinstance(config, dict) or "vocab_size" not in config:
        raise InputError(f"{folder}/{CONFIG}: no vocab_size, expected the configuration of a causal language model")
    check_schema(config, "model_config", f"{folder}/{CONFIG}")
    return config


def is_ours(folder: str | Path) -> bool:
    """Whether a model is of the type of this library, which stock programs refuse."""
    return bool(read_config(folder).get("model_type") == MODEL_TYPE)


def how_to_get(name: str, entry: Mapping[str, Any]) -> str:
    """What a user without the weights of a model can do, as the rest of a line.

    name, entry: of the config's section `models`
    """
    if "path" in entry:
        if unplaced(entry["path"]).startswith(_WITH_US):
            return "it comes with the workflow, whose copy here lacks it: copy or clone the workflow as a whole"
        return (
            f"put a model there as the Hugging Face hub has it (hf download ORGANISATION/NAME --revision COMMIT "
            f"--local-dir {entry['path']}), or give its folder as models/{name}/path"
        )
    folder = f"models/{name}"
    return (
        f"without a network here: where there is one, run 'hf download {entry['hub']} --revision {entry['revision']} "
        f"--local-dir {folder}' (a gated model needs HF_TOKEN there), copy the folder {folder} here, and give "
        f"'path: {folder}' in place of hub and revision under models/{name} in the config; then nothing is fetched"
    )


def _check_positions(place: str, config: Mapping[str, Any], expected: Any, text_format: str) -> None:
    """Whether a model with positions by grids counts the grids of the text format, whose `grid_tokens` are expected."""
    try:
        by_grids = rule_of(config).by_grids
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    if by_grids and config[GRID_TOKENS] != expected:
        raise InputError(
            f"{place}: {GRID_TOKENS} is not that of the text format {text_format}, expected "
            f"{'another model, as it has none' if expected is None else expected}"
        )


def model_record(name: str, folder: str | Path, text_format: str) -> dict[str, Any]:
    """What later steps need to know of a base model: its content hash and the ids of its text format.

    Raises InputError for a folder that is none, a file that is not as the folder's own SHA256SUMS says (if it
    has one), a tokenizer without the format's tokens, a vocabulary that the ids do not fit, positions that are
    not those of the format, and weights that are not config.json's, or not finite.
    """
    files = model_files(folder)
    check_own_sums(Path(folder), files)
    config = read_config(folder)
    tokenizer = ModelTokenizer(folder)
    ids = tokenizer.ids(text_format)
    largest = max(*ids.values(), *tokenizer.head)
    if largest >= config["vocab_size"]:
        raise InputError(f"{folder}: token id {largest} with a vocabulary of {config['vocab_size']}")
    _check_positions(f"{folder}/{CONFIG}", config, Codec(FORMATS[text_format], ids).grid_tokens(), text_format)
    check_weights(folder, config)
    return {
        "name": name,
        "hash": hash_of_files(folder, files),
        "files": {name: hash_of_file(Path(folder) / name) for name in files},
        "format": text_format,
        "token_ids": ids,
        "head": list(tokenizer.head),
        "architecture": (config.get("architectures") or ["unknown"])[0],
        "positions": config.get("max_position_embeddings"),
    }


def check_record(folder: str | Path, record: Mapping[str, Any]) -> None:
    """Raises InputError if the files of a base model are not those that its record describes."""
    files = model_files(folder)
    if hash_of_files(folder, files) != record["hash"]:
        recorded = record.get("files", {})
        odd = [name for name in files if name in recorded and hash_of_file(Path(folder) / name) != recorded[name]]
        path = f"results/models/{record['name']}.json"
        raise InputError(
            f"{'/'.join([str(folder), *odd[:1]])}: does not match its hash in {path} (damaged or replaced), bring back "
            f"what was there, or delete {path} for a new model, and run the same command again"
        )

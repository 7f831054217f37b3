"""The weights of a base model as they lie on disk: what the headers of the safetensors files say, and the index.

Nothing is loaded here, and neither torch nor safetensors is needed. A file is eight bytes with the length of its
header, the header as JSON, and the numbers of the tensors one after another:

    {"model.norm.weight": {"dtype": "BF16", "shape": [320], "data_offsets": [0, 640]}, …}
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arcfold.jobs.files import InputError, parse_json, read_json
from arcfold.models.positions import MODEL_TYPE

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
EMBEDDING = "model.embed_tokens.weight"

LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3", MODEL_TYPE)
"""The values of model_type whose tensors have the names and shapes that this library knows."""

_LARGEST_HEADER = 2**27
_CHUNK = 2**22
_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}
# A number whose bits of the exponent are all set is NaN or infinite.
_EXPONENT: dict[str, Any] = {
    "F8_E4M3": np.uint8(0x7F),
    "F8_E5M2": np.uint8(0x7C),
    "F16": np.uint16(0x7C00),
    "BF16": np.uint16(0x7F80),
    "F32": np.uint32(0x7F80_0000),
    "F64": np.uint64(0x7FF0_0000_0000_0000),
}
_LAYER = re.compile(r"model\.layers\.(\d{1,6})\.")


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: its file, and the place of its first byte behind the last one of the header."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def weight_files(folder: str | Path) -> list[str]:
    """The names of the safetensors files of a model folder, sorted; they need not exist."""
    index = Path(folder) / WEIGHTS_INDEX
    return sorted(set(_weight_map(index).values())) if index.is_file() else [WEIGHTS]


def _weight_map(index: Path) -> dict[str, str]:
    content = read_json(index)
    parts = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(parts, dict) or not parts or not all(_is_name(part) for part in parts.values()):
        raise InputError(f"{index}: no weight_map, expected the name of a file for each tensor")
    return parts


def _is_name(part: Any) -> bool:
    return isinstance(part, str) and Path(part).name == part and "\0" not in part and len(part.encode()) <= 255


def read_header(path: str | Path) -> dict[str, Any]:
    """The header of a safetensors file: for each tensor dtype, shape and data_offsets; `__metadata__` perhaps.

    Raises InputError for a file that is none, or is not whole.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(8)
            if start == b"version ":
                raise InputError(f"{path}: a pointer of git-lfs, not the weights, expected them (run 'git lfs pull')")
            if len(start) < 8:
                raise InputError(f"{path}: no readable safetensors ({size} bytes); fetch or write it again")
            (length,) = struct.unpack("<Q", start)
            if length > min(_LARGEST_HEADER, size - 8):
                raise InputError(
                    f"{path}: no readable safetensors (its header is longer than the file); fetch or write it again"
                )
            text = stream.read(length)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    header: dict[str, Any] = parse_json(text, f"{path}: header", "safetensors")
    place = 0
    for name, tensor in sorted(_tensors(header).items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = tensor["data_offsets"]
        count = math.prod(tensor["shape"]) * _BYTES.get(tensor["dtype"], 0)
        if begin != place or end < begin or (tensor["dtype"] in _BYTES and end - begin != count):
            raise InputError(f"{path}: header: {name!r} has shape {tensor['shape']} and bytes {begin} to {end}, "
                             "expected a place of its own that fits; fetch or write it again")  # fmt: skip
        place = end
    if size != 8 + length + place:
        raise InputError(f"{path}: {size} bytes, expected {8 + length + place} (a broken download?); fetch it again")
    return header


def _tensors(header: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in header.items() if name != "__metadata__"}


def stored_tensors(folder: str | Path) -> dict[str, StoredTensor]:
    """Every tensor of a model folder by its name, as the headers of its files say.

    Raises InputError for a file that cannot be read, a tensor that lies in two, and an index that says otherwise.
    """
    folder = Path(folder)
    found: dict[str, StoredTensor] = {}
    for part in weight_files(folder):
        file = folder / part
        header = read_header(file)
        start = 8 + struct.unpack("<Q", file.open("rb").read(8))[0]
        for name, tensor in _tensors(header).items():
            if name in found:
                raise InputError(f"{file}: {name!r} lies in {found[name].file.name} too, expected it once")
            begin, end = tensor["data_offsets"]
            found[name] = StoredTensor(file, tensor["dtype"], tuple(tensor["shape"]), start + begin, start + end)
    index = folder / WEIGHTS_INDEX
    if index.is_file():
        told = _weight_map(index)
        for name in sorted(told.keys() | found.keys()):
            where = found[name].file.name if name in found else "none of the files"
            if told.get(name) != where:
                raise InputError(f"{index}: {name!r} is said to lie in {told.get(name)}, and lies in {where}")
    return found


def check_weights(folder: str | Path, config: Mapping[str, Any]) -> None:
    """Whether weights are those that config.json speaks of, as far as names and shapes tell, and numbers throughout.

    Reads all of them. Raises InputError naming the tensor and its file.
    """
    tensors = stored_tensors(folder)
    if config.get("model_type") in LLAMA_LIKE:
        _check_sizes(folder, config, tensors)
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise InputError(
                f"{tensor.file}: {name!r} has numbers that are NaN or infinite, expected finite ones; "
                "fetch or train the model again"
            )


def _check_sizes(folder: str | Path, config: Mapping[str, Any], tensors: Mapping[str, StoredTensor]) -> None:
    layers = {int(match[1]) for match in map(_LAYER.match, tensors) if match is not None}
    told = config.get("num_hidden_layers")
    # where no name is as expected, transformers may know another
    if layers and told is not None and layers != set(range(told)):
        raise InputError(
            f"{folder}: config.json has num_hidden_layers {told}, the weights have {len(layers)} (up to number "
            f"{max(layers)}), expected those of one model"
        )
    sizes = config["vocab_size"], config.get("hidden_size")
    if EMBEDDING in tensors and sizes[1] is not None and tensors[EMBEDDING].shape != sizes:
        raise InputError(f"{folder}: config.json has vocab_size and hidden_size {sizes}, the weights' {EMBEDDING} has "
                         f"shape {tensors[EMBEDDING].shape}, expected those of one model")  # fmt: skip


def _is_finite(tensor: StoredTensor) -> bool:
    exponent = _EXPONENT.get(tensor.dtype)
    if exponent is None:
        return True
    with tensor.file.open("rb") as stream:
        stream.seek(tensor.begin)
        left = tensor.end - tensor.begin
        while left:
            chunk = stream.read(min(left, _CHUNK))
            if not chunk:
                raise InputError(f"{tensor.file}: has become shorter while it was read")
            numbers = np.frombuffer(chunk, exponent.dtype)
            if ((numbers & exponent) == exponent).any():
                return False
            left -= len(chunk)
    return True

"""A base model's folder: weights in parts, configuration, tokenizer: what transformers loads, offline.

A checkpoint of an unfinished training is the same folder with `state.json` beside the weights, and
`optimizer.safetensors` if the optimizer's state is kept. Its SHA256SUMS is written last and checked when the folder
is loaded, for such folders are carried from one machine to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arcfold.jobs.checksums import check_own_sums, write_sums
from arcfold.jobs.files import InputError, new_folder, write_json
from arcfold.models.folder import read_config
from arcfold.models.weights import WEIGHTS, WEIGHTS_INDEX, check_weights, read_header, stored_tensors, weight_files
from arcfold.pretraining.batches import END, INPUT, NEWLINE, OUTPUT, PAD
from arcfold.pretraining.network import Network, Shape

STATE, OPTIMIZER = "state.json", "optimizer.safetensors"

_UNKNOWN = 15
_MIB = 2**20


def save_model(
    folder: str | Path,
    network: Network,
    *,
    dtype: torch.dtype = torch.bfloat16,
    part_mib: float | None = None,
    state: Mapping[str, Any] | None = None,
    optimizer: Mapping[str, Tensor] | None = None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Writes the folder, whole or not at all, and synced to disk.

    dtype: of the stored weights
    part_mib: largest size of a weights file; more weights go into several, with their index
    state, optimizer: of a training that is to go on
    texts: further files by name, the model card say
    """
    from safetensors.torch import save_file

    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in network.state_dict().items()}
    with new_folder(folder) as temporary:
        _save_weights(temporary, tensors, part_mib)
        config = network.shape.to_config() | {"dtype": str(dtype).removeprefix("torch.")}
        for name, value in {"config.json": config, **_tokenizer_files(network.shape.positions)}.items():
            write_json(temporary / name, value)
        write_json(temporary / "generation_config.json", {"eos_token_id": END, "pad_token_id": PAD, "do_sample": False})
        if state is not None:
            write_json(temporary / STATE, state)
        if optimizer is not None:
            save_file({key: value.contiguous() for key, value in optimizer.items()}, temporary / OPTIMIZER)
        for name, text in (texts or {}).items():
            (temporary / name).write_text(text, encoding="utf-8")
        write_sums(temporary)


def load_network(folder: str | Path, **options: Any) -> Network:
    """The network of a folder, on the CPU, parameters float32. `options` are Network's.

    Raises InputError for a folder that is none, a file that does not match the folder's SHA256SUMS, or a model that
    `Network` does not compute.
    """
    folder = Path(folder)
    check_own_sums(folder)
    config = read_config(folder)
    try:
        shape = Shape.from_config(config)
    except InputError as error:
        raise InputError(f"{folder}/config.json: {error}") from None
    check_weights(folder, config)
    network = Network(shape, **options)
    tensors = {name: value.float() for name, value in _load_weights(folder).items()}
    for name, tensor in network.state_dict().items():
        if name in tensors and tensors[name].shape != tensor.shape:
            raise InputError(
                f"{folder}: {name} has shape {tuple(tensors[name].shape)}, config.json asks for {tuple(tensor.shape)}"
            )
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    if missing or unexpected:
        raise InputError(f"{folder}: the weights lack {missing[:1]} or have {unexpected[:1]}, expected those of Qwen3")
    return network


def load_optimizer(folder: str | Path) -> dict[str, Tensor] | None:
    """The optimizer's state of a checkpoint, if it was kept. Raises InputError for a file that is not whole."""
    from safetensors.torch import load_file

    check_own_sums(Path(folder))
    path = Path(folder) / OPTIMIZER
    if not path.is_file():
        return None
    read_header(path)
    loaded: dict[str, Tensor] = load_file(path)
    return loaded


def _save_weights(folder: Path, tensors: Mapping[str, Tensor], part_mib: float | None) -> None:
    from safetensors.torch import save_file

    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if part_mib is not None and parts[-1] and size + tensor.nbytes > part_mib * _MIB:
            parts.append({})
            size = 0
        parts[-1][name] = tensor
        size += tensor.nbytes
    if len(parts) == 1:
        save_file(parts[0], folder / WEIGHTS, metadata={"format": "pt"})
        return
    index: dict[str, str] = {}
    for number, part in enumerate(parts, start=1):
        file = f"model-{number:05}-of-{len(parts):05}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    write_json(folder / WEIGHTS_INDEX, {"metadata": {"total_size": total}, "weight_map": index})


def _load_weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    stored_tensors(folder)
    return {name: tensor for file in weight_files(folder) for name, tensor in load_file(folder / file).items()}


def _tokenizer_files(positions: int) -> dict[str, Any]:
    """tokenizer.json and tokenizer_config.json of the embedded text format: one token a character."""
    special = {"<eos>": END, "<pad>": PAD, "<unk>": _UNKNOWN}
    vocabulary = {str(digit): digit for digit in range(10)} | {"\n": NEWLINE, "I": INPUT, "O": OUTPUT} | special
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": token, **flags} for token, number in special.items()],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": r"[\s\S]"},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": positions,
        "padding_side": "right",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": settings}

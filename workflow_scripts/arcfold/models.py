"""Base models: the folder that holds one, its tokenizer's ids, its weights, and an adapter on top."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arcfold.devices import lease
from arcfold.files import InputError, hash_of_files, read_json
from arcfold.text import FORMATS, Codec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"


def model_files(folder: str | Path) -> list[str]:
    """The names of the files that make a base model, relative to its folder, sorted.

    Raises InputError if one is missing: config.json, tokenizer.json, and the weights as safetensors
    in one file or in parts with their index. Pickled weights are never read.
    """
    folder = Path(folder)
    needed = ["config.json", "tokenizer.json"]
    if (folder / WEIGHTS_INDEX).is_file():
        parts = read_json(folder / WEIGHTS_INDEX).get("weight_map", {}).values()
        needed += [WEIGHTS_INDEX, *set(parts)]
    else:
        needed.append(WEIGHTS)
    for name in needed:
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name}, expected a model folder with {', '.join(needed)}")
    return sorted(needed)


def model_record(name: str, folder: str | Path, text_format: str) -> dict[str, Any]:
    """What later steps need to know of a base model: its content hash and the ids of its text format.

    Raises InputError for a folder that is none, a tokenizer without the format's tokens, or a
    vocabulary that the ids do not fit.
    """
    files = model_files(folder)
    config = read_json(Path(folder) / "config.json")
    ids = token_ids(folder, text_format)
    if not isinstance(config, dict) or not isinstance(config.get("vocab_size"), int):
        raise InputError(f"{folder}/config.json: no vocab_size, expected the configuration of a causal language model")
    if max(ids.values()) >= config["vocab_size"]:
        raise InputError(f"{folder}: token id {max(ids.values())} with a vocabulary of {config['vocab_size']}")
    return {
        "name": name,
        "hash": hash_of_files(folder, files),
        "format": text_format,
        "token_ids": ids,
        "architecture": config.get("architectures", ["unknown"])[0],
        "positions": config.get("max_position_embeddings"),
    }


def token_ids(folder: str | Path, text_format: str) -> dict[str, int]:
    """The id of each token of the format. Raises InputError for a token that the tokenizer would split."""
    from tokenizers import Tokenizer

    path = Path(folder) / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"{path}: no readable tokenizer ({' '.join(str(error).split())[:120]})") from None
    unknown = _unknown_id(tokenizer)
    ids: dict[str, int] = {}
    for token in FORMATS[text_format].tokens:
        encoded = tokenizer.encode(token, add_special_tokens=False).ids
        if len(encoded) != 1 or encoded[0] == unknown:
            raise InputError(f"{path}: no single token for {token!r}, which the text format {text_format} needs")
        ids[token] = encoded[0]
    return ids


def _unknown_id(tokenizer: Any) -> int | None:
    token = json.loads(tokenizer.to_str())["model"].get("unk_token")
    return None if token is None else tokenizer.token_to_id(token)


def codec_of(record: Mapping[str, Any]) -> Codec:
    """The codec of a base model, from its record."""
    return Codec(FORMATS[record["format"]], record["token_ids"])


def check_length(record: Mapping[str, Any], longest: int, key: str) -> None:
    """Raises InputError when the config asks for longer sequences than the model has positions."""
    if record["positions"] is not None and longest > record["positions"]:
        raise InputError(
            f"config: settings/{key}: {longest}, expected at most {record['positions']}, "
            f"the positions of {record['name']}"
        )


@contextlib.contextmanager
def compute_device(gpus: int, threads: int) -> Iterator[torch.device]:
    """Leases `gpus` devices and readies torch for a job: number of threads, repeatable kernels.

    Load the libraries first (`load_libraries`) and lease then: what takes seconds need not hold a
    device. CUDA reads which devices it may see when it is first used, and no import uses it (`jobs`
    makes torch ask NVML instead); that the lease was in time is checked. Without a GPU the device
    is the CPU.
    """
    import torch

    with lease(gpus) as devices:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        if devices and torch.version.cuda is None:
            log.warning("this torch is built without CUDA: computing on the CPU")
            devices = ()
        if devices and torch.cuda.device_count() < gpus:
            raise InputError(f"devices {', '.join(devices)}: torch sees {torch.cuda.device_count()}, expected {gpus}")
        yield torch.device("cuda" if devices else "cpu")


def load_libraries() -> None:
    """Imports what `load_base` and `with_adapter` use: seconds that a job need not hold a device for."""
    import peft  # noqa: F401
    from transformers import AutoModelForCausalLM  # noqa: F401


def load_base(folder: str | Path, device: torch.device, dtype: str = "auto") -> PreTrainedModel:
    """A causal language model in evaluation mode.

    dtype "auto" is float32 on the CPU and bfloat16 on a GPU. Raises InputError for a folder that
    transformers cannot load.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    if dtype == "auto":
        dtype = "bfloat16" if device.type == "cuda" else "float32"
    model_files(folder)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation="sdpa",
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise InputError(
            f"{folder}: transformers cannot load the model ({' '.join(str(error).split())[:200]})"
        ) from None
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise InputError(f"{folder}: the weights are no readable safetensors ({error})") from None
    return model.to(device).eval()


def with_adapter(base: PreTrainedModel, adapter: str | Path, record: Mapping[str, Any]) -> PreTrainedModel:
    """The base model with an adapter merged into its weights.

    Merged weights decode as fast as the base model. Raises InputError if the adapter was trained on
    another base.
    """
    from peft import PeftModel

    trained_on = read_json(Path(adapter) / "base.json")
    if trained_on["hash"] != record["hash"]:
        raise InputError(
            f"{adapter}: trained on {trained_on['name']} with hash {trained_on['hash'][:12]}, "
            f"expected {record['name']} with hash {record['hash'][:12]}"
        )
    return PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().eval()

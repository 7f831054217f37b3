"""Base models: the folder that holds one, its tokenizer's ids, its weights, and an adapter on top."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arcfold.devices import lease
from arcfold.files import InputError, hash_of_files, read_json
from arcfold.text import FORMATS, Codec, TextFormat

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
TOKENIZER = "tokenizer.json"
SPECIAL = ("bos_token", "eos_token", "pad_token")
"""What a model's files name of the tokens with a role."""

_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
_MODEL_SETTINGS = ("config.json", "generation_config.json")


def model_files(folder: str | Path) -> list[str]:
    """The names of the files that make a base model, relative to its folder, sorted.

    Raises InputError if one is missing: config.json, tokenizer.json, and the weights as safetensors
    in one file or in parts with their index. Pickled weights are never read.
    """
    folder = Path(folder)
    needed = ["config.json", TOKENIZER]
    if (folder / WEIGHTS_INDEX).is_file():
        needed += [WEIGHTS_INDEX, *weight_files(folder)]
    else:
        needed.append(WEIGHTS)
    for name in needed:
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name}, expected a model folder with {', '.join(needed)}")
    return sorted(needed)


def weight_files(folder: str | Path) -> list[str]:
    """The names of the safetensors files of a model folder, sorted; they need not exist."""
    index = Path(folder) / WEIGHTS_INDEX
    if not index.is_file():
        return [WEIGHTS]
    content = read_json(index)
    parts = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(parts, dict) or not all(
        isinstance(part, str) and Path(part).name == part for part in parts.values()
    ):
        raise InputError(f"{index}: no weight_map, expected the name of a file for each tensor")
    return sorted(set(parts.values()))


def read_files(folder: str | Path) -> list[str]:
    """The names of all files of a model folder that are read: `model_files`, and the settings beside them."""
    more = {*_TOKENIZER_SETTINGS, *_MODEL_SETTINGS}
    return sorted({*model_files(folder), *(name for name in more if (Path(folder) / name).is_file())})


def how_to_get(name: str, entry: Mapping[str, Any]) -> str:
    """What a user without the weights of a model can do, as the rest of a line.

    name, entry: of the config's section `models`
    """
    if "path" in entry:
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


def model_record(name: str, folder: str | Path, text_format: str) -> dict[str, Any]:
    """What later steps need to know of a base model: its content hash and the ids of its text format.

    Raises InputError for a folder that is none, a tokenizer without the format's tokens, or a
    vocabulary that the ids do not fit.
    """
    files = model_files(folder)
    config = read_json(Path(folder) / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("vocab_size"), int):
        raise InputError(f"{folder}/config.json: no vocab_size, expected the configuration of a causal language model")
    tokenizer = ModelTokenizer(folder)
    ids = tokenizer.ids(text_format)
    largest = max(*ids.values(), *tokenizer.head)
    if largest >= config["vocab_size"]:
        raise InputError(f"{folder}: token id {largest} with a vocabulary of {config['vocab_size']}")
    return {
        "name": name,
        "hash": hash_of_files(folder, files),
        "format": text_format,
        "token_ids": ids,
        "head": list(tokenizer.head),
        "architecture": config.get("architectures", ["unknown"])[0],
        "positions": config.get("max_position_embeddings"),
    }


def token_ids(folder: str | Path, text_format: str) -> dict[str, int]:
    """The id of each token of the format. Raises InputError for a token that the tokenizer has no single entry for."""
    return ModelTokenizer(folder).ids(text_format)


class ModelTokenizer:
    """What the files of a model say of its tokens. What its tokenizer would merge does not matter here.

    special: the texts of bos_token, eos_token and pad_token, as far as the files name them

    Raises InputError for a tokenizer.json that the tokenizers library cannot read.
    """

    def __init__(self, folder: str | Path) -> None:
        from tokenizers import Tokenizer

        self.path = Path(folder) / TOKENIZER
        try:
            self._tokenizer = Tokenizer.from_file(str(self.path))
        except Exception as error:  # the library raises bare Exception
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{self.path}: no readable tokenizer ({reason})") from None
        self._added = self._tokenizer.get_added_tokens_decoder()
        self._vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
        self._settings = _settings(folder, _TOKENIZER_SETTINGS)
        self.special = self._special_tokens(_settings(folder, _MODEL_SETTINGS))

    def ids(self, text_format: str) -> dict[str, int]:
        """The id of each token of the named format."""
        chosen = FORMATS[text_format]
        found: dict[str, int] = {}
        for token, text in self.texts(chosen).items():
            number = self.id_of(text)
            if number is None:
                meant = "" if text == token else f" (the format's {token!r})"
                raise InputError(
                    f"{self.path}: no single token for {text!r}{meant}, which the text format {text_format} needs"
                )
            found[token] = number
        return found

    def texts(self, text_format: TextFormat) -> dict[str, str]:
        """The text of each token of the format in this model, which may have an end of its own."""
        texts = {token: token for token in text_format.tokens}
        if text_format.end_is_eos:
            texts[text_format.end] = self.special.get("eos_token", text_format.end)
        return texts

    def id_of(self, text: str) -> int | None:
        """The id of the token that stands for exactly this text, in any context; None if there is none.

        "1" is found where the tokenizer merges digits to "12", and where it would mark the start of a
        word ("▁1"); a newline is found as itself, as the byte-level "Ċ" and as the byte "<0x0A>".
        """
        for place, added in self._added.items():
            if added.content == text:
                return int(place)
        names = [text, byte_level(text)]
        if len(text.encode()) == 1:
            names.append(f"<0x{ord(text):02X}>")
        for name in names:
            number = self._vocabulary.get(name)
            # one name can mean different things: "Ċ" is a newline here and a letter there
            if number is not None and self._tokenizer.decode([number], skip_special_tokens=False) == text:
                return int(number)
        return self._id_by_encoding(text)

    def is_special(self, number: int) -> bool:
        """Whether a decoder may leave the token out."""
        return (number in self._added and self._added[number].special) or any(
            self.id_of(text) == number for text in self.special.values()
        )

    def text_of(self, number: int) -> str:
        """The text of an added token, the entry of the vocabulary for another one."""
        return str(self._tokenizer.id_to_token(number))

    @cached_property
    def head(self) -> tuple[int, ...]:
        """The ids that the tokenizer puts in front of every text."""
        head, _ = self._frame
        if not head and self._settings.get("add_bos_token") is True and "bos_token" in self.special:
            number = self.id_of(self.special["bos_token"])
            return () if number is None else (number,)
        return head

    @property
    def tail(self) -> tuple[int, ...]:
        """The ids that the tokenizer puts behind every text."""
        return self._frame[1]

    @cached_property
    def _frame(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        encoded = self._tokenizer.encode("0")
        content = [place for place, special in enumerate(encoded.special_tokens_mask) if not special]
        if not content:
            return (), ()
        return tuple(encoded.ids[: content[0]]), tuple(encoded.ids[content[-1] + 1 :])

    def _special_tokens(self, model_settings: Mapping[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for key in SPECIAL:
            value = self._settings.get(key)
            text = value.get("content") if isinstance(value, dict) else value
            if not isinstance(text, str):
                number = model_settings.get(f"{key}_id")
                number = number[0] if isinstance(number, list) and number else number
                # some configurations say -1 for none
                text = self._tokenizer.id_to_token(number) if isinstance(number, int) and number >= 0 else None
            if text is not None:
                found[key] = text
        return found

    def _id_by_encoding(self, text: str) -> int | None:
        """For a tokenizer whose normalizer renames the text."""
        try:
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        except Exception:  # a word-level model without a token for the unknown raises bare Exception
            return None
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        name = self._tokenizer.id_to_token(ids[0]) if len(ids) == 1 else None
        if name is None or name == unknown:
            return None
        # with the mark of a word's start it is another token than inside a line of cells
        return None if name.startswith(("▁", "Ġ")) else int(ids[0])


def _settings(folder: str | Path, names: tuple[str, ...]) -> dict[str, Any]:
    """The keys of several JSON files of a model, those of an earlier file first."""
    merged: dict[str, Any] = {}
    for name in names:
        if (Path(folder) / name).is_file():
            content = read_json(Path(folder) / name)
            if isinstance(content, dict):
                merged = content | merged
    return merged


def byte_level(text: str) -> str:
    """The text as a byte-level vocabulary has it: a byte as itself if visible, else as a character from 256 on."""
    return "".join(_BYTE_LEVEL[byte] for byte in text.encode())


_VISIBLE = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
_HIDDEN = sorted(set(range(256)) - _VISIBLE)
_BYTE_LEVEL = [chr(byte if byte in _VISIBLE else 256 + _HIDDEN.index(byte)) for byte in range(256)]


def codec_of(record: Mapping[str, Any]) -> Codec:
    """The codec of a base model, from its record."""
    return Codec(FORMATS[record["format"]], record["token_ids"], tuple(record.get("head", ())))


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
        torch.set_deterministic_debug_mode("warn")  # the other switch imports torch's compiler, which takes seconds
        # it would fill every new tensor, a kernel for each, and none is read before it is written
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
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


def torch_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The number type of a name; "auto" is bfloat16 where the device has matrix units for it, else float32."""
    import torch

    if dtype == "auto":
        # a CPU without AMX computes bfloat16 more slowly than float32; torch has no public name for the question
        units = device.type == "cuda" or torch.cpu._is_amx_tile_supported()
        dtype = "bfloat16" if units else "float32"
    made = getattr(torch, dtype)
    assert isinstance(made, torch.dtype)
    return made


def number_type(model: Any) -> str:
    """What a model computes in; quantized weights are of another type."""
    return str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")


def is_quantized(config: Mapping[str, Any], quantization: str) -> bool:
    """Whether a model is computed with quantized weights: by the user's wish, or because its authors stored it so.

    config: of its config.json
    """
    return quantization != "none" or config.get("quantization_config") is not None


def check_quantization(folder: str | Path, quantization: str) -> None:
    """Raises InputError if quantized weights are wished for, or stored, that cannot be computed with here."""
    config = read_json(Path(folder) / "config.json")
    stored = config.get("quantization_config")
    if stored is not None and stored.get("quant_method") != "bitsandbytes":
        raise InputError(
            f"{folder}/config.json: weights quantized with {stored.get('quant_method')}, "
            "expected bitsandbytes' or the original ones"
        )
    if is_quantized(config, quantization) and find_spec("bitsandbytes") is None:
        raise InputError(
            f"{folder}: 4-bit weights need bitsandbytes, which is not installed, expected the environment of "
            "envs/gpu.lock (make ENV=gpu …), or a model with quantization: none"
        )


def one_line(error: BaseException) -> str:
    """What an error of another library says, short enough for a line of ours."""
    return " ".join(str(error).split())[:200]


def load_base(
    folder: str | Path, device: torch.device, dtype: str = "auto", quantization: str = "none"
) -> PreTrainedModel:
    """A causal language model in evaluation mode.

    dtype "auto" is what `torch_dtype` makes of it. quantization "4bit" keeps the layers'
    matrices in bitsandbytes' NF4; a folder whose weights were stored so is loaded so in any case.
    Raises InputError for a folder that transformers cannot load.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    number_type = torch_dtype(dtype, device)
    model_files(folder)
    check_quantization(folder, quantization)
    config = read_json(Path(folder) / "config.json")
    options: dict[str, Any] = {}
    if is_quantized(config, quantization):
        options["device_map"] = {"": device}  # quantized weights are made on their device
    if quantization == "4bit" and "quantization_config" not in config:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=number_type,
        )
    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(
            folder,
            output_loading_info=True,
            dtype=number_type,
            attn_implementation="sdpa",
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            **options,
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise InputError(f"{folder}: transformers cannot load the model ({one_line(error)})") from None
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise InputError(f"{folder}: the weights are no readable safetensors ({error})") from None
    if loaded["missing_keys"]:
        # transformers would go on with random ones
        missing = sorted(loaded["missing_keys"])
        raise InputError(f"{folder}: no weights for {missing[0]}, expected all that config.json speaks of")
    return (model if is_quantized(config, quantization) else model.to(device)).eval()


def with_adapter(base: PreTrainedModel, adapter: str | Path, record: Mapping[str, Any]) -> PreTrainedModel:
    """The base model with an adapter merged into its weights.

    Merged weights decode as fast as the base model. Quantized weights are turned into the 16-bit numbers
    that they stand for, since a merged matrix would be rounded a second time. Raises InputError if the
    adapter was trained on another base.
    """
    from peft import PeftModel

    trained_on = read_json(Path(adapter) / "base.json")
    if trained_on["hash"] != record["hash"]:
        raise InputError(
            f"{adapter}: trained on {trained_on['name']} with hash {trained_on['hash'][:12]}, "
            f"expected {record['name']} with hash {record['hash'][:12]}"
        )
    if getattr(base, "is_quantized", False):
        base = base.dequantize()
    return PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().eval()

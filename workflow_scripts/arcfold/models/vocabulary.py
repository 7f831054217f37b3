"""Cuts a model's vocabulary to what a text format needs: embedding, output head, tokenizer, special ids.

A vocabulary of 150 000 tokens costs a 4 B model a tenth of its weights and most of the time of its output
layer, for the 16 tokens that a prompt of grids holds. Only the rows of the kept tokens stay; the logits of
those tokens are what they were.

The weights are streamed from file to file as bytes: no tensor is decoded, none but the two that are cut
changes, whatever its number type or quantization, and a model larger than memory is cut as well.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from arcfold.arc.text import FORMATS
from arcfold.jobs.files import InputError, new_folder, read_json, write_json
from arcfold.models.folder import model_files, read_config
from arcfold.models.positions import GRID_TOKENS
from arcfold.models.tokenizer import SPECIAL, TOKENIZER, ModelTokenizer, byte_level
from arcfold.models.weights import EMBEDDING, WEIGHTS_INDEX, read_header, stored_tensors, weight_files

VOCABULARY = "vocabulary.json"

HEADS = ("lm_head.weight", "lm_head.bias")
"""Tensors with a row for each token, as Llama, Mistral, Qwen2, Qwen3 and their like name them."""

_FLOATS = ("F64", "F32", "F16", "BF16")
_OF_IDS = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "forced_decoder_ids", "sequence_bias")
"""Settings of generation that speak of ids without saying so in their names."""

_CHUNK = 2**24


@dataclass(frozen=True)
class KeptToken:
    """A token of the cut vocabulary: its text and its id before. Its id now is its place in the order."""

    text: str
    old_id: int
    special: bool


def cut_vocabulary(
    source: str | Path, text_format: str, output: str | Path, origin: Mapping[str, Any] | None = None
) -> None:
    """Writes the folder of a model whose vocabulary has nothing but the format's tokens and those that frame a text.

    source: a model folder in the Hugging Face layout, safetensors in one file or in parts
    origin: where the model comes from, for vocabulary.json

    The folder has config.json, generation_config.json if there was one, tokenizer.json,
    tokenizer_config.json, the weights in as many files as before, and vocabulary.json with the table of
    ids. Raises InputError for a token that the model does not have, an architecture with other names of
    tensors, quantized embeddings, and weights that are no safetensors.
    """
    source = Path(source)
    model_files(source)
    config = read_config(source)
    tokenizer = ModelTokenizer(source)
    kept = kept_tokens(tokenizer, text_format)
    new_ids = {token.old_id: place for place, token in enumerate(kept)}
    stored_tensors(source)
    headers = {name: read_header(source / name) for name in weight_files(source)}
    _check_weights(source, config, headers, max(new_ids))
    with new_folder(output) as folder:
        _write_weights(source, folder, headers, list(new_ids))
        _write_configs(source, folder, config, tokenizer, new_ids)
        _write_tokenizer(folder, tokenizer, text_format, kept, new_ids)
        table = [{"token": token.text, "old_id": token.old_id, "new_id": place} for place, token in enumerate(kept)]
        content = {"format": text_format, "origin": dict(origin or {}), "size_before": config["vocab_size"]}
        write_json(folder / VOCABULARY, content | {"size": len(kept), "tokens": table}, "vocabulary")


def kept_tokens(tokenizer: ModelTokenizer, text_format: str) -> list[KeptToken]:
    """The tokens that stay, in the order of their old ids: NVARC's 16 of Qwen3 get the ids of its published model.

    They are the format's, its padding (or the model's own), and what the tokenizer puts around every text.
    """
    chosen = FORMATS[text_format]
    ids = tokenizer.ids(text_format)
    texts = {ids[token]: text for token, text in tokenizer.texts(chosen).items()}
    padding = chosen.padding or tokenizer.special.get("pad_token")
    if padding is not None:
        number = tokenizer.id_of(padding)
        if number is not None:
            texts.setdefault(number, padding)
        elif chosen.padding is not None:
            raise InputError(
                f"{tokenizer.path}: no single token for {padding!r}, which the text format {text_format} pads with"
            )
    for number in (*tokenizer.head, *tokenizer.tail):
        texts.setdefault(number, tokenizer.text_of(number))
    return [KeptToken(texts[number], number, tokenizer.is_special(number)) for number in sorted(texts)]


def copy_with_rows(source: Path, target: Path, rows: Mapping[str, Sequence[int]]) -> None:
    """Copies a safetensors file; of the tensors that `rows` names, only those rows, in that order."""
    header = read_header(source)
    if not rows.keys() & header.keys():
        shutil.copyfile(source, target)
        return
    metadata = {"__metadata__": header.pop("__metadata__")} if "__metadata__" in header else {}
    names = sorted(header, key=lambda name: header[name]["data_offsets"][0])
    new_header: dict[str, Any] = dict(metadata)
    place = 0
    for name in names:
        tensor = header[name]
        size = tensor["data_offsets"][1] - tensor["data_offsets"][0]
        shape = list(tensor["shape"])
        if name in rows:
            size = size // shape[0] * len(rows[name])
            shape[0] = len(rows[name])
        new_header[name] = {"dtype": tensor["dtype"], "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(new_header, separators=(",", ":")).encode()
    # the format wants its data aligned, and the header filled up with spaces
    text += b" " * (-len(text) % 8)
    with source.open("rb") as old, target.open("wb") as new:
        data = 8 + struct.unpack("<Q", old.read(8))[0]
        new.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            begin, end = header[name]["data_offsets"]
            if name not in rows:
                _copy_bytes(old, new, data + begin, end - begin)
                continue
            width = (end - begin) // header[name]["shape"][0]
            for row in rows[name]:
                _copy_bytes(old, new, data + begin + row * width, width)


def _copy_bytes(old: IO[bytes], new: IO[bytes], begin: int, size: int) -> None:
    old.seek(begin)
    while size:
        chunk = old.read(min(size, _CHUNK))
        if not chunk:
            raise OSError("the file has become shorter while it was read")
        new.write(chunk)
        size -= len(chunk)


def _check_weights(
    source: Path, config: Mapping[str, Any], headers: Mapping[str, Mapping[str, Any]], largest: int
) -> None:
    tensors = {name: tensor for header in headers.values() for name, tensor in header.items()}
    if EMBEDDING not in tensors:
        raise InputError(f"{source}: no tensor {EMBEDDING}, expected a model that names them as Llama and Qwen do")
    if HEADS[0] not in tensors and config.get("tie_word_embeddings") is False:
        raise InputError(f"{source}: no tensor {HEADS[0]}, expected it as config.json has tie_word_embeddings false")
    for name in (EMBEDDING, *HEADS):
        if name not in tensors:
            continue
        dtype, shape = tensors[name]["dtype"], tensors[name]["shape"]
        if dtype not in _FLOATS:
            raise InputError(
                f"{source}: {name} is quantized ({dtype}), expected one of {', '.join(_FLOATS)} "
                "(cut the vocabulary first and quantize then)"
            )
        if shape[0] != config["vocab_size"] or shape[0] <= largest:
            needed = max(config["vocab_size"], largest + 1)
            raise InputError(f"{source}: {name} has {shape[0]} rows, expected {needed}, one for each token")


def _write_weights(
    source: Path, folder: Path, headers: Mapping[str, Mapping[str, Any]], old_ids: Sequence[int]
) -> None:
    rows = dict.fromkeys((EMBEDDING, *HEADS), old_ids)
    for name in headers:
        copy_with_rows(source / name, folder / name, rows)
    if not (source / WEIGHTS_INDEX).is_file():
        return
    new = {name: tensor for file in headers for name, tensor in read_header(folder / file).items()}
    new.pop("__metadata__", None)
    index = read_json(source / WEIGHTS_INDEX)
    metadata = dict(index.get("metadata") or {})
    metadata["total_size"] = sum(tensor["data_offsets"][1] - tensor["data_offsets"][0] for tensor in new.values())
    # what a library counted before would be wrong now
    metadata.pop("total_parameters", None)
    write_json(folder / WEIGHTS_INDEX, index | {"metadata": metadata})


def _write_configs(
    source: Path, folder: Path, config: dict[str, Any], tokenizer: ModelTokenizer, new_ids: Mapping[int, int]
) -> None:
    changed = _with_new_ids(config, new_ids, source / "config.json") | {"vocab_size": len(new_ids)}
    if GRID_TOKENS in config:
        changed[GRID_TOKENS] = {
            kind: [new_ids[number] for number in ids if number in new_ids] for kind, ids in config[GRID_TOKENS].items()
        }
    for key in SPECIAL:
        # a key that is not there stands for the architecture's own default, an id of the old vocabulary
        if f"{key}_id" not in config:
            number = tokenizer.id_of(tokenizer.special[key]) if key in tokenizer.special else None
            changed[f"{key}_id"] = None if number is None else new_ids.get(number)
    write_json(folder / "config.json", changed)
    if (source / "generation_config.json").is_file():
        generation = read_json(source / "generation_config.json")
        kept = {key: value for key, value in generation.items() if key not in _OF_IDS}
        write_json(folder / "generation_config.json", _with_new_ids(kept, new_ids, source / "generation_config.json"))


def _with_new_ids(settings: Mapping[str, Any], new_ids: Mapping[int, int], where: Path) -> dict[str, Any]:
    """The settings with every `…token_id` in the new vocabulary; null for a token that is not kept."""

    def renewed(key: str, value: Any) -> Any:
        numbers = value if isinstance(value, list) else [] if value is None else [value]
        if not all(type(number) is int for number in numbers):
            raise InputError(f"{where}: {key}: expected the id of a token, or a list of them")
        left = [new_ids[number] for number in numbers if number in new_ids]
        return left if len(left) > 1 else left[0] if left else None

    return {key: renewed(key, value) if key.endswith("token_id") else value for key, value in settings.items()}


def _write_tokenizer(
    folder: Path, tokenizer: ModelTokenizer, text_format: str, kept: Sequence[KeptToken], new_ids: Mapping[int, int]
) -> None:
    chosen = FORMATS[text_format]
    ids = {token.text: place for place, token in enumerate(kept)}
    names: dict[str, str | None] = {key: text if text in ids else None for key, text in tokenizer.special.items()}
    end = tokenizer.texts(chosen)[chosen.end]
    names["eos_token"] = names.get("eos_token") or end
    names["pad_token"] = chosen.padding or names.get("pad_token")
    # libraries try a tokenizer with texts of their own when they load it: foreign text may not fail
    names["unk_token"] = names["pad_token"] or end
    # Byte-level, whatever it was before, and without merges: transformers replaces the rest of the tokenizer of
    # some architectures by its own, which must come to the same. Words ("user") are found as added tokens.
    added = [place for place, token in enumerate(kept) if token.special or len(token.text) > 1]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    content: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": place, "content": kept[place].text, **flags, "special": kept[place].special} for place in added
        ],
        "normalizer": None,
        "pre_tokenizer": bytewise,
        "post_processor": _frame(tokenizer, kept, new_ids),
        "decoder": bytewise,
        "model": {
            "type": "BPE",
            "vocab": {
                token.text if place in added else byte_level(token.text): place for place, token in enumerate(kept)
            },
            "merges": [],
            "unk_token": names["unk_token"],
        },
    }
    write_json(folder / TOKENIZER, content)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    write_json(folder / "tokenizer_config.json", settings | dict(sorted(names.items())))


def _frame(tokenizer: ModelTokenizer, kept: Sequence[KeptToken], new_ids: Mapping[int, int]) -> dict[str, Any] | None:
    """What puts the same tokens around a text as the tokenizer does."""
    head, tail = ([kept[new_ids[number]].text for number in part] for part in (tokenizer.head, tokenizer.tail))
    if not head and not tail:
        return None

    def around(*sequences: str) -> list[dict[str, Any]]:
        framed: list[dict[str, Any]] = []
        for kind, name in enumerate(sequences):
            framed += [{"SpecialToken": {"id": text, "type_id": kind}} for text in head]
            framed.append({"Sequence": {"id": name, "type_id": kind}})
            framed += [{"SpecialToken": {"id": text, "type_id": kind}} for text in tail]
        return framed

    ids = {token.text: place for place, token in enumerate(kept)}
    used = {text: {"id": text, "ids": [ids[text]], "tokens": [text]} for text in (*head, *tail)}
    return {"type": "TemplateProcessing", "single": around("A"), "pair": around("A", "B"), "special_tokens": used}

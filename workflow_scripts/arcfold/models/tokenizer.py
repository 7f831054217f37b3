"""What the files of a model say of its tokens: the ids of a text format, and the special tokens.

Nothing is tokenized here. A text format knows the text of each of its tokens; this module finds the one
entry of a vocabulary that stands for it. Take the format's `1` and four tokenizers:

    embedded      "1"           an entry of its own
    Llama 3       "1"           the entry "1", not the "12" that it would merge digits to
    SentencePiece "1"           the entry "1", not "▁1", which starts a word
    byte level    newline       "Ċ", which is how such a vocabulary writes the byte 10
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from arcfold.arc.text import FORMATS, TextFormat
from arcfold.jobs.files import InputError, one_line, read_json

TOKENIZER = "tokenizer.json"
SPECIAL = ("bos_token", "eos_token", "pad_token")
"""What a model's files name of the tokens with a role."""
TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
MODEL_SETTINGS = ("config.json", "generation_config.json")


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
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the library raises bare Exception, and panics of its Rust as BaseException
            raise InputError(f"{self.path}: no readable tokenizer ({one_line(error, 120)})") from None
        self._added = self._tokenizer.get_added_tokens_decoder()
        self._vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
        self._settings = _settings(folder, TOKENIZER_SETTINGS)
        self.special = self._special_tokens(_settings(folder, MODEL_SETTINGS))

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
                text = self._tokenizer.id_to_token(number) if type(number) is int and 0 <= number < 2**32 else None
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
            if not isinstance(content, dict):
                raise InputError(f"{Path(folder) / name}: expected an object with settings")
            merged = content | merged
    return merged


def byte_level(text: str) -> str:
    """The text as a byte-level vocabulary has it: a byte as itself if visible, else as a character from 256 on."""
    return "".join(_BYTE_LEVEL[byte] for byte in text.encode())


_VISIBLE = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
_HIDDEN = sorted(set(range(256)) - _VISIBLE)
_BYTE_LEVEL = [chr(byte if byte in _VISIBLE else 256 + _HIDDEN.index(byte)) for byte in range(256)]

"""Tokenizers with a full vocabulary of the three kinds that the hub's models have, small and made here.

All three merge: "12" and "ABC" are tokens of their own in two of them, so that what a tokenizer makes of a
format's text and the single tokens that a cut vocabulary keeps are different things.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjklmnpqrstuvwxyz"

_WORDS = ["the user asks and the assistant answers", "user", "assistant"]
_CHARACTERS = f"{LETTERS} {LETTERS.lower()} 12 123 1234 56 567 7890 11 22 00 000\n\n1 2\n+/-=O I am a line\n10\n"
TEXT = [*_WORDS, _CHARACTERS] * 20

# as the published tokenizers cut a text before they merge: Qwen's has each digit alone, Llama 3's up to three
_WORD, _REST = r"[^\r\n\p{L}\p{N}]?\p{L}+", r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN = rf"{_WORD}|\p{{N}}|{_REST}"
_LLAMA3 = rf"{_WORD}|\p{{N}}{{1,3}}|{_REST}"


def _byte_level(pattern: str, size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def _begins_with(tokenizer: Tokenizer, text: str) -> None:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{text} $A", pair=f"{text} $A {text} $B", special_tokens=[(text, tokenizer.token_to_id(text))]
    )


@cache
def qwen() -> Tokenizer:
    """Byte-level BPE without a begin-of-text token, chat marks among the added tokens."""
    tokenizer = _byte_level(_QWEN, 400)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False)])
    return tokenizer


@cache
def llama3() -> Tokenizer:
    """Byte-level BPE that merges digits, a begin-of-text token in front of every text, two tokens that end one."""
    tokenizer = _byte_level(_LLAMA3, 400)
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|eot_id|>"])
    _begins_with(tokenizer, "<|begin_of_text|>")
    return tokenizer


@cache
def sentencepiece() -> Tokenizer:
    """Llama 2's and Mistral's kind: no newline but as a byte, "▁" for spaces and in front of every text."""
    special = ["<unk>", "<s>", "</s>"]
    characters = ["▁", "Ċ", *LETTERS, *"IOio0123456789+/-=.,"]
    merges = [("▁", letter) for letter in "AI1+"] + [("1", "2"), ("A", "B"), ("AB", "C")]
    names = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *("".join(pair) for pair in merges), *characters]
    tokenizer = Tokenizer(
        models.BPE(
            {name: number for number, name in enumerate(names)},
            merges,
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(special)
    _begins_with(tokenizer, "<s>")
    return tokenizer


SPECIAL: dict[str, dict[str, str]] = {
    "qwen": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    "llama3": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|finetune_right_pad_id|>"},
    "sentencepiece": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
}

KINDS = {"qwen": qwen, "llama3": llama3, "sentencepiece": sentencepiece}


def save_tokenizer(kind: str, folder: Path) -> Any:
    """Writes tokenizer.json and tokenizer_config.json; returns the tokenizer that transformers has of it."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=KINDS[kind](), **SPECIAL[kind])
    tokenizer.save_pretrained(folder)
    return tokenizer

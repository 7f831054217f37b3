"""The token sequences of each text format, written by hand, and the ids that the models' tokenizers have for them."""

import pytest
from made_tasks import grid, task
from made_tokenizers import KINDS, SPECIAL, save_tokenizer
from shipped import ROOT
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from arcfold.arc.text import FORMATS, Codec, codec_with_own_ids
from arcfold.jobs.files import InputError, write_json
from arcfold.models.base import codec_of
from arcfold.models.tokenizer import ModelTokenizer, token_ids

TASK = task("a", [("12 30", "4"), ("5", "67")], [("89 89", None)])
LETTERS = [*"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjklmnpqrstuvwxyz"]


def tokens(codec, ids):
    names = {number: token for token, number in codec.ids.items()}
    return [names[number] for number in ids]


def spelled(text):
    """Tokens between spaces; "/n" is a newline."""
    return ["\n" if token == "/n" else token for token in text.split()]


PROMPTS = {
    "embedded": spelled("I 1 2 /n 3 0 /n O 4 /n <eos> I 5 /n O 6 7 /n <eos> I 8 9 /n 8 9 /n O"),
    "architects": LETTERS
    + spelled("I 1 2 /n 3 0 /n + / - = O 4 /n </s> I 5 /n + / - = O 6 7 /n </s> I 8 9 /n 8 9 /n + / - = O"),
    "nvarc": spelled(
        "<|im_start|> user /n 1 2 /n 3 0 <|im_end|> <|im_start|> assistant /n 4 <|im_end|> "
        "<|im_start|> user /n 5 <|im_end|> <|im_start|> assistant /n 6 7 <|im_end|> "
        "<|im_start|> user /n 8 9 /n 8 9 <|im_end|> <|im_start|> assistant /n"
    ),
}
REPLIES = {
    "embedded": spelled("4 3 /n 2 1 /n <eos>"),
    "architects": spelled("4 3 /n 2 1 /n </s>"),
    "nvarc": spelled("4 3 /n 2 1 <|im_end|>"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_prompt_has_exactly_these_tokens(name):
    codec = codec_with_own_ids(name)
    assert tokens(codec, codec.prompt(TASK, 0, 10**4)) == PROMPTS[name]
    assert tokens(codec, codec.reply(grid("43 21"))) == REPLIES[name]
    assert codec.decode(codec.reply(grid("43 21"))) == grid("43 21")


def test_the_architects_letters_are_the_alphabet_twice_without_what_opens_a_grid():
    assert len(LETTERS) == 48
    assert FORMATS["architects"].start == tuple(LETTERS)
    assert not {"I", "O", "i", "o"} & set(LETTERS)


def test_nvarcs_vocabulary_has_16_tokens_with_its_padding():
    nvarc = FORMATS["nvarc"]
    assert nvarc.padding == "<|endoftext|>"
    assert len({*nvarc.tokens, nvarc.padding}) == 16


def test_the_largest_reply_has_a_token_for_each_cell_and_newline_and_its_end():
    assert [FORMATS[name].longest_reply for name in ("embedded", "architects", "nvarc")] == [931, 931, 930]


def folder_with(tmp_path, kind):
    save_tokenizer(kind, tmp_path)
    return tmp_path


@pytest.mark.parametrize(("kind", "end"), [("llama3", "<|eot_id|>"), ("sentencepiece", "</s>"), ("qwen", "<|im_end|>")])
def test_the_architects_replies_end_with_the_models_own_end_of_sequence(tmp_path, kind, end):
    ids = token_ids(folder_with(tmp_path, kind), "architects")
    assert ids["</s>"] == KINDS[kind]().token_to_id(end)


def test_the_end_of_sequence_may_stand_in_any_file_of_the_model(tmp_path):
    folder = folder_with(tmp_path, "llama3")
    numbers = {text: KINDS["llama3"]().token_to_id(text) for text in ("<|eot_id|>", "<|end_of_text|>")}
    (folder / "tokenizer_config.json").unlink()
    # a list begins with the one that ends a text
    write_json(folder / "config.json", {"eos_token_id": [numbers["<|end_of_text|>"], numbers["<|eot_id|>"]]})
    assert token_ids(folder, "architects")["</s>"] == numbers["<|end_of_text|>"]
    write_json(folder / "special_tokens_map.json", {"eos_token": {"content": "<|eot_id|>", "special": True}})
    assert token_ids(folder, "architects")["</s>"] == numbers["<|eot_id|>"]
    write_json(folder / "tokenizer_config.json", {"eos_token": "<|end_of_text|>"})
    assert token_ids(folder, "architects")["</s>"] == numbers["<|end_of_text|>"]


def test_a_model_that_names_no_end_needs_the_formats_own(tmp_path):
    folder = folder_with(tmp_path, "qwen")
    (folder / "tokenizer_config.json").unlink()
    write_json(folder / "config.json", {"eos_token_id": None, "pad_token_id": -1})
    with pytest.raises(InputError, match=r"no single token for '</s>', which the text format architects needs"):
        token_ids(folder, "architects")
    assert ModelTokenizer(folder).special == {}


def test_an_end_that_the_tokenizer_does_not_know_is_named_with_its_role(tmp_path):
    folder = folder_with(tmp_path, "qwen")
    write_json(folder / "tokenizer_config.json", {"eos_token": "<stop>"})
    with pytest.raises(InputError, match=r"no single token for '<stop>' \(the format's '</s>'\), which"):
        token_ids(folder, "architects")


@pytest.mark.parametrize("kind", KINDS)
def test_single_digits_letters_and_the_newline_are_found_in_every_kind_of_vocabulary(tmp_path, kind):
    tokenizer = KINDS[kind]()
    ids = token_ids(folder_with(tmp_path, kind), "architects")
    newline = "<0x0A>" if kind == "sentencepiece" else "Ċ"
    for token in "0123456789AzIO+/-=":
        assert tokenizer.id_to_token(ids[token]) == token
    assert tokenizer.id_to_token(ids["\n"]) == newline


def test_a_letter_that_looks_like_the_byte_level_newline_is_none(tmp_path):
    tokenizer = ModelTokenizer(folder_with(tmp_path, "sentencepiece"))
    assert KINDS["sentencepiece"]().token_to_id("Ċ") not in (None, tokenizer.id_of("\n"))
    assert tokenizer.id_of("Ċ") == KINDS["sentencepiece"]().token_to_id("Ċ")


@pytest.mark.parametrize("kind", ["llama3", "sentencepiece"])
def test_nvarcs_format_needs_the_chat_marks_of_qwen(tmp_path, kind):
    with pytest.raises(InputError, match=r"no single token for '.+', which the text format nvarc needs"):
        token_ids(folder_with(tmp_path, kind), "nvarc")


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_begins_with_what_the_tokenizer_puts_in_front_of_every_text(tmp_path, kind):
    tokenizer = ModelTokenizer(folder_with(tmp_path, kind))
    begin = SPECIAL[kind].get("bos_token")
    head = (KINDS[kind]().token_to_id(begin),) if begin else ()
    assert tokenizer.head == head
    record = {"format": "architects", "token_ids": tokenizer.ids("architects"), "head": list(head)}
    codec, without = codec_of(record), Codec(FORMATS["architects"], record["token_ids"])
    assert codec.prompt(TASK, 0, 10**4) == (*head, *without.prompt(TASK, 0, 10**4))
    assert codec.reply(grid("1")) == without.reply(grid("1"))
    demonstrations = codec.demonstrations(TASK.train)
    assert demonstrations.ids == (*head, *without.demonstrations(TASK.train).ids)
    for output, other in zip(demonstrations.outputs, without.demonstrations(TASK.train).outputs, strict=True):
        assert (output.start, output.stop) == (other.start + len(head), other.stop + len(head))


def test_the_head_counts_when_a_prompt_is_cut_to_its_limit():
    own = codec_with_own_ids("embedded")
    codec = Codec(own.format, own.ids, (99,))
    exact = len(codec.prompt(TASK, 0, 10**4)) + 931
    assert codec.prompt(TASK, 0, exact)[:1] == (99,)
    assert len(codec.prompt(TASK, 0, exact - 1)) < len(codec.prompt(TASK, 0, exact))
    alone = 1 + len(codec.question(TASK.test[0].input)) + 931
    with pytest.raises(InputError, match=f"needs {alone} tokens without any demonstration"):
        codec.prompt(TASK, 0, alone - 1)


def test_a_setting_may_ask_for_the_begin_of_text_that_the_tokenizer_does_not_write_itself(tmp_path):
    folder = folder_with(tmp_path, "qwen")
    write_json(folder / "tokenizer_config.json", {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"})
    assert ModelTokenizer(folder).head == ()
    write_json(folder / "tokenizer_config.json", {"bos_token": "<|endoftext|>", "add_bos_token": True})
    assert ModelTokenizer(folder).head == (KINDS["qwen"]().token_to_id("<|endoftext|>"),)


def test_nothing_stands_in_front_of_the_embedded_models_prompts():
    assert ModelTokenizer(ROOT / "resources" / "base-15m").head == ()


def test_the_published_models_of_nvarc_are_read_as_they_are(tmp_path):
    """A word-level vocabulary of 16 tokens with a byte-level newline, in the order of Qwen3's ids."""
    names = [*"0123456789", "Ċ", "user", "assistant", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, "<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\d|\n"), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(names[13:])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ids = token_ids(tmp_path, "nvarc")
    assert ids == {str(digit): digit for digit in range(10)} | {
        "\n": 10,
        "user": 11,
        "assistant": 12,
        "<|im_start|>": 14,
        "<|im_end|>": 15,
    }
    codec = Codec(FORMATS["nvarc"], ids)
    assert codec.prompt(TASK, 0, 10**4)[:9] == (14, 11, 10, 1, 2, 10, 3, 0, 15)
    assert list(codec.prompt(TASK, 0, 10**4)) == tokenizer.encode("".join(PROMPTS["nvarc"])).ids


@pytest.mark.parametrize(
    ("begin", "end"), [("<s>", "</s>"), ("<|begin_of_text|>", "<|eot_id|>")], ids=["8 B Minitron", "3 B Llama"]
)
def test_the_published_models_of_the_architects_are_read_as_they_are(tmp_path, begin, end):
    """Byte-level BPE without merges: the kept characters in the order of their old ids, and what frames a text."""
    characters = sorted("IOio0123456789!?.:,;*+/-=" + "".join(LETTERS))
    names = [begin, end, *characters, "Ċ"]
    tokenizer = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([begin, end])
    tokenizer.post_processor = processors.TemplateProcessing(f"{begin} $A", f"{begin} $A $B", [(begin, 0)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    write_json(tmp_path / "tokenizer_config.json", {"bos_token": begin, "eos_token": end})
    found = ModelTokenizer(tmp_path)
    codec = codec_of({"format": "architects", "token_ids": found.ids("architects"), "head": list(found.head)})
    text = "".join(PROMPTS["architects"]).replace("</s>", end)
    assert list(codec.prompt(TASK, 0, 10**4)) == tokenizer.encode(text).ids
    assert codec.prompt(TASK, 0, 10**4)[0] == 0
    assert codec.end == 1

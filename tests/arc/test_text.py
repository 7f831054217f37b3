import re
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_tasks import grid, grids, square, task, tasks
from shipped import ROOT
from tokenizers import Tokenizer

from arcfold.arc.tasks import Pair, Task
from arcfold.arc.text import FORMATS, Codec, codec_with_own_ids
from arcfold.jobs.files import InputError

EMBEDDED = Tokenizer.from_file(str(ROOT / "resources/base-15m/tokenizer.json"))
CODECS = {name: codec_with_own_ids(name) for name in FORMATS}


def written(codec, ids):
    """The text that the ids stand for."""
    tokens = {number: token for token, number in codec.ids.items()}
    return "".join(tokens[number] for number in ids)


def rows(cells):
    return "\n".join("".join(map(str, row)) for row in cells)


# What the models' authors say of a pair, as text: up to where the reply begins, and the reply.
START = {"embedded": "", "architects": "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjklmnpqrstuvwxyz", "nvarc": ""}
QUESTION = {
    "embedded": lambda g: f"I{rows(g)}\nO",
    "architects": lambda g: f"I{rows(g)}\n+/-=O",
    "nvarc": lambda g: f"<|im_start|>user\n{rows(g)}<|im_end|><|im_start|>assistant\n",
}
REPLY = {
    "embedded": lambda g: f"{rows(g)}\n<eos>",
    "architects": lambda g: f"{rows(g)}\n</s>",
    "nvarc": lambda g: f"{rows(g)}<|im_end|>",
}


def prompt_text(name, made, test, kept):
    pairs = "".join(QUESTION[name](p.input) + REPLY[name](p.output) for p in made.train[:kept])
    return START[name] + pairs + QUESTION[name](made.test[test].input)


@pytest.mark.parametrize("name", FORMATS)
@given(made=tasks(), data=st.data())
def test_a_prompt_is_the_text_that_the_format_says(name, made, data):
    test = data.draw(st.integers(0, len(made.test) - 1))
    codec = CODECS[name]
    assert written(codec, codec.prompt(made, test, 10**6)) == prompt_text(name, made, test, len(made.train))
    assert written(codec, codec.reply(made.test[test].output)) == REPLY[name](made.test[test].output)


@given(made=tasks())
def test_the_embedded_format_is_what_the_models_own_tokenizer_makes_of_the_text(made):
    codec = Codec(FORMATS["embedded"], EMBEDDED.get_vocab())
    text = prompt_text("embedded", made, 0, len(made.train))
    assert list(codec.prompt(made, 0, 10**6)) == EMBEDDED.encode(text).ids
    output = made.test[0].output
    assert codec.reply(output) == EMBEDDED.encode(REPLY["embedded"](output)).ids
    assert codec.end == EMBEDDED.token_to_id("<eos>")


@pytest.mark.parametrize("name", FORMATS)
@given(cells=grids())
def test_decode_undoes_reply(name, cells):
    assert CODECS[name].decode(CODECS[name].reply(cells)) == cells


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_a_reply_that_decodes_is_the_only_reply_of_its_grid(name, data):
    codec = CODECS[name]
    common = [codec.ids[token] for token in ("0", "7", "\n")]
    body = data.draw(st.lists(st.sampled_from(common) | st.integers(0, len(codec.ids) - 1), max_size=9))
    tail = codec.reply(grid("0"))[1:]
    for ids in (body, body + tail):
        cells = codec.decode(ids)
        assert cells is None or codec.reply(cells) == ids


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_a_reply_is_a_grid_if_its_text_is_a_rectangle_of_digits(name, data):
    codec = CODECS[name]
    tail = REPLY[name](grid("0"))[1:]
    common = [codec.ids[token] for token in ("0", "1", "9", "\n")]
    ids = data.draw(
        st.lists(st.sampled_from(common), max_size=12) | st.lists(st.sampled_from(list(codec.ids.values())))
    )
    ids = data.draw(st.sampled_from([ids, [*ids, *codec.reply(grid("0"))[1:]]]))
    text = written(codec, ids)
    lines = text[: -len(tail)].split("\n")
    rectangle = re.fullmatch("[0-9\n]+", text[: -len(tail)]) and {len(line) for line in lines} == {len(lines[0])} != {0}
    small = len(lines) <= 30 and len(lines[0]) <= 30
    expected = tuple(tuple(map(int, line)) for line in lines) if rectangle and small and text.endswith(tail) else None
    assert codec.decode(ids) == expected


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "text",
    ["", "\n", "12\n3", "12\n3\n", "\n1", "1\n\n2", "1\n", "\n".join(["1"] * 31), "1" * 31],
)
def test_a_ragged_empty_large_or_foreign_reply_is_no_grid(name, text):
    codec = CODECS[name]
    tail = codec.reply(grid("0"))[1:]
    assert codec.decode([*(codec.ids[token] for token in text), *tail]) is None
    foreign = codec.ids[codec.format.before_input[0]]
    assert codec.decode([codec.ids["1"], foreign, *tail]) is None


@pytest.mark.parametrize("name", ["embedded", "architects"])
def test_a_reply_whose_last_row_has_no_end_is_no_grid(name):
    codec = CODECS[name]
    assert codec.decode([codec.ids["1"], codec.ids["2"], codec.end]) is None


@pytest.mark.parametrize("name", FORMATS)
def test_a_reply_without_its_end_is_no_grid(name):
    reply = CODECS[name].reply(grid("12 34"))
    for length in range(len(reply)):
        assert CODECS[name].decode(reply[:length]) is None


def test_the_longest_reply_of_the_embedded_format_has_931_tokens():
    assert CODECS["embedded"].longest_reply == 931
    for codec in CODECS.values():
        assert codec.longest_reply == len(codec.reply(square(30)))


@pytest.mark.parametrize("name", FORMATS)
@given(made=tasks(longest=8), room=st.integers(0, 400), data=st.data())
def test_a_long_prompt_loses_last_demonstrations_and_never_a_bit_of_the_test_input(name, made, room, data):
    codec = CODECS[name]
    test = data.draw(st.integers(0, len(made.test) - 1))
    longest = codec.longest_reply + room

    def length(kept):
        pairs = [codec.question(p.input) + codec.reply(p.output) for p in made.train[:kept]]
        return len(codec.format.start) + sum(map(len, pairs)) + len(codec.question(made.test[test].input))

    fitting = [kept for kept in range(len(made.train) + 1) if length(kept) + codec.longest_reply <= longest]
    if not fitting:
        with pytest.raises(InputError, match=rf"task {made.id}, test\[{test}\]: the prompt needs") as error:
            codec.prompt(made, test, longest)
        assert f"needs {length(0) + codec.longest_reply} tokens" in str(error.value)
        assert f"at most {longest} (search/longest)" in str(error.value)
    else:
        assert written(codec, codec.prompt(made, test, longest)) == prompt_text(name, made, test, max(fitting))


@pytest.mark.parametrize("name", FORMATS)
@given(made=tasks())
def test_outputs_are_marked_from_their_first_cell_to_the_end_of_the_reply(name, made):
    codec = CODECS[name]
    encoded = codec.demonstrations(made.train)
    expected = [False] * len(codec.format.start)
    for pair in made.train:
        expected += [False] * len(codec.question(pair.input)) + [True] * len(codec.reply(pair.output))
    in_output = {place for output in encoded.outputs for place in range(output.start, output.stop)}
    assert [place in in_output for place in range(len(encoded.ids))] == expected
    assert len(encoded.ids) == len(expected)


@given(made=tasks())
def test_the_longest_prompt_is_that_of_the_longest_test_input(made):
    codec = CODECS["embedded"]
    assert codec.longest_prompt(made) == max(len(codec.prompt(made, test, 10**6)) for test in range(len(made.test)))


@pytest.mark.parametrize(
    ("dataset", "published"), [("arc1_training", 770), ("arc1_evaluation", 1210), ("arc2_evaluation", 2260)]
)
def test_prompts_have_the_published_median_length(arc, dataset, published):
    lengths = [len(CODECS["embedded"].prompt(t, 0, 10**6)) for t in arc[dataset]]
    assert statistics.median(lengths) == pytest.approx(published, rel=0.02)


def test_the_longest_prompt_of_arc_has_the_published_length(arc):
    longest = max(CODECS["embedded"].longest_prompt(t) for made in arc.values() for t in made)
    assert longest == pytest.approx(8390, rel=0.002)
    assert longest + 931 == pytest.approx(9320, rel=0.002)


def test_every_task_of_arc_fits_without_losing_its_test_input(arc):
    for made in arc["arc2_evaluation"]:
        for test in range(len(made.test)):
            prompt = CODECS["embedded"].prompt(made, test, 8192)
            question = CODECS["embedded"].question(made.test[test].input)
            assert len(prompt) + 931 <= 8192
            assert list(prompt[-len(question) :]) == question


def test_a_missing_token_is_named():
    ids = dict(CODECS["embedded"].ids)
    del ids["O"]
    with pytest.raises(InputError, match="no single token for 'O'"):
        Codec(FORMATS["embedded"], ids)


def test_a_prompt_knows_nothing_of_the_tests_outputs():
    solved = task("a", [("1", "2")], [("3", "4"), ("5", "6")])
    hidden = Task("a", solved.train, tuple(Pair(pair.input) for pair in solved.test))
    for codec in CODECS.values():
        assert codec.prompt(solved, 1, 10**6) == codec.prompt(hidden, 1, 10**6)

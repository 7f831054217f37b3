"""Between grids and token ids, in the text format that a base model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from arcfold.arc.tasks import LONGEST_SIDE, N_COLOURS, Grid, Pair, Task, grid_problem
from arcfold.jobs.files import InputError

NEWLINE = "\n"


@dataclass(frozen=True)
class TextFormat:
    """How a pair is written. Rows are joined by a newline; a cell is its digit, one token.

    start: tokens once at the head of a prompt
    before_input, after_input: tokens around the input's rows; the second ends where a reply begins
    after_output: tokens behind the output's rows; the last one ends the reply
    padding: a token that the format's models pad with; it stands in no prompt
    end_is_eos: the reply ends with the model's own end-of-sequence token, whatever its text is; the
        last of `after_output` is then only its name here
    opening: the markers that open a grid, where the format's tokens have three positions, the number of the grid,
        the row and the column (`models.positions`); () where they have none
    """

    start: tuple[str, ...]
    before_input: tuple[str, ...]
    after_input: tuple[str, ...]
    after_output: tuple[str, ...]
    padding: str | None = None
    end_is_eos: bool = False
    opening: tuple[str, ...] = ()

    @property
    def end(self) -> str:
        return self.after_output[-1]

    @property
    def longest_reply(self) -> int:
        """Tokens of the reply with the largest grid; 931 in the embedded model's format."""
        return LONGEST_SIDE * LONGEST_SIDE + LONGEST_SIDE - 1 + len(self.after_output)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every token that stands in a prompt or a reply, each once."""
        digits = tuple(str(colour) for colour in range(N_COLOURS))
        used = (*digits, NEWLINE, *self.start, *self.before_input, *self.after_input, *self.after_output)
        return tuple(dict.fromkeys(used))


_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjklmnpqrstuvwxyz"

FORMATS: dict[str, TextFormat] = {
    # the embedded model's card
    "embedded": TextFormat((), ("I",), (NEWLINE, "O"), (NEWLINE, "<eos>"), end_is_eos=True, opening=("I", "O")),
    # the ARChitects' 2024 models: letters once at the start (neither I nor O, neither i nor o), then I…, +/-=O…;
    # the end is </s> in the 8 B model (Mistral-NeMo-Minitron) and another one in the 3 B model (Llama 3.2)
    "architects": TextFormat(
        tuple(_LETTERS),
        ("I",),
        (NEWLINE, "+", "/", "-", "=", "O"),
        (NEWLINE, "</s>"),
        end_is_eos=True,
        opening=("I", "O"),
    ),
    # NVARC 2025, Qwen3 with 16 tokens: a chat turn for each grid, and no newline between turns; its newline ends a
    # marker too, so that a token alone does not say where a row ends
    "nvarc": TextFormat(
        (),
        ("<|im_start|>", "user", NEWLINE),
        ("<|im_end|>", "<|im_start|>", "assistant", NEWLINE),
        ("<|im_end|>",),
        padding="<|endoftext|>",
    ),
}


@dataclass(frozen=True)
class Encoded:
    """Token ids, and where the outputs stand (their rows and what ends them)."""

    ids: tuple[int, ...]
    outputs: tuple[slice, ...]


@dataclass(frozen=True)
class Codec:
    """A text format with the token ids of one model's tokenizer.

    head: ids that the tokenizer puts in front of every text (Llama's and Mistral's begin-of-text token)
    """

    format: TextFormat
    ids: Mapping[str, int]
    head: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        missing = [token for token in self.format.tokens if token not in self.ids]
        if missing:
            raise InputError(f"the tokenizer has no single token for {missing[0]!r}, which the text format needs")

    @property
    def end(self) -> int:
        """The id that ends a reply."""
        return self.ids[self.format.end]

    @property
    def longest_reply(self) -> int:
        return self.format.longest_reply

    def grid_tokens(self) -> dict[str, list[int]] | None:
        """The ids of the cells, of what ends a row and of what opens a grid; None where tokens have one position."""
        if not self.format.opening:
            return None
        return {"cells": self._cells, "row_end": [self.ids[NEWLINE]], "opening": self._ids(self.format.opening)}

    @cached_property
    def _cells(self) -> list[int]:
        """The id of each colour."""
        return self._ids([str(colour) for colour in range(N_COLOURS)])

    @cached_property
    def _bytes(self) -> dict[int, int]:
        """For each id that stands in a grid its byte: the colour, or the newline, which is no colour."""
        return {**{number: colour for colour, number in enumerate(self._cells)}, self.ids[NEWLINE]: ord(NEWLINE)}

    @cached_property
    def _start(self) -> list[int]:
        return [*self.head, *self._ids(self.format.start)]

    def _ids(self, tokens: Sequence[str]) -> list[int]:
        return [self.ids[token] for token in tokens]

    def _rows(self, grid: Grid) -> list[int]:
        made: list[int] = []
        for row in grid:
            made += map(self._cells.__getitem__, row)
            made.append(self.ids[NEWLINE])
        made.pop()
        return made

    def question(self, grid: Grid) -> list[int]:
        """The ids from the head of a pair to the place where its reply begins."""
        return [*self._ids(self.format.before_input), *self._rows(grid), *self._ids(self.format.after_input)]

    def reply(self, grid: Grid) -> list[int]:
        """The ids of the reply that is this grid, the end included."""
        return [*self._rows(grid), *self._ids(self.format.after_output)]

    def decode(self, reply: Sequence[int]) -> Grid | None:
        """The grid of a reply's ids; None if they are no grid (ragged, empty, over 30 × 30, foreign tokens).

        encode and decode are inverse to each other, so that one grid has one reply.
        """
        tail = self._ids(self.format.after_output)
        if list(reply[len(reply) - len(tail) :]) != tail:
            return None
        try:
            body = bytes(map(self._bytes.__getitem__, reply[: len(reply) - len(tail)]))
        except KeyError:  # a token that stands in no grid
            return None
        rows = tuple(map(tuple, body.split(NEWLINE.encode())))
        return None if grid_problem(rows) else rows

    def demonstrations(self, pairs: Sequence[Pair]) -> Encoded:
        """The head of a prompt with these pairs, every output known."""
        ids = list(self._start)
        outputs = []
        for pair in pairs:
            assert pair.output is not None
            ids += self.question(pair.input)
            begin = len(ids)
            ids += self.reply(pair.output)
            outputs.append(slice(begin, len(ids)))
        return Encoded(tuple(ids), tuple(outputs))

    def prompt(self, task: Task, test_index: int, longest: int) -> tuple[int, ...]:
        """The ids of all demonstrations and one test input, up to the place where the reply begins.

        A prompt that, with the longest reply, exceeds `longest` tokens loses demonstrations,
        last first; the test input is never cut. Raises InputError if it does not fit alone.
        """
        question = self.question(task.test[test_index].input)
        for kept in range(len(task.train), -1, -1):
            head = self.demonstrations(task.train[:kept]).ids
            if len(head) + len(question) + self.longest_reply <= longest:
                return (*head, *question)
        needed = len(self._start) + len(question) + self.longest_reply
        raise InputError(
            f"task {task.id}, test[{test_index}]: the prompt needs {needed} tokens without any demonstration, "
            f"expected at most {longest} (search/longest)"
        )

    def longest_prompt(self, task: Task) -> int:
        """Tokens of all demonstrations and the test input that makes the longest prompt."""
        head = len(self.demonstrations(task.train).ids)
        return head + max(len(self.question(pair.input)) for pair in task.test)


def codec_with_own_ids(name: str) -> Codec:
    """A format with ids in the order of its tokens: enough to measure lengths without any model."""
    text_format = FORMATS[name]
    return Codec(text_format, {token: index for index, token in enumerate(text_format.tokens)})

"""What a fold has to do, counted before anything runs: steps and tokens of its training, prompts of its search.

Tokens are counted from the sizes of grids, exactly as training and search will see them: a view's colours change no
length, and its symmetry exchanges rows and columns or does not. Of 2 × 9 cells a grid has 1 newline lying, 8 upright.

    a task with samples of 700 tokens lying and 720 upright, 8 views, 6 epochs
    samples     48, of which 24 lie: 34,080 tokens
    steps       12 of 4 samples

What is not known before is how long replies are and how many are found. A reply's length is guessed from the
demonstrations (`expected_reply`); how many tokens are run for each of it is a device's and a model's rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from arcfold.arc.lengths import unsearchable, untrainable
from arcfold.arc.tasks import Grid, Pair, Task
from arcfold.arc.text import Codec
from arcfold.arc.views import View, draw_views, generator

UPRIGHT = frozenset({"rotate90", "rotate270", "transpose", "anti_transpose"})
"""The symmetries that exchange rows and columns."""


@dataclass(frozen=True)
class TrainingWork:
    """The optimizer steps of a fold and the samples in them."""

    steps: int = 0
    samples: int = 0
    tokens: int = 0
    squares: int = 0
    """Sum of the squares of the samples' tokens: what attention costs grows with it."""
    longest: int = 0
    """Tokens of the largest sample."""


@dataclass(frozen=True)
class PromptWork:
    """The prompts of a fold's search or rescoring, each a test input in one view."""

    inputs: int = 0
    """Test inputs that can be searched."""
    prompts: int = 0
    tokens: int = 0
    """Of the prompts alone."""
    squares: int = 0
    reply_tokens: float = 0.0
    """Of the replies that are expected, one for each prompt."""
    longest_reply: float = 0.0
    """The largest of them."""
    longest: int = 0
    """Tokens of the largest prompt."""


LARGEST = ("longest", "longest_reply")
"""What of works does not add up."""
Work = TypeVar("Work", TrainingWork, PromptWork)


def total(works: Iterable[Work], kind: type[Work]) -> Work:
    """The sum of some works; of `LARGEST` the largest."""
    listed = [asdict(work) for work in works]
    values: dict[str, Any] = {field.name: sum(work[field.name] for work in listed) for field in fields(kind)}
    largest = {name: max((work[name] for work in listed), default=0) for name in LARGEST if name in values}
    return kind(**values | largest)


class Lengths:
    """The tokens of a task's grids in a text format, lying and upright."""

    def __init__(self, task: Task, codec: Codec) -> None:
        self.task = task
        self.start = len(codec.demonstrations([]).ids)
        self.longest_reply = codec.longest_reply
        self._around = len(codec.question(((0,),))) - 1, len(codec.reply(((0,),))) - 1
        self._pairs = [self._both(pair) for pair in task.train]
        self._questions = [tuple(self._question(grid) for grid in (p.input, _turned(p.input))) for p in task.test]

    def sample(self, view: View, longest: int, pairs: int | None = None) -> int:
        """Tokens of the training sample in a view: demonstrations from the front, `pairs` at most, while they fit."""
        return self.start + self._kept(view, longest - self.start, pairs)

    def prompt(self, test: int, view: View, longest: int) -> int:
        """Tokens of a test input's prompt in a view; demonstrations are left out from the end until all fits."""
        question = self._questions[test][view.symmetry in UPRIGHT]
        return self.start + question + self._kept(view, longest - self.start - question - self.longest_reply)

    def reply(self, grid: Grid) -> int:
        """Tokens of the reply that is this grid."""
        return self._around[1] + _cells(grid)

    def _kept(self, view: View, room: int, pairs: int | None = None) -> int:
        upright = view.symmetry in UPRIGHT
        used = 0
        for place in view.order[:pairs]:
            used += (more := self._pairs[place][upright])
            if used > room:
                return used - more
        return used

    def _both(self, pair: Pair) -> tuple[int, int]:
        assert pair.output is not None
        lying = self._question(pair.input) + self.reply(pair.output)
        upright = self._question(_turned(pair.input)) + self.reply(_turned(pair.output))
        return lying, upright

    def _question(self, grid: Grid) -> int:
        return self._around[0] + _cells(grid)


def training_work(tasks: Sequence[Task], codec: Codec, seed: int, settings: Mapping[str, Any]) -> TrainingWork:
    """What a fold of these tasks trains on; settings: the section `training`. Too long a task is left out."""
    longest = settings["longest"]
    samples = [
        lengths.sample(view, longest, settings.get("pairs"))
        for lengths in (Lengths(task, codec) for task in tasks if untrainable(task, codec, longest) is None)
        for epoch in range(settings["epochs"])
        for view in draw_views(
            lengths.task, settings["views"], generator(seed, lengths.task.id, f"training views {epoch}")
        )
    ]
    return TrainingWork(
        steps=-(-len(samples) // (settings["batch"] * settings["accumulation"])),
        samples=len(samples),
        tokens=sum(samples),
        squares=sum(sample**2 for sample in samples),
        longest=max(samples, default=0),
    )


def prompt_work(
    tasks: Sequence[Task], codec: Codec, seed: int, *, views: int, longest: int, purpose: str
) -> PromptWork:
    """The prompts of a fold's search ("inference views") or rescoring ("scoring views").

    longest: tokens of a prompt and its longest reply together at most. A test input that is too long is left out.
    """
    prompts: list[int] = []
    replies: list[float] = []
    for task in tasks:
        lengths = Lengths(task, codec)
        drawn = draw_views(task, views, generator(seed, task.id, purpose))
        for test in range(len(task.test)):
            if unsearchable(task, test, codec, longest) is not None:
                continue
            prompts += [lengths.prompt(test, view, longest) for view in drawn]
            replies.append(expected_reply(lengths, test))
    return PromptWork(
        inputs=len(replies),
        prompts=len(prompts),
        tokens=sum(prompts),
        squares=sum(prompt**2 for prompt in prompts),
        reply_tokens=views * sum(replies),
        longest_reply=max(replies, default=0.0),
        longest=max(prompts, default=0),
    )


def expected_reply(lengths: Lengths, test: int) -> float:
    """Tokens of the reply that the demonstrations let expect.

    Outputs as large as their inputs, all of one size, or larger by one factor than their inputs: else their mean.
    """
    pairs = [(pair.input, pair.output) for pair in lengths.task.train if pair.output is not None]
    asked = lengths.task.test[test].input
    sizes = {_size(output) for _, output in pairs}
    if all(_size(given) == _size(output) for given, output in pairs):
        sizes = {_size(asked)}
    elif len(sizes) > 1:
        factors = {
            tuple(out / of for out, of in zip(_size(output), _size(given), strict=True)) for given, output in pairs
        }
        if len(factors) == 1:
            (factor,) = factors
            sizes = {(max(1, round(_size(asked)[0] * factor[0])), max(1, round(_size(asked)[1] * factor[1])))}
    if len(sizes) == 1:
        (size,) = sizes
        return float(lengths.reply(tuple((0,) * min(size[1], 30) for _ in range(min(size[0], 30)))))
    return sum(lengths.reply(output) for _, output in pairs) / len(pairs)


def _size(grid: Grid) -> tuple[int, int]:
    return len(grid), len(grid[0])


def _cells(grid: Grid) -> int:
    """Tokens of a grid's rows: its cells, and a newline between two rows."""
    return len(grid) * len(grid[0]) + len(grid) - 1


def _turned(grid: Grid) -> Grid:
    return tuple(zip(*grid, strict=True))

"""Held-out accuracy while a model trains: how often its greedy reply to a task's last pair is right.

A reply is greedy-decoded correctly exactly if each of its tokens is the likeliest one behind the true
tokens before it, so one forward pass over the solved task says it, without any decoding.

A task of three pairs in four views is four questions: three solved pairs as tokens, of which the last output's
are asked (its rows and the end token). Right answers in views 0, 2 and 3 give 75 % accuracy and a solved task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from arcfold.arc.tasks import N_COLOURS
from arcfold.pretraining.batches import LATER_OUTPUT, Batch, Sample, Store, assemble, most_samples

_WHOLE_TASK = 10
"""A task of at most as many pairs is asked as a whole; of larger ones, groups are drawn."""
_GROUP = 4


@dataclass(frozen=True)
class Question:
    """A solved task in one view; what is asked is its last output."""

    task: int
    """Number of the task."""
    sample: Sample


@dataclass(frozen=True)
class Score:
    """What a set of questions says."""

    loss: float
    """Mean of -log p over the tokens of the asked outputs."""
    accuracy: float
    """Percent of questions whose whole output is right."""
    solved: float
    """Percent of tasks with a right output in two views or more (one, where only one is asked)."""

    def to_json(self) -> dict[str, float]:
        return {"loss": round(self.loss, 5), "accuracy": round(self.accuracy, 3), "solved": round(self.solved, 3)}


def make_questions(store: Store, views: int, longest: int, seed: int = 0, groups: int = 1) -> list[Question]:
    """Every task of a store in `views` views, the same ones for the same seed.

    Symmetries are taken in turn, colours drawn. A task of many pairs gives `groups` groups of four.
    Pairs are left out from the front until `longest` tokens remain; a task of which fewer than two
    pairs fit is not asked.
    """
    # the second number keeps these draws apart from those of a training with the same seed
    draws = np.random.default_rng([seed, 0x4E1D])
    questions: list[Question] = []
    number = 0
    for corpus in range(len(store.names)):
        for task in range(len(store.task_ids[corpus])):
            pairs = np.array(store.pairs_of(corpus, task))
            if len(pairs) <= _WHOLE_TASK:
                chosen = [pairs]
            else:
                chosen = [draws.choice(pairs, _GROUP, replace=False) for _ in range(groups)]
            # every group counts as a task of its own
            for group in chosen:
                for view in range(views):
                    sample = view_of(store, group, view % 8, draws.permutation(N_COLOURS), longest)
                    if sample is not None:
                        questions.append(Question(number, sample))
                number += 1
    return questions


def view_of(store: Store, pairs: np.ndarray, symmetry: int, colours: np.ndarray, longest: int) -> Sample | None:
    """These pairs in a view, as many of the last ones as fit; None if they are fewer than two."""
    for first in range(len(pairs) - 1):
        grids = np.stack([2 * pairs[first:], 2 * pairs[first:] + 1], axis=1).ravel()
        tokens = int(store.lengths(grids, 1, bool(symmetry & 4)).sum())
        if tokens <= longest:
            return Sample(grids, symmetry, colours.astype(np.uint8), tokens=tokens)
    return None


def question_batches(
    store: Store, questions: Sequence[Question], tokens: int
) -> Iterator[tuple[list[Question], Batch]]:
    """The questions in batches of `tokens` tokens, in order."""
    waiting: list[Question] = []
    used = 0
    for question in questions:
        # in order: fitting them together would save little, and sum the losses in another order
        if waiting and (used + question.sample.tokens > tokens or len(waiting) == most_samples(tokens)):
            yield waiting, assemble(store, [asked.sample for asked in waiting], tokens)
            waiting, used = [], 0
        waiting.append(question)
        used += question.sample.tokens
    if waiting:
        yield waiting, assemble(store, [asked.sample for asked in waiting], tokens)


class AnswerStats:
    """Gathers the answers to questions."""

    def __init__(self) -> None:
        self._loss, self._tokens = 0.0, 0
        self._answers: dict[int, list[bool]] = {}

    def add(self, questions: Sequence[Question], batch: Batch, losses: np.ndarray, right: np.ndarray) -> None:
        """losses, right: (T,) -log p of each target, and whether it is the likeliest."""
        starts = batch.bounds
        for place, question in enumerate(questions):
            stop = int(starts[place]) + question.sample.tokens
            asked = _last_output(batch.kinds, int(starts[place]), stop)
            self._loss += float(losses[asked].sum())
            self._tokens += asked.stop - asked.start
            self._answers.setdefault(question.task, []).append(bool(right[asked].all()))

    def score(self) -> Score:
        answers = list(self._answers.values())
        # accuracy is over questions, solved over tasks, of which one lucky view makes none
        every = [answer for of_task in answers for answer in of_task]
        return Score(
            loss=self._loss / max(self._tokens, 1),
            accuracy=100 * float(np.mean(every)) if every else 0.0,
            solved=100 * float(np.mean([sum(one) >= min(2, len(one)) for one in answers])) if answers else 0.0,
        )


def _last_output(kinds: np.ndarray, start: int, stop: int) -> slice:
    """Where the targets of the last output stand: the run that ends one before the sample's last token."""
    # the last token's target is padding, and the run ends before it
    end = stop - 1
    other = np.flatnonzero(kinds[start:end] != LATER_OUTPUT)
    return slice(start + int(other[-1]) + 1, end)

"""Training samples: a task's demonstrations in a view, as token ids with the loss on the outputs.

A fold of 50 tasks has thousands of samples, and a device that waits for them. So nothing is written twice: a task's
pairs are encoded once in each of the 8 symmetries, and a view's colours are a table that is looked up.

    the pair 12 -> 3        I 1 2 \\n O 3 \\n <eos>
    in a view               its symmetry's ids, each looked up in a table that has colour 7 for 1, 0 for 2, …
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from arcfold.arc.tasks import N_COLOURS, Task
from arcfold.arc.text import Codec
from arcfold.arc.views import View, draw_views, generator
from arcfold.jobs.files import InputError
from arcfold.training.job import IGNORED, Sample


class Demonstrations:
    """A task's demonstrations, encoded once in each symmetry."""

    def __init__(self, task: Task, codec: Codec) -> None:
        self._task, self._codec = task, codec
        self._start = np.array(codec.demonstrations([]).ids, dtype=np.int32)
        # a format has some dozen tokens: a table of these, not of the whole vocabulary
        self._ids = np.unique(np.array([*self._start, *codec.ids.values()], dtype=np.int32))
        cells = np.array([codec.ids[str(colour)] for colour in range(N_COLOURS)], dtype=np.int32)
        self._cells = np.searchsorted(self._ids, cells)
        self._encoded = cache(self._encode)

    def sample(self, view: View, longest: int, mask_first_output: bool, pairs: int | None = None) -> Sample:
        """The demonstrations as they look in a view, test inputs left out; the first `pairs` of its order, if given.

        Demonstrations are dropped from the end until at most `longest` tokens remain; none is cut in
        the middle. The loss is on the outputs' tokens, the end of each reply included; with
        `mask_first_output` not on the first one's, which nothing before it explains (PoE paper).
        Raises InputError if not even the first demonstration fits.
        """
        ordered = [self._encoded(view.symmetry, place) for place in view.order[:pairs]]
        ends = len(self._start) + np.cumsum([len(ids) for ids, _ in ordered])
        kept = int(np.searchsorted(ends, longest, side="right"))
        if not kept:
            raise InputError(
                f"task {self._task.id}: its shortest sample has {ends[0]} tokens, "
                f"expected at most {longest} (training/longest)"
            )
        table = self._ids.copy()
        table[self._cells] = self._ids[self._cells[list(view.colours)]]
        places = np.concatenate([np.searchsorted(self._ids, self._start), *(ids for ids, _ in ordered[:kept])])
        ids = table[places]
        labels = np.full_like(ids, IGNORED)
        for end, (_, reply) in list(zip(ends, ordered[:kept], strict=False))[mask_first_output and kept > 1 :]:
            labels[end - reply : end] = ids[end - reply : end]
        return Sample(ids, labels)

    def _encode(self, symmetry: str, place: int) -> tuple[np.ndarray, int]:
        """A pair as places in the table, and the tokens of its reply, the last ones."""
        view = View(symmetry, tuple(range(N_COLOURS)), ())
        pair = self._task.train[place]
        assert pair.output is not None
        reply = self._codec.reply(view.apply(pair.output))
        ids = [*self._codec.question(view.apply(pair.input)), *reply]
        # a byte for each: a pretraining keeps hundreds of pairs of a task
        return np.searchsorted(self._ids, ids).astype(np.min_scalar_type(len(self._ids))), len(reply)


def fold_samples(
    tasks: Sequence[Task],
    codec: Codec,
    *,
    seed: int,
    epochs: int,
    views: int,
    longest: int,
    mask_first_output: bool,
    pairs: int | None = None,
) -> list[Sample]:
    """All samples of a fold in training order: `epochs` times `views` views of each task.

    Every epoch draws new views and a new order of all its samples. pairs: of a sample at most, all if not given; each
    view draws which.
    """
    demonstrations = [Demonstrations(task, codec) for task in tasks]
    samples: list[Sample] = []
    for epoch in range(epochs):
        of_epoch = [
            written.sample(view, longest, mask_first_output, pairs)
            for task, written in zip(tasks, demonstrations, strict=True)
            for view in draw_views(task, views, generator(seed, task.id, f"training views {epoch}"))
        ]
        generator(seed, " ".join(task.id for task in tasks), f"training order {epoch}").shuffle(of_epoch)
        samples += of_epoch
    return samples

"""Training samples: a task's demonstrations in a view, as token ids with the loss on the outputs."""

from __future__ import annotations

from collections.abc import Sequence

from arcfold.arc.tasks import Task
from arcfold.arc.text import Codec
from arcfold.arc.views import draw_views, generator
from arcfold.jobs.files import InputError
from arcfold.training.job import IGNORED, Sample


def training_sample(task: Task, codec: Codec, longest: int, mask_first_output: bool) -> Sample:
    """The demonstrations of a task (seen through its view already), test inputs left out.

    Demonstrations are dropped from the end until at most `longest` tokens remain; none is cut in
    the middle. The loss is on the outputs' tokens, the end of each reply included; with
    `mask_first_output` not on the first one's, which nothing before it explains (PoE paper).
    Raises InputError if not even the first demonstration fits.
    """
    for kept in range(len(task.train), 0, -1):
        encoded = codec.demonstrations(task.train[:kept])
        if len(encoded.ids) <= longest:
            break
    else:
        raise InputError(
            f"task {task.id}: its shortest sample has {len(encoded.ids)} tokens, "
            f"expected at most {longest} (training/longest)"
        )
    labels = [IGNORED] * len(encoded.ids)
    for output in encoded.outputs[1 if mask_first_output and kept > 1 else 0 :]:
        labels[output] = encoded.ids[output]
    return Sample(encoded.ids, tuple(labels))


def fold_samples(
    tasks: Sequence[Task],
    codec: Codec,
    *,
    seed: int,
    epochs: int,
    views: int,
    longest: int,
    mask_first_output: bool,
) -> list[Sample]:
    """All samples of a fold in training order: `epochs` times `views` views of each task.

    Every epoch draws new views and a new order of all its samples.
    """
    samples: list[Sample] = []
    for epoch in range(epochs):
        of_epoch = [
            training_sample(view.apply_to_task(task), codec, longest, mask_first_output)
            for task in tasks
            for view in draw_views(task, views, generator(seed, task.id, f"training views {epoch}"))
        ]
        generator(seed, " ".join(task.id for task in tasks), f"training order {epoch}").shuffle(of_epoch)
        samples += of_epoch
    return samples

"""The fast backend: samples packed into rows without padding, gradients for the adapter alone.

What it saves against the reference:

- The samples of a micro-batch stand one after the other in one row and attention stays inside each
  sample (`rows`).
- Forward and backward are written out (`network`): no gradient of a frozen weight, base and
  LoRA in one product, one kernel for each elementwise part, gradients in flat tensors.
- On a GPU, where launching a small model's kernels takes longer than running them, micro-batches
  are padded to a few shapes, less than two tokens in a hundred, and each shape's kernels are
  captured once and launched as one graph (`buckets`, `graphs`).

Where memory is too small, the samples of a micro-batch are halved, then activations are recomputed, then the
optimizer's numbers move to the host; from the first of these on rows are not padded.

Eight samples with `batch: 2` and `accumulation: 2` are two steps of two micro-batches:

    step 0   samples 0, 1   loss and `grad`, each loss over the label tokens of samples 0-3; total += grad
             samples 2, 3   the same
             update         clips `total`, AdamW, masters copied into the matrices, total = 0
    step 1   samples 4-7    likewise; a step of one micro-batch (`accumulation: 1`) steps from `grad` itself

`batch` is what memory should hold at once and `accumulation` what makes a step of it: however a step is
cut, its loss and its gradients are the same but for rounding.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from arcfold.jobs.files import InputError
from arcfold.jobs.memory import out_of_memory
from arcfold.models.positions import MODEL_TYPE
from arcfold.training.job import Job, Outcome, check_loss, remedy_of_divergence
from arcfold.training.packed import attention
from arcfold.training.packed.buckets import Shape, plan_shapes
from arcfold.training.packed.graphs import Graphs
from arcfold.training.packed.loss_scale import HEADROOM, SMALLEST, LossScale
from arcfold.training.packed.network import Network
from arcfold.training.packed.rows import Row, Rows, packed_size, row_of
from arcfold.training.packed.update import make_update

log = logging.getLogger(__name__)

ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3", MODEL_TYPE)
ROPE_TYPES = ("default", "linear", "llama3", "yarn")

_LOSSES_ON_DEVICE = 32  # losses read at once: reading one waits for the device
# A step of fewer multiplications and additions than these takes a GPU less time than launching it takes Python.
_LAUNCH_BOUND = 3e13


def train(base_model: nn.Module, job: Job) -> Outcome:
    """Runs the job's steps; `base_model` is left as it was.

    Raises InputError when the model or the settings are none that this backend computes.
    """
    began = time.monotonic()
    _check(base_model, job)
    network = Network(base_model, job.spec, job.weights)
    try:
        return Loop(network, job, began, padded=launch_bound(network, job)).run()
    finally:
        network.release()


def _check(model: Any, job: Job) -> None:
    # what is written out in `network` and no more: anything else would train, and be wrong
    config = model.config
    remedy = "use the trl backend"
    if config.model_type not in ARCHITECTURES:
        raise InputError(
            f"backend: packed computes {', '.join(ARCHITECTURES)}, the model is {config.model_type}; {remedy}"
        )
    if config.hidden_act != "silu":
        raise InputError(f"backend: packed computes silu, the model has {config.hidden_act}; {remedy}")
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope not in ROPE_TYPES:
        raise InputError(f"backend: packed computes {', '.join(ROPE_TYPES)} positions, the model has {rope}; {remedy}")
    # a window that no sample reaches the end of is full attention
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    longest = max(len(sample.input_ids) for sample in job.samples)
    if window is not None and longest > window:
        raise InputError(
            f"backend: packed computes full attention, the longest sample has {longest} tokens and the model's"
            f" sliding window {window}; {remedy}"
        )
    if any(type(m) is not nn.Linear for layer in model.model.layers for m in _linears(layer)):
        raise InputError(f"backend: packed computes plain linear layers, the model has quantized ones; {remedy}")
    dtype = model.model.embed_tokens.weight.dtype
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise InputError(f"backend: packed computes in 32 or 16 bits, the model is {dtype}; {remedy}")
    if job.spec.dropout:
        raise InputError(f"backend: packed computes no dropout, the adapter has {job.spec.dropout}; {remedy}")


def _linears(layer: Any) -> list[nn.Module]:
    attention, mlp = layer.self_attn, layer.mlp
    return [
        attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj,
        mlp.gate_proj, mlp.up_proj, mlp.down_proj,
    ]  # fmt: skip


# --- the loop ------------------------------------------------------------------------------------


def launch_bound(network: Network, job: Job) -> bool:
    """Whether a GPU would wait for Python: 4 operations for each parameter and token, over the steps' mean."""
    parameters = sum(p.inputs * p.outputs for layer in network.layers for p in layer.projections)
    tokens = sum(len(sample.input_ids) for sample in job.samples) / job.schedule.steps
    # else each sample is attended to by itself, by lengths that the host must know: no capture serves a second row
    graphs = attention.whole_rows(network.device, network.dtype)
    return graphs and 4 * parameters * tokens < _LAUNCH_BOUND


class Loop:
    """The steps of a job: micro-batches, clipping, optimizer, checkpoints."""

    def __init__(self, network: Network, job: Job, began: float, padded: bool) -> None:
        """began: time.monotonic() at the call of the backend.

        padded: micro-batches take few shapes, which a GPU captures.
        """
        self.network, self.job, self.began, self.padded = network, job, began, padded
        self.rows = Rows(job.samples, network.rule)
        network.turn_by(self.rows.distinct)
        rates = (job.settings.learning_rate, job.settings.embedding_learning_rate)
        flats = network.flats()
        # the others have the exponents of float32, in which no gradient is too small
        self.scale = LossScale(network.device) if network.dtype == torch.float16 else None
        self.update = make_update(flats, rates[: len(flats)], job.settings, job.schedule, self.scale)
        self.graphs = Graphs(network.device) if padded and network.device.type == "cuda" else None
        self.micro = job.settings.batch
        self.packed: dict[tuple[int, int], tuple[Tensor, Shape]] = {}
        self.static: Tensor | None = None
        self.loss = torch.zeros((), device=network.device)
        self.step_losses = torch.zeros(job.schedule.steps, device=network.device)
        self.losses: list[float] = []
        self.notes: list[str] = []
        self.computed_tokens = 0
        self.warm = False
        """Whether a step has been done here: it builds kernels, which no capture may."""
        self.last_checkpoint = time.monotonic()

    @torch.no_grad()
    def run(self) -> Outcome:
        """All steps that are not done yet.

        Raises InputError for a loss that is not finite, for a first step whose gradients are not, and when one sample
        does not fit into memory.
        """
        steps = self.job.schedule.steps
        resumed_at = self._resume()
        first_step = self.began
        self.pack(resumed_at * self._step_size())
        for step in range(resumed_at, steps):
            self.step(step)
            if step == 0 and self.scale is not None:
                self._find_scale(self.scale)
            # the first step's loss is waited for: kernels are built in it, and its seconds are reported apart
            if step == resumed_at:
                self._read_losses(step + 1)
                first_step = time.monotonic()
            if step + 1 - len(self.losses) == self._patience():
                self._read_losses(step + 1)
            if step + 1 < steps and self._checkpoint_due():
                self._read_losses(step + 1)
                self._save()
        self._read_losses(steps)
        ended = time.monotonic()
        if self.scale is not None and (skipped := steps - int(self.scale.applied)):
            self.notes.append(f"{skipped} of {steps} steps were skipped: their gradients were too large for float16")
        return Outcome(
            weights=self.network.export(),
            losses=self.losses,
            computed_tokens=self.computed_tokens,
            first_step_seconds=first_step - self.began,
            later_seconds=ended - first_step,
            resumed_at=resumed_at,
            notes=self.notes,
        )

    def _step_size(self) -> int:
        return self.job.settings.batch * self.job.settings.accumulation

    def _micro_batches(self, start: int) -> Iterator[tuple[int, int, int]]:
        """First and last sample + 1 of every micro-batch from sample `start` on, and the label tokens of its step."""
        count = len(self.job.samples)
        while start < count:
            begin = start // self._step_size() * self._step_size()
            end = min(begin + self._step_size(), count)
            label_tokens = self.rows.label_tokens(begin, end)
            while start < end:
                stop = min(start + self.micro, end)
                yield start, stop, label_tokens
                start = stop

    def pack(self, start: int) -> None:
        """All rows from sample `start` on, in one tensor on the device."""
        batches = list(self._micro_batches(start))
        shapes = [self.rows.shape(first, stop) for first, stop, _ in batches]
        if self.padded:
            # Of all micro-batches, also those that a former process has done: the shapes decide the bytes.
            every = [self.rows.shape(first, stop) for first, stop, _ in self._micro_batches(0)]
            shapes = plan_shapes(every)[len(every) - len(shapes) :]
        arrays = [
            self.rows.pack(first, stop, shape, label_tokens)
            for (first, stop, label_tokens), shape in zip(batches, shapes, strict=True)
        ]
        # all rows of the training go to the device in one copy: 12 bytes a token, 12 a loss
        device = self.network.device
        numbers = torch.from_numpy(np.concatenate(arrays)).to(device).split([len(array) for array in arrays])
        self.packed = {
            (first, stop): (packed, shape)
            for (first, stop, _), packed, shape in zip(batches, numbers, shapes, strict=True)
        }
        if self.graphs is not None:
            self.static = torch.empty(max(map(packed_size, shapes)), dtype=torch.int32, device=device)

    def step(self, step: int) -> None:
        """Launches one step, counted from 0, whose rows are packed; its loss stays on the device."""
        first, last = step * self._step_size(), min((step + 1) * self._step_size(), len(self.job.samples))
        whole = False
        while first < last:
            stop = min(first + self.micro, last)
            # the whole step at once: its gradients need no summing up
            whole = stop - first == last - step * self._step_size()
            if self._micro_batch(first, stop, whole):
                first = stop
        self.update.begin(step)
        self._play("update", whole, lambda: self._apply(whole), self.update.capturable)
        self.step_losses[step].copy_(self.loss)
        self.loss.zero_()
        self.warm = True

    def _find_scale(self, scale: LossScale) -> None:
        """Takes the first step again, each time with half the scale, until its gradients are finite.

        A later step that overflows is skipped, one of hundreds; a training of few steps would lose most of them
        before the scale is found.
        """
        if bool(scale.finite):
            return
        # a loss that is not finite has no scale, and is named when it is read
        while not bool(scale.finite) and bool(self.step_losses[0].isfinite()):
            if float(scale.factor) < SMALLEST:
                raise InputError(
                    f"training: the gradients of step 1 are not finite; {remedy_of_divergence(self.network.dtype)}"
                )
            self.step(0)
        # this is the largest that the first step could have; later ones may have larger gradients
        scale.factor.div_(HEADROOM)

    def _micro_batch(self, first: int, stop: int, whole: bool) -> bool:
        """Its gradients and its share of the loss; False if it did not fit into memory and the next will be smaller."""
        packed, shape = self.packed[first, stop]
        # a graph reads from where it was captured, so every row is copied there
        if self.static is None or self.graphs is None:
            row = row_of(packed, shape, self.rows.pieces(first, stop, shape))
        else:
            self.static[: len(packed)].copy_(packed)
            row = row_of(self.static, shape)
        try:
            # before the loss is added up: a micro-batch that is done again must count once
            if not whole:
                for flat in self.network.flats():
                    flat.make_total()
            self._play(shape, whole, lambda: self._gradients(row, whole), capturable=True)
        except RuntimeError as error:
            # the row is done again in smaller parts, whose gradients are written over what there is
            if not out_of_memory(error):
                raise
        else:
            self.computed_tokens += shape.tokens
            return True
        self._make_smaller(first, stop, self.rows.shape(first, stop).tokens)
        return False

    def _play(self, what: Any, whole: bool, function: Callable[[], None], capturable: bool) -> None:
        # `whole` is a part of the key, since the functions launch other kernels with it
        if self.graphs is not None and capturable and self.warm:
            self.graphs.play((what, whole), function)
        else:
            function()

    def _gradients(self, row: Row, whole: bool) -> None:
        if self.scale is None:
            self.loss.add_(self.network.loss_and_gradients(row))
        else:
            scaled = replace(row, weights=row.weights * self.scale.factor)
            self.loss.add_(self.network.loss_and_gradients(scaled) / self.scale.factor)
        if not whole:
            for flat in self.network.flats():
                flat.total.add_(flat.grad)

    def _apply(self, whole: bool) -> None:
        flats = self.network.flats()
        self.update.apply([flat.grad if whole else flat.total for flat in flats])
        self.network.refresh()
        if not whole:
            for flat in flats:
                flat.total.zero_()

    def _make_smaller(self, first: int, stop: int, tokens: int) -> None:
        samples = stop - first
        if samples > 1:
            self.micro = -(-min(self.micro, samples) // 2)
            note = f"out of memory with {samples} samples ({tokens} tokens) at once: micro-batch cut to {self.micro}"
        elif not self.network.recompute:
            self.network.recompute = True
            note = f"out of memory with one sample of {tokens} tokens: activations are computed twice from here on"
        elif self.network.device.type == "cuda" and self.update.to_host():
            note = f"out of memory with one sample of {tokens} tokens: the optimizer's numbers move to the host"
        else:
            raise InputError(f"training: out of memory with one sample of {tokens} tokens; shorten the samples?")
        log.warning(note)
        self.notes.append(note)
        if self.graphs is not None:
            self.graphs.close()
        # graphs hold memory, and padding adds to it: a job that is short of it does without both
        self.padded, self.graphs, self.static = False, None, None
        self.pack(first)
        if self.network.device.type == "cuda":
            torch.cuda.empty_cache()

    def _patience(self) -> int:
        return _LOSSES_ON_DEVICE if self.network.device.type == "cuda" else 1

    def _read_losses(self, steps: int) -> None:
        """Waits for the device; a loss that is not finite ends the job."""
        size = self._step_size()
        for loss in self.step_losses[len(self.losses) : steps].tolist():
            step = len(self.losses)
            self.losses.append(check_loss(loss, step + 1, self.network.dtype))
            self.job.progress.update(step + 1, loss, sum(self.rows.lengths[step * size : (step + 1) * size]))

    def _checkpoint_due(self) -> bool:
        waited = time.monotonic() - self.last_checkpoint
        return self.job.checkpoints is not None and waited >= self.job.checkpoint_seconds

    def _save(self) -> None:
        from safetensors.torch import save_file

        assert self.job.checkpoints is not None
        # before it is written, so that a disk that stays full is not tried in every step
        self.last_checkpoint = time.monotonic()
        tensors = {f"master.{i}": flat.master for i, flat in enumerate(self.network.flats())}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in self.update.state().items()}
        # `micro` and `padded` too: the process that goes on must cut its rows alike to give the same bytes
        with self.job.checkpoints.saving(len(self.losses)) as folder:
            save_file(
                {key: tensor.detach().contiguous() for key, tensor in tensors.items()}, folder / "state.safetensors"
            )
            text = json.dumps({"losses": self.losses, "micro": self.micro, "padded": self.padded})
            (folder / "state.json").write_text(text, encoding="utf-8")

    def _resume(self) -> int:
        """Steps that a former call has done; their state is loaded."""
        from safetensors.torch import load_file

        saved = self.job.checkpoints.latest() if self.job.checkpoints is not None else None
        if saved is None:
            return 0
        path, step = saved
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        tensors = load_file(path / "state.safetensors")
        for index, flat in enumerate(self.network.flats()):
            flat.master.copy_(tensors[f"master.{index}"])
        self.network.refresh()
        self.losses, self.micro, self.padded = state["losses"], state["micro"], state["padded"]
        if not self.padded:
            self.graphs = None
        named = {key: tensor for key, tensor in tensors.items() if key.startswith("optimizer.")}
        self.update.load_state({key.removeprefix("optimizer."): tensor for key, tensor in named.items()})
        return step

"""The reference backend: trl's SFTTrainer over transformers and peft.

A float16 model is trained on a GPU with float32 LoRAs under autocast, its losses scaled by torch's GradScaler. On a
CPU accelerate has no such scaler: there the same weights are computed with in float32, and the report says so.

Known to work with trl 1.15 (on a GPU) and 1.16 and with transformers 5.17 and 5.23. trl and datasets are
imported when `train` is called, since their import takes seconds.

trl refuses a LoRA on `lm_head`, so that one and `embed_tokens` are full matrices here (see
`adapters`), in an optimizer group of their own.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arcfold.jobs.files import InputError
from arcfold.jobs.memory import out_of_memory
from arcfold.models.lora import peft_state
from arcfold.training.job import IGNORED, Job, Outcome, Sample, TrainingSettings, check_loss, make_optimizer

log = logging.getLogger(__name__)

_LOSSES = "losses.json"
_FIRST_SCALE = 2.0**12


Adapt = Callable[[nn.Module, Job, bool], Any]
"""Puts a job's LoRA, untrained, around a base model (a PeftModel); True computes activations twice to save memory."""


def train(base_model: nn.Module, job: Job, adapt: Adapt | None = None) -> Outcome:
    """Runs the job's steps with SFTTrainer; `base_model` is left as it was.

    Out of memory, it starts again (from the last checkpoint) with half the batch and twice the
    accumulation: the same samples a step. When the batch cannot be halved it keeps fewer activations,
    then raises InputError.
    adapt: another library's way to make the adapted model, plain peft's if None
    """
    began = time.monotonic()
    settings, recompute = job.settings, False
    notes: list[str] = []
    parameter = next(base_model.parameters())
    widened = parameter.dtype == torch.float16 and parameter.device.type == "cpu"
    if widened:
        notes.append("float16 weights, computed with in float32: the trl backend scales losses on a GPU only")
        log.warning(notes[-1])
    while True:
        try:
            with _in_float32(base_model) if widened else contextlib.nullcontext():
                outcome = _train(base_model, replace(job, settings=settings), adapt or _adapt, recompute, began)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        else:
            outcome.notes = notes + outcome.notes
            return outcome
        if settings.batch % 2 == 0:
            settings = replace(settings, batch=settings.batch // 2, accumulation=settings.accumulation * 2)
            note = f"out of memory: batch cut to {settings.batch}, accumulation raised to {settings.accumulation}"
        elif not recompute:
            recompute = True
            note = f"out of memory with a batch of {settings.batch}: activations are computed twice"
        else:
            raise InputError(f"training: out of memory with a batch of {settings.batch}; shorten the samples?")
        notes.append(note)
        log.warning(note)
        gc.collect()  # the trainer, and with it what it allocated, hangs in reference cycles
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextlib.contextmanager
def _in_float32(model: nn.Module) -> Iterator[None]:
    """The parameters as float32 numbers; afterwards as they were."""
    before = {name: parameter.data for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        if parameter.dtype == torch.float16:  # others are quantized
            parameter.data = parameter.data.float()
    try:
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.data = before[name]


def _train(base_model: nn.Module, job: Job, adapt: Adapt, recompute: bool, began: float) -> Outcome:
    with (
        _without_future_warnings(),
        _adapted(base_model, job, adapt, recompute) as model,
        tempfile.TemporaryDirectory() as scratch,
    ):
        recorder = _Recorder(job, began, next(base_model.parameters()).dtype)
        saved = job.checkpoints.latest() if job.checkpoints is not None else None
        resume = None
        if saved is not None:
            path, recorder.resumed_at = saved
            recorder.losses = json.loads((path / _LOSSES).read_text(encoding="utf-8"))
            resume = str(path / f"checkpoint-{recorder.resumed_at}")
        trainer = _make_trainer(model, job, recompute, Path(scratch), recorder)
        trainer.train(resume_from_checkpoint=resume)
        weights = _weights_of(model)
    notes = []
    if trainer.args.fp16 and all(torch.equal(weights[key], first) for key, first in job.weights.items()):
        notes.append("nothing was trained: in each step the gradients were too large for float16")
        log.warning(notes[-1])
    return Outcome(
        weights={key: weights[key] for key in job.weights},
        losses=recorder.losses,
        computed_tokens=recorder.computed_tokens,
        first_step_seconds=recorder.first_step - began,
        later_seconds=recorder.last_step - recorder.first_step,
        resumed_at=recorder.resumed_at,
        notes=notes,
    )


def collate(samples: Sequence[dict[str, Sequence[int]]]) -> dict[str, Tensor]:
    """Pads samples at the right to the longest: `input_ids`, `attention_mask` and `labels`, each (B, T) int64.

    The padding id is 0, an ordinary token: the mask hides it. The first label is dropped, because
    nothing predicts it and the trainer would count it as a label token.
    """
    longest = max(len(sample["input_ids"]) for sample in samples)
    shape = (len(samples), longest)
    input_ids = torch.zeros(shape, dtype=torch.int64)
    attention_mask = torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, IGNORED, dtype=torch.int64)
    for row, sample in enumerate(samples):
        length = len(sample["input_ids"])
        input_ids[row, :length] = torch.tensor(sample["input_ids"])
        attention_mask[row, :length] = 1
        labels[row, 1:length] = torch.tensor(sample["labels"][1:])
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def optimizer_groups(model: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """LoRA matrices at the learning rate, full matrices at the embedding learning rate, each once."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    lora = [parameter for name, parameter in named if ".lora_" in name]
    full = [parameter for name, parameter in named if ".lora_" not in name]
    rates = ((lora, settings.learning_rate), (full, settings.embedding_learning_rate))
    return [{"params": parameters, "lr": rate} for parameters, rate in rates if parameters]


def _adapt(base_model: nn.Module, job: Job, recompute: bool) -> Any:
    from peft import LoraConfig, get_peft_model

    trl = version("trl")
    if next(base_model.parameters()).device.type == "cpu" and trl.startswith("1.15."):
        raise InputError(f"training/backend: trl {trl} computes its loss on a GPU only, expected backend: packed")
    config = job.spec.peft_config()
    for key in ("peft_type", "inference_mode"):  # peft fills these in itself
        del config[key]
    return get_peft_model(base_model, LoraConfig(**config))


@contextlib.contextmanager
def _adapted(base_model: nn.Module, job: Job, adapt: Adapt, recompute: bool) -> Iterator[nn.Module]:
    """The base with the job's initial adapter, as a PeftModel; afterwards the base is as before."""
    from peft import set_peft_model_state_dict

    modules = dict(base_model.named_modules())
    attributes = [(thing, dict(vars(thing))) for thing in _configs(base_model)]
    trainable = {name: parameter.requires_grad for name, parameter in base_model.named_parameters()}
    model = adapt(base_model, job, recompute)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if set_peft_model_state_dict(model, peft_state(job.spec, job.weights)).unexpected_keys:
        raise AssertionError("peft names the weights of an adapter otherwise than arcfold.models.lora")
    try:
        yield model
    finally:
        _put_back(base_model, modules)
        for thing, before in attributes:  # the trainers write token ids and switches of their own into them
            vars(thing).clear()
            vars(thing).update(before)
        for name, parameter in base_model.named_parameters():
            parameter.requires_grad_(trainable[name])


def _put_back(base_model: nn.Module, modules: dict[str, nn.Module]) -> None:
    """peft's own `unload` would leave the trained full matrices in the base, and trl its forward method."""
    for path, module in modules.items():
        if path:
            parent, _, name = path.rpartition(".")
            setattr(modules[parent], name, module)
    for name in ("forward", "peft_config", "_hf_peft_config_loaded"):
        vars(base_model).pop(name, None)
    base_model.eval()


def _configs(model: Any) -> list[Any]:
    return [config for config in (model.config, model.generation_config) if config is not None]


def _weights_of(model: nn.Module) -> dict[str, Tensor]:
    from peft import get_peft_model_state_dict

    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {key: tensor.detach().to("cpu", torch.float32).contiguous() for key, tensor in weights.items()}


class _Recorder:
    """What the trainer's callbacks note down along the way."""

    def __init__(self, job: Job, began: float, dtype: torch.dtype) -> None:
        """dtype: what the base model computes in"""
        self.job = job
        self.dtype = dtype
        self.began = began
        self.losses: list[float] = []
        self.resumed_at = 0
        self.computed_tokens = 0
        self.first_step = self.last_step = began
        self.step_loss = 0.0
        self.last_checkpoint = began

    def micro_batch(self, loss: float, computed: int) -> None:
        """A micro-batch is done; `loss` is its share of the step's."""
        self.step_loss += check_loss(loss, len(self.losses) + 1, self.dtype)
        self.computed_tokens += computed

    def step_done(self) -> None:
        """The optimizer has stepped."""
        self.last_step = time.monotonic()
        if self.first_step == self.began:
            self.first_step = self.last_step
        step = len(self.losses)
        self.losses.append(self.step_loss)
        tokens = sum(len(sample.input_ids) for sample in self.job.step_samples(step))
        self.job.progress.update(step + 1, self.step_loss, tokens)
        self.step_loss = 0.0

    def checkpoint_due(self) -> bool:
        """Whether enough time has passed since the last one."""
        now = time.monotonic()
        due = self.job.checkpoints is not None and now - self.last_checkpoint >= self.job.checkpoint_seconds
        if due:
            self.last_checkpoint = now
        return due


@contextlib.contextmanager
def _without_future_warnings() -> Iterator[None]:
    """What the libraries will rename among themselves is not the user's concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def make_dataset(samples: Sequence[Sample]) -> Any:
    """The samples as the `datasets.Dataset` that SFTTrainer insists on, columns input_ids and labels."""
    from datasets import Dataset

    return Dataset.from_dict(
        {"input_ids": [s.input_ids.tolist() for s in samples], "labels": [s.labels.tolist() for s in samples]}
    )


def _blank_tokenizer(config: Any) -> Any:
    """SFTTrainer insists on a tokenizer; the samples are token ids already and never pass through it.

    It knows the model's special tokens alone, since the trainer writes the tokenizer's into the model.
    """
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    special = {}
    for name in ("bos_token", "eos_token", "pad_token"):
        value = getattr(config, f"{name}_id", None)
        if isinstance(value, int):
            special[name] = value
    vocabulary = {f"<{value}>": value for value in special.values()} or {"<0>": 0}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=next(iter(vocabulary))))
    names = {name: f"<{value}>" for name, value in special.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _arguments(model: nn.Module, job: Job, recompute: bool, output: Path) -> Any:
    from trl import SFTConfig

    settings = job.settings
    parameter = next(model.parameters())  # frozen: the input embedding, or its original
    return SFTConfig(
        output_dir=str(output),
        per_device_train_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulation,
        num_train_epochs=1,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        lr_scheduler_type="cosine",
        warmup_steps=job.schedule.warmup,
        train_sampling_strategy="sequential",
        max_length=None,  # the default, 1024, truncates without a word
        packing=False,
        padding_free=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        bf16=parameter.dtype == torch.bfloat16,
        fp16=parameter.dtype == torch.float16,
        use_cpu=parameter.device.type == "cpu",
        gradient_checkpointing=recompute,
        gradient_checkpointing_kwargs={"use_reentrant": False} if recompute else None,
        dataloader_num_workers=0,
        dataloader_pin_memory=parameter.device.type == "cuda",
        seed=settings.seed,
        data_seed=settings.seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _make_trainer(model: nn.Module, job: Job, recompute: bool, output: Path, recorder: _Recorder) -> Any:
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTTrainer

    class Callback(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            recorder.step_done()
            control.should_save = recorder.checkpoint_due() and state.global_step < job.schedule.steps

    class Trainer(SFTTrainer):
        # the trainer writes `checkpoint-{step}` into this folder, beside the losses
        _folder = output

        def _get_output_dir(self, trial: Any) -> str:
            return str(self._folder)

        def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            assert job.checkpoints is not None
            with job.checkpoints.saving(len(recorder.losses)) as self._folder:
                super()._save_checkpoint(*args, **kwargs)
                (self._folder / _LOSSES).write_text(json.dumps(recorder.losses), encoding="utf-8")

        def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
            self.optimizer = make_optimizer(optimizer_groups(self.model, job.settings), job.settings)
            return self.optimizer

        def training_step(self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Tensor:
            loss = super().training_step(model, inputs, *args, **kwargs)
            recorder.micro_batch(float(loss), inputs["input_ids"].numel())
            return loss

        def create_model_card(self, *args: Any, **kwargs: Any) -> None:
            """A checkpoint is nobody's model."""

    trainer = Trainer(
        model=model,
        args=_arguments(model, job, recompute, output),
        train_dataset=make_dataset(job.samples),
        processing_class=_blank_tokenizer(model.config),
        data_collator=collate,
        callbacks=[Callback()],
    )
    if trainer.args.fp16:
        # torch begins with 65536, and skips steps until the scale is small enough: a training of few has none to spare
        trainer.accelerator.scaler = torch.amp.GradScaler("cuda", init_scale=_FIRST_SCALE)
        # trl makes the LoRA of a quantized model bfloat16, and the scaler takes no such gradients
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    trainer.remove_callback(PrinterCallback)
    return trainer

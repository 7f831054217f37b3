"""Unsloth's layers under the reference backend's trainer: same samples, order, rates and checkpoints.

Unsloth is optional, patches the libraries that it finds, and must be imported before transformers,
trl and peft; so `unsloth_libraries` opens a job of its own process. Its import already looks at the
device: a job leases that first. What it changes in the base model stays changed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from arcfold.jobs.files import InputError, one_line

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from arcfold.models.base import BaseModel
    from arcfold.training.job import Job, Outcome

log = logging.getLogger(__name__)


@contextlib.contextmanager
def unsloth_libraries() -> Iterator[None]:
    """Imports Unsloth; the code that it writes and compiles lies in a folder of this process until the end.

    Processes that share such a folder overwrite each other's files. Raises InputError when Unsloth
    cannot be imported.
    """
    with tempfile.TemporaryDirectory(prefix="arcfold-unsloth-", ignore_cleanup_errors=True) as folder:
        os.environ |= {"UNSLOTH_COMPILE_LOCATION": folder, "UNSLOTH_DISABLE_STATISTICS": "1"}
        if early := {"transformers", "trl", "peft"} & sys.modules.keys():
            log.warning("Unsloth is imported after %s and cannot speed up all of it", ", ".join(sorted(early)))
        try:
            import unsloth  # noqa: F401
        except (ImportError, NotImplementedError, RuntimeError) as error:
            raise InputError(f"training/backend: unsloth cannot be imported ({one_line(error)})") from None
        yield


def load(base: BaseModel, device: torch.device, *, longest: int) -> PreTrainedModel:
    """A causal language model with Unsloth's layers, on the device.

    longest: tokens of the longest sample
    Raises InputError for a folder that Unsloth cannot load.
    """
    from unsloth import FastLanguageModel

    base.check_quantization()
    if base.is_quantized and device.type == "cpu":
        raise InputError(f"{base.folder}: Unsloth trains on 4-bit weights on a GPU only, expected backend: trl")
    try:
        model, _ = FastLanguageModel.from_pretrained(
            str(base.folder),
            max_seq_length=longest,
            dtype=base.number_type_on(device),
            load_in_4bit=base.is_quantized,
            device_map={"": device.index or 0} if device.type == "cuda" else None,
            use_gradient_checkpointing=False,
            use_exact_model_name=True,  # else it looks for a copy of the same name on the hub
            offload_embedding=False,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, NotImplementedError) as error:
        raise InputError(f"{base.folder}: Unsloth cannot load the model ({one_line(error)})") from None
    expected = base.config["vocab_size"]
    if (found := model.get_input_embeddings().weight.shape[0]) != expected:
        raise InputError(
            f"{base.folder}: Unsloth made a vocabulary of {found}, expected {expected}; use the trl backend"
        )
    return model


def train(base_model: nn.Module, job: Job) -> Outcome:
    """Runs the job's steps; see `trl.train`."""
    from arcfold.training import trl

    return trl.train(base_model, job, adapt=_adapt)


def _adapt(base_model: nn.Module, job: Job, recompute: bool) -> Any:
    """A PeftModel around the base, with Unsloth's forward and backward for its LoRAs."""
    from unsloth import FastLanguageModel

    spec = job.spec
    return FastLanguageModel.get_peft_model(
        base_model,
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        use_rslora=spec.rslora,
        target_modules=list(spec.linear),
        modules_to_save=list(spec.full) or None,
        ensure_weight_tying=bool(spec.tied and spec.full),
        bias="none",
        use_gradient_checkpointing=recompute,  # "unsloth" would write the embeddings into the current folder
        random_state=job.settings.seed,
    )

"""Base models as transformers loads them: any architecture, any quantization, seconds of imports.

This is the reference, and what computes the models that `plain` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from arcfold.jobs.files import InputError, one_line
from arcfold.models.base import BaseModel
from arcfold.models.folder import model_files
from arcfold.models.weights import stored_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel


_BUFFERS = ("rotary_emb.inv_freq", ".masked_bias", ".attn.bias")
"""What older versions stored besides, and newer ones compute."""


def load_libraries() -> None:
    """Imports what `load_pretrained` and PEFT use: seconds that a job need not hold a device for."""
    import peft  # noqa: F401
    from transformers import AutoModelForCausalLM  # noqa: F401


def load_pretrained(base: BaseModel, device: torch.device) -> PreTrainedModel:
    """A causal language model in evaluation mode on the device.

    Weights that are stored quantized are kept so; `quantization: 4bit` keeps the layers' matrices in
    bitsandbytes' NF4. Raises InputError for a folder that transformers cannot load.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    model_files(base.folder)
    stored_tensors(base.folder)
    base.check_quantization()
    number_type = base.number_type_on(device)
    options: dict[str, Any] = {}
    if base.is_quantized:
        options["device_map"] = {"": device}  # quantized weights are made on their device
    if base.quantization == "4bit" and "quantization_config" not in base.config:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=number_type,
        )
    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(
            base.folder,
            output_loading_info=True,
            dtype=number_type,
            attn_implementation="sdpa",
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            **options,
        )
    except Exception as error:  # whatever the library raises, the folder is what it could not load
        raise InputError(f"{base.folder}: transformers cannot load the model ({one_line(error)})") from None
    if loaded["missing_keys"]:
        # transformers would go on with random ones
        missing = sorted(loaded["missing_keys"])
        raise InputError(f"{base.folder}: no weights for {missing[0]}, expected all that config.json speaks of")
    if not base.is_quantized and (more := [key for key in loaded["unexpected_keys"] if not key.endswith(_BUFFERS)]):
        kind = base.config.get("model_type")
        raise InputError(f"{base.folder}: weights for {min(more)}, which config.json ({kind}) has no place for")
    return (model if base.is_quantized else model.to(device)).eval()

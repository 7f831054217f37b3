"""A base model with an adapter merged into its weights, as a folder that other programs load.

The folder is plain: config.json, safetensors, the tokenizer's files. transformers, vLLM and llama.cpp's converter know
nothing of an adapter then.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from arcfold.jobs.files import InputError, new_folder
from arcfold.models.base import BaseModel
from arcfold.models.folder import read_files
from arcfold.models.lora import load_adapter, merge
from arcfold.models.merged import merge_with_peft
from arcfold.models.transformers import load_pretrained
from arcfold.models.weights import CONFIG


def export_merged(base: BaseModel, adapter: str | Path, output: str | Path) -> None:
    """Writes the folder, whole or not at all.

    The numbers are of the base's `dtype`, float32 for `auto`: sums are then those that a float32 run computes with.
    Weights that are stored or loaded quantized become the 16-bit numbers that they stand for.

    Raises InputError if the adapter was trained on another base, or if files cannot be read.
    """
    import torch

    if base.dtype == "auto" and not base.is_quantized:
        base = replace(base, dtype="float32")
    model = load_pretrained(base, torch.device("cpu"))
    if base.is_quantized:
        model = merge_with_peft(model, adapter, base.record)
    else:
        merge(model, *load_adapter(Path(adapter), model, base.record))
    with new_folder(output) as folder:
        try:
            model.save_pretrained(folder)
        except ValueError as error:  # settings of the base's generation_config.json that do not go together
            raise InputError(f"{base.folder}: transformers cannot save the model ({error})") from None
        for name in read_files(base.folder):
            if name != CONFIG and not name.endswith((".safetensors", ".safetensors.index.json")):
                shutil.copyfile(base.folder / name, folder / name)

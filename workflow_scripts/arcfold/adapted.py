"""A base model with an adapter merged into it, ready for search and rescoring; without transformers if it can be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from arcfold.adapters import load_adapter, merge
from arcfold.light_models import is_light, load_light
from arcfold.models import load_base, load_libraries, with_adapter


def load_adapted_libraries(base: str | Path, loading: Mapping[str, str]) -> None:
    """Imports what `load_adapted` uses: seconds that a job need not hold a device for.

    base: the model's folder; loading: its dtype and quantization
    """
    if not is_light(base, loading.get("quantization", "none")):
        load_libraries()


def load_adapted(
    base: str | Path, adapter: str | Path, record: Mapping[str, Any], device: torch.device, loading: Mapping[str, str]
) -> nn.Module:
    """The model of the folder `base` with the adapter of a folder merged into its weights, in evaluation mode.

    record: the base model's record. Raises InputError if the adapter was trained on another base, or
    if a file of the two cannot be read.
    """
    if not is_light(base, loading.get("quantization", "none")):
        return with_adapter(load_base(base, device, **loading), adapter, record)
    model = load_light(base, device, loading.get("dtype", "auto"))
    merge(model, *load_adapter(Path(adapter), model, record))
    return model

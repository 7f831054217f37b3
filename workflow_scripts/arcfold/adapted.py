"""A base model with an adapter merged into it, ready for search and rescoring."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from arcfold.adapters import load_adapter, merge
from arcfold.light_models import LightModel
from arcfold.models import with_adapter


def adapted(base: Any, adapter: str | Path, record: Mapping[str, Any]) -> nn.Module:
    """The model with the adapter of a folder merged into its weights, in evaluation mode.

    base: as `light_models.base_loader` loads it; record: the base model's. Raises InputError if the
    adapter was trained on another base, or if its files cannot be read.
    """
    if not isinstance(base, LightModel):
        return with_adapter(base, adapter, record)
    merge(base, *load_adapter(Path(adapter), base, record))
    return base

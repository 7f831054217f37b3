"""A base model with an adapter merged into its weights, ready for search and rescoring.

Merged weights decode as fast as the base model's: W + scale · B · A is computed once, not at every token.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from arcfold.jobs.files import InputError, one_line
from arcfold.models.lora import check_base, load_adapter, merge
from arcfold.models.plain import PlainModel


def merge_adapter(model: Any, adapter: str | Path, record: Mapping[str, Any]) -> nn.Module:
    """The model with the adapter of a folder merged into its weights, in evaluation mode.

    model: as `BaseModel.loader` loads it; record: the base model's. Raises InputError if the
    adapter was trained on another base, or if its files cannot be read.
    """
    if not isinstance(model, PlainModel):
        return merge_with_peft(model, adapter, record)
    merge(model, *load_adapter(Path(adapter), model, record))
    return model


def merge_with_peft(model: Any, adapter: str | Path, record: Mapping[str, Any]) -> Any:
    """The same by PEFT, for transformers' models.

    Quantized weights are turned into the 16-bit numbers that they stand for, since a merged matrix would be
    rounded a second time.
    """
    from peft import PeftModel

    check_base(Path(adapter), record)
    if getattr(model, "is_quantized", False):
        model = model.dequantize()
    try:
        adapted = PeftModel.from_pretrained(model, str(adapter))
    except Exception as error:  # whatever the library raises, the folder is what it could not load
        raise InputError(f"{adapter}: PEFT cannot load the adapter ({one_line(error, 200)})") from None
    return adapted.merge_and_unload().eval()

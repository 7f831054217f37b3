"""What the `model_type` in a config.json tells without loading anything: linear layers, and what computes the model."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

from arcfold.jobs.files import InputError, shortened
from arcfold.models.positions import MODEL_TYPE

EMBEDDINGS = ("embed_tokens", "lm_head")
"""What is trained as full matrices."""

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_SEPARATE = (*_ATTENTION, "gate_proj", "up_proj", "down_proj")
_JOINED = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
LINEAR_LAYERS = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", MODEL_TYPE), _SEPARATE),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text", "smollm3"), _SEPARATE),
    "phi3": _JOINED,
}
"""By `model_type`: the last part of the names of all linear layers but the output head."""


def check_targets(targets: Sequence[str], folder: str | Path) -> None:
    """Raises InputError for targets of a LoRA that the model in the folder lacks; of other architectures none."""
    linear = [name for name in targets if name not in EMBEDDINGS]
    if not linear:
        raise InputError(f"only {', '.join(targets)}, expected at least one layer for a LoRA")
    kind = _model_type(folder)
    known = LINEAR_LAYERS.get(kind or "")
    for name in linear:
        if known is not None and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            guess = f" (did you mean {close[0]}?)" if close else ""
            raise InputError(
                f"{shortened(name)!r} is no linear layer of {folder} (model type {kind}){guess}, "
                f"expected some of {', '.join((*known, *EMBEDDINGS))}"
            )


def check_backend(backend: str, folder: str | Path) -> None:
    """Raises InputError for a backend that does not compute the model in the folder, as far as its type tells."""
    refuse_unsloth(backend, _model_type(folder))


def refuse_unsloth(backend: str, kind: str | None) -> None:
    """Raises InputError for Unsloth and a model whose positions it does not compute."""
    if backend == "unsloth" and kind == MODEL_TYPE:
        raise InputError(
            f"unsloth computes no positions by grids ({MODEL_TYPE}), expected backend: auto, packed or trl"
        )


def _model_type(folder: str | Path) -> str | None:
    """The model_type of a folder that is there and can be read; what is wrong with others is said by who reads them."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    kind = config.get("model_type") if isinstance(config, dict) else None
    return kind if isinstance(kind, str) else None

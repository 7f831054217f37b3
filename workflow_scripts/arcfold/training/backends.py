"""Which backend trains an adapter: the one that the config names, or the fastest that can compute the model.

The choice is made from the model's config.json alone, before any library is loaded: Unsloth must be
imported before transformers, trl and peft, and takes most of a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from arcfold.jobs.devices import visible_devices
from arcfold.jobs.files import InputError
from arcfold.models.architectures import refuse_unsloth
from arcfold.models.base import BaseModel
from arcfold.models.positions import MODEL_TYPE

AUTO = "auto"
SAME = {"transformers": "trl"}
"""Other words for a backend: trl's trainer is the reference over transformers and peft."""


@dataclass(frozen=True)
class Choice:
    """A backend, and why it was chosen."""

    backend: str
    why: str


def choose_backend(wanted: str, base: BaseModel, *, gpus: int, longest: int) -> Choice:
    """packed where it computes the model, else unsloth where it is installed and has a GPU, else trl.

    wanted: the config's word, `auto` or the name of a backend, which then decides
    gpus: what the job may use; longest: tokens of the longest sample
    Raises InputError for `unsloth` where it is not installed, or for a model whose positions it would not compute.
    """
    wanted = SAME.get(wanted, wanted)
    by_grids = base.config.get("model_type") == MODEL_TYPE
    try:
        refuse_unsloth(wanted, base.config.get("model_type"))
    except InputError as error:
        raise InputError(f"training/backend: {error}") from None
    installed = find_spec("unsloth") is not None
    if wanted == "unsloth" and not installed:
        raise InputError(
            "training/backend: unsloth is not installed, expected the environment of envs/gpu.lock "
            "(make ENV=gpu …), or backend: auto, packed or trl"
        )
    if wanted != AUTO:
        return Choice(wanted, "the config names it")
    refusal = packed_refusal(base, longest=longest)
    if refusal is None:
        return Choice("packed", f"it computes {base.config['model_type']} models and is the fastest")
    if by_grids:
        return Choice("trl", f"packed cannot compute {refusal}, and Unsloth no positions by grids")
    if installed and gpus > 0 and visible_devices():
        return Choice("unsloth", f"packed cannot compute {refusal}, Unsloth is installed and there is a GPU")
    missing = "there is no GPU for Unsloth" if installed else "Unsloth is not installed"
    return Choice("trl", f"packed cannot compute {refusal}, and {missing}")


def packed_refusal(base: BaseModel, *, longest: int) -> str | None:
    """What of a model the packed backend does not compute, in words; None if it computes all of it.

    A key that config.json leaves out has the architecture's default. longest: tokens of the longest sample
    """
    from arcfold.training.packed.loop import ARCHITECTURES, ROPE_TYPES

    config = base.config
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        return f"{kind} models"
    if base.is_quantized:
        return "quantized weights"
    if config.get("hidden_act", "silu") != "silu":
        return str(config["hidden_act"])
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if (name := rope.get("rope_type", rope.get("type", "default"))) not in ROPE_TYPES:
        return f"{name} positions"
    if rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)) != 1.0:
        return "positions that cover a part of a head"
    # where config.json says nothing, Mistral has a window and the others do not use theirs
    mistral = kind == "mistral"
    window = config.get("sliding_window", 4096 if mistral else None)
    if window is not None and config.get("use_sliding_window", mistral) and longest > window:
        return f"a sliding window of {window} with samples of {longest} tokens"
    return None

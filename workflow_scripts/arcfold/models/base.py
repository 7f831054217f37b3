"""A base model as a job opens it: once, at its start, and handed on from there.

What enters: a model's folder, its record (`results/models/{model}.json`) and how the config wants it
loaded. What is asked of it later, by whom:

    codec, check_length     samples and prompts     ids of the text format, longest sequence
    config                  the choice of a backend what the layers are
    name, hash              adapters                what they were trained on
    number_type_on(device)  `loading`               what it computes in
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arcfold.arc.text import FORMATS, Codec
from arcfold.jobs.files import InputError
from arcfold.models.folder import CONFIG, IDENTITY, check_record, read_config

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class BaseModel:
    """A base model's folder and what was read of it; weights are read by `loading` alone."""

    folder: Path
    config: Mapping[str, Any]
    """The content of config.json."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """name, hash, format, token_ids, head and positions, as `folder.model_record` finds them."""
    dtype: str = "auto"
    """What it computes in: auto, float32, float16 or bfloat16."""
    quantization: str = "none"
    """none, or 4bit: the layers' matrices in bitsandbytes' NF4."""

    @classmethod
    def open(
        cls,
        folder: str | Path,
        record: Mapping[str, Any] | None = None,
        *,
        dtype: str = "auto",
        quantization: str = "none",
    ) -> BaseModel:
        """Reads config.json, and sees that the files are those of the record.

        Raises InputError if there is none, if it is that of no causal language model, or if a file has changed.
        """
        if record is not None:
            check_record(folder, record)
        return cls(Path(folder), read_config(folder), record or {}, dtype, quantization)

    @cached_property
    def codec(self) -> Codec:
        """Tasks to token ids and back, in the model's text format."""
        return codec_of(self.record)

    @property
    def identity(self) -> dict[str, str]:
        """Name and content hash, and where on the hub it is from: what an adapter records of its base."""
        return {key: self.record[key] for key in IDENTITY if key in self.record}

    def check_length(self, longest: int, key: str) -> None:
        """Raises InputError when the config asks for longer sequences than the model has positions.

        key: place in the config's settings, for the message
        """
        positions = self.record["positions"]
        if positions is not None and longest > positions:
            raise InputError(
                f"config: settings/{key}: {longest}, expected at most {positions}, "
                f"the positions of {self.record['name']}"
            )

    @property
    def is_quantized(self) -> bool:
        """Whether it is computed with quantized weights: by the user's wish, or because its authors stored it so."""
        return self.quantization != "none" or self.config.get("quantization_config") is not None

    def check_quantization(self) -> None:
        """Raises InputError if quantized weights are wished for, or stored, that cannot be computed with here."""
        stored = self.config.get("quantization_config")
        if stored is not None and stored.get("quant_method") != "bitsandbytes":
            raise InputError(
                f"{self.folder}/{CONFIG}: weights quantized with {stored.get('quant_method')}, "
                "expected bitsandbytes' or the original ones"
            )
        if self.is_quantized and find_spec("bitsandbytes") is None:
            raise InputError(
                f"{self.folder}: 4-bit weights need bitsandbytes, which is not installed, expected the environment of "
                "envs/gpu.lock (make ENV=gpu …), or a model with quantization: none"
            )

    def number_type_on(self, device: torch.device) -> torch.dtype:
        """What it computes in on a device; for auto see `gpu_number_type` and `cpu_number_type`."""
        import torch

        dtype = self.dtype
        if dtype == "auto" and device.type == "cuda":
            dtype = gpu_number_type(torch.cuda.get_device_capability(device))
        elif dtype == "auto":
            # torch has no public name for the question
            dtype = cpu_number_type(amx=torch.cpu._is_amx_tile_supported())
        made = getattr(torch, dtype)
        assert isinstance(made, torch.dtype)
        return made


def gpu_number_type(capability: tuple[int, int]) -> str:
    """The 16 bits that a GPU of this compute capability has matrix units for: bfloat16 from Ampere (8.0) on.

    Before that float16: a T4 (7.5) has no bfloat16, and torch imitates it at a fraction of the speed.
    """
    return "bfloat16" if capability >= (8, 0) else "float16"


def cpu_number_type(*, amx: bool) -> str:
    """bfloat16 with AMX; a CPU without it computes 16 bits more slowly than float32."""
    return "bfloat16" if amx else "float32"


def remedy_of_numbers(dtype: torch.dtype) -> str:
    """What to do where a model computes numbers that are not finite; "" where the number type does not explain them.

    bfloat16 and float32 reach to 3e38; float16 ends at 65504, which some models' activations exceed.
    """
    if str(dtype) != "torch.float16":
        return ""
    return "float16 ends at 65504: set the model's dtype to float32 or bfloat16 (config: models/…/dtype)"


def codec_of(record: Mapping[str, Any]) -> Codec:
    """The codec of a base model, from its record. Raises InputError for a format that there is none of."""
    if record["format"] not in FORMATS:
        raise InputError(
            f"base model {record['name']}: text format {record['format']!r}, expected one of {', '.join(FORMATS)}"
        )
    return Codec(FORMATS[record["format"]], record["token_ids"], tuple(record.get("head", ())))


def number_type(model: Any) -> str:
    """What a loaded model computes in, as in the config; quantized weights are of another type."""
    return str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")

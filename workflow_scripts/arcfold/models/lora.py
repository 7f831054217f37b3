"""LoRA adapters in PEFT's layout: what is trained, fresh weights, reading and writing.

The attention and MLP matrices that are targets get a LoRA. `embed_tokens` and `lm_head` are
trained as full matrices (PEFT's `modules_to_save`), because trl refuses a LoRA on `lm_head` and
because full matrices are small where the vocabulary is cut. On a model with tied embeddings
either of the two names stands for the one matrix that both share (PEFT's `ensure_weight_tying`),
so the weights are tied before and after.

A folder holds `adapter_config.json` and `adapter_model.safetensors`, which PEFT reads, and
`base.json`, the name and the content hash of the base model, which PEFT ignores. PEFT loads an
adapter by its folder alone (`AutoPeftModelForCausalLM`) where the base is a model of the hub.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arcfold.jobs.files import InputError, check_schema, one_line, read_json, write_json
from arcfold.models.architectures import EMBEDDINGS
from arcfold.models.folder import IDENTITY
from arcfold.models.weights import read_header

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
BASE = "base.json"
FILES = (CONFIG, WEIGHTS, BASE)

_PREFIX = "base_model.model."
_TIED_HEAD = f"{_PREFIX}lm_head.weight"
# Values that an adapter must not differ from: what they switch on is neither trained nor written here.
_PLAIN = {
    "peft_type": "LORA",
    "bias": "none",
    "lora_bias": False,
    "use_dora": False,
    "fan_in_fan_out": False,
    "rank_pattern": {},
    "alpha_pattern": {},
    "layers_to_transform": None,
    "trainable_token_indices": None,
    "target_parameters": None,
    "layer_replication": None,
}


@dataclass(frozen=True)
class LoraSpec:
    """The shape of an adapter: everything that PEFT needs to know besides the weights."""

    rank: int
    """Rank r of every LoRA: A is (r, inputs), B is (outputs, r)."""
    alpha: float
    """Numerator of the scale."""
    rslora: bool
    """Scale by alpha / sqrt(r) instead of alpha / r."""
    dropout: float
    """Probability with which an input of a LoRA is zeroed in training."""
    linear: tuple[str, ...]
    """Names of the linear layers with a LoRA, the last part of a module's path, e.g. `q_proj`."""
    full: tuple[str, ...]
    """Which of `embed_tokens` and `lm_head` are trained as full matrices."""
    tied: bool
    """Whether those two are one matrix."""

    @property
    def scale(self) -> float:
        """The factor of B·A in the output of an adapted layer."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def peft_config(self) -> dict[str, Any]:
        """`adapter_config.json` but for the base model; keys that are not here have PEFT's defaults."""
        return {
            "bias": "none",
            "ensure_weight_tying": bool(self.tied and self.full),
            "inference_mode": True,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "modules_to_save": list(self.full) or None,
            "peft_type": "LORA",
            "r": self.rank,
            "target_modules": list(self.linear),
            "task_type": "CAUSAL_LM",
            "use_rslora": self.rslora,
        }


def _place_of(base: Mapping[str, str]) -> dict[str, Any]:
    """Where PEFT finds the base: on the hub, at its revision, or nowhere.

    The name of a local one is no name that the hub could know: PEFT would load whatever has it there.
    """
    if "hub" in base:
        return {"base_model_name_or_path": base["hub"], "revision": base["revision"]}
    return {"base_model_name_or_path": f"{base['name']}@sha256:{base['hash']}", "revision": None}


def make_spec(
    model: nn.Module, *, rank: int, alpha: float, rslora: bool, targets: Iterable[str], dropout: float = 0.0
) -> LoraSpec:
    """The adapter that these settings mean on this model; see the module's text for the embeddings.

    Raises InputError for a target that the model does not have.
    """
    targets = tuple(targets)
    linear = tuple(name for name in targets if name not in EMBEDDINGS)
    known = {_last(path) for path, _ in _linear_modules(model)}
    for name in linear:
        if name not in known:
            raise InputError(f"targets: {name!r} is no linear layer of the model, expected some of {sorted(known)}")
    if not targets:
        raise InputError("targets: empty, expected at least one layer to train")
    if rank < 1:
        raise InputError(f"rank: {rank}, expected at least 1")
    if not linear:
        raise InputError(f"targets: only {', '.join(targets)}, expected at least one layer for a LoRA")
    tied = is_tied(model)
    full = tuple(name for name in EMBEDDINGS if name in targets)
    if tied and full:
        full = EMBEDDINGS[:1]
    return LoraSpec(rank, alpha, rslora, dropout, linear, full, tied)


def is_tied(model: nn.Module) -> bool:
    """Whether the input embedding and the output head of a causal language model are one matrix."""
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight  # type: ignore[operator]


def fresh_weights(model: nn.Module, spec: LoraSpec, seed: int) -> dict[str, Tensor]:
    """Where training starts: A uniform in ±1/sqrt(inputs), B zero, full matrices as in the base; float32.

    The keys are those of `adapter_model.safetensors`. A's numbers depend on the seed and on the
    order of the model's layers, neither on the device nor on the backend.
    """
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}
    for a, b, module in _pairs(model, spec):
        bound = 1 / math.sqrt(module.in_features)
        weights[a] = torch.empty(spec.rank, module.in_features).uniform_(-bound, bound, generator=generator)
        weights[b] = torch.zeros(module.out_features, spec.rank)
    for key, module in _full(model, spec):
        weights[key] = module.weight.detach().to("cpu", torch.float32, copy=True)
    return weights


@torch.no_grad()
def merge(model: nn.Module, spec: LoraSpec, weights: Mapping[str, Tensor]) -> None:
    """Adds an adapter to the model's own weights, on their device: W + scale · B · A, as PEFT merges.

    The product is computed in float32, the sum rounded to the model's number type once.
    """
    for a, b, module in _pairs(model, spec):
        device = module.weight.device
        module.weight += (weights[b].to(device) @ weights[a].to(device)) * spec.scale
    for key, module in _full(model, spec):
        module.weight.copy_(weights[key])


def embedding(model: nn.Module, name: str) -> tuple[str, Any]:
    """Path and module of `embed_tokens` or `lm_head`."""
    wanted = model.get_input_embeddings() if name == "embed_tokens" else model.get_output_embeddings()  # type: ignore[operator]
    return next((path, module) for path, module in model.named_modules() if module is wanted)


def save_adapter(
    folder: Path, spec: LoraSpec, weights: Mapping[str, Tensor], base: Mapping[str, str], saved_as: str = "float32"
) -> None:
    """Writes the three files of an adapter into an existing folder; the bytes depend on the arguments alone.

    `base` has the keys `name` and `hash`, and `hub` and `revision` if it is a model of the hub. The name is written as
    it is: pass one without a path. saved_as: the type of the numbers, float32 or bfloat16.
    """
    from safetensors.torch import save_file

    config = json.dumps({**spec.peft_config(), **_place_of(base)}, indent=2, sort_keys=True)
    (folder / CONFIG).write_text(config + "\n", encoding="utf-8")
    named = peft_state(spec, weights)
    tensors = {key: named[key].detach().to("cpu", getattr(torch, saved_as)).contiguous() for key in sorted(named)}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    write_json(folder / BASE, {key: base[key] for key in IDENTITY if key in base}, "base")


def peft_state(spec: LoraSpec, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights as PEFT names them: a matrix that is tied stands under both of its names."""
    state = dict(weights)
    if spec.tied and spec.full:
        state[_TIED_HEAD] = next(t for key, t in weights.items() if key.endswith(f"{EMBEDDINGS[0]}.weight")).clone()
    return state


def load_adapter(folder: Path, model: nn.Module, base: Mapping[str, str]) -> tuple[LoraSpec, dict[str, Tensor]]:
    """An adapter to go on from: its own configuration and its weights in float32 on the CPU.

    Raises InputError with one line when a file is missing or broken, the adapter was trained on
    another base (by content hash), its configuration is none that can be trained here, or its
    weights do not fit the model.
    """
    check_base(folder, base)
    spec = _spec_of(folder / CONFIG, model)
    weights = _read_weights(folder / WEIGHTS)
    if spec.tied and spec.full:
        weights.pop(_TIED_HEAD, None)
    expected = {key: module.weight.shape for key, module in _full(model, spec)}
    for a, b, module in _pairs(model, spec):
        expected[a] = torch.Size((spec.rank, module.in_features))
        expected[b] = torch.Size((module.out_features, spec.rank))
    for key in sorted(expected.keys() | weights.keys()):
        if key not in weights or key not in expected:
            raise InputError(f"{folder / WEIGHTS}: {key} is {'missing' if key in expected else 'not expected'}")
        if weights[key].shape != expected[key]:
            raise InputError(
                f"{folder / WEIGHTS}: {key} has shape {tuple(weights[key].shape)}, expected {tuple(expected[key])}"
            )
        if not weights[key].isfinite().all():
            raise InputError(f"{folder / WEIGHTS}: {key} has numbers that are NaN or infinite, expected finite ones")
    return spec, weights


def check_base(folder: Path, base: Mapping[str, str]) -> None:
    """Raises InputError if an adapter was trained on another base model, by content hash."""
    recorded = read_json(folder / BASE, "base")
    if recorded["hash"] != base["hash"]:
        raise InputError(
            f"{folder}: trained on the base {recorded['name']} with hash {recorded['hash']}, "
            f"expected {base['name']} with hash {base['hash']}"
        )


def _spec_of(path: Path, model: nn.Module) -> LoraSpec:
    config: Any = read_json(path)
    check_schema(config, "adapter_config", path)
    for key, plain in _PLAIN.items():
        if config.get(key, plain) != plain and config.get(key) not in (None, [], {}):
            raise InputError(f"{path}: {key} is {config[key]!r}, expected {plain!r}")
    targets = config["target_modules"]
    saved = config.get("modules_to_save") or []
    for name in targets:
        if name in EMBEDDINGS:
            raise InputError(f"{path}: target_modules has {name}, expected it under modules_to_save")
    try:
        return make_spec(
            model,
            rank=config["r"],
            alpha=config["lora_alpha"],
            rslora=bool(config.get("use_rslora", False)),
            dropout=float(config.get("lora_dropout", 0.0)),
            targets=[*targets, *saved],
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    read_header(path)
    try:
        return {key: tensor.to(torch.float32) for key, tensor in load_file(path).items()}
    except (SafetensorError, KeyError, ValueError) as error:  # a type of numbers that torch does not know
        raise InputError(f"{path}: cannot be read ({one_line(error)})") from None


def _linear_modules(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    """Path and module of every linear layer but the output head, in the model's order."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    return [(path, m) for path, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head]


def _pairs(model: nn.Module, spec: LoraSpec) -> Iterator[tuple[str, str, nn.Linear]]:
    """For every layer with a LoRA the keys of A and B in an adapter's file, and the layer, in the model's order."""
    for path, module in _linear_modules(model):
        if _last(path) in spec.linear:
            key = f"{_PREFIX}{path}"
            yield f"{key}.lora_A.weight", f"{key}.lora_B.weight", module


def _full(model: nn.Module, spec: LoraSpec) -> Iterator[tuple[str, Any]]:
    """For every matrix that is trained as a whole its key in an adapter's file, and its module."""
    for name in spec.full:
        path, module = embedding(model, name)
        yield f"{_PREFIX}{path}.weight", module


def _last(path: str) -> str:
    return path.rsplit(".", 1)[-1]

"""Seconds and bytes of a fold's jobs: counts of `work` and `sizes` with the rates of a device.

Multiplications and additions are counted as two. A token of a training costs 4 for each frozen parameter (forward, and
the gradient of its input) and 6 for each trained one; attention costs 14 for each pair of tokens, each of its numbers
and layer, of which the causal half is computed: 2 products forward and 5 backward. A prompt costs 2 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arcfold.models.sizes import BYTES, ModelSize
from arcfold.planning.rates import PromptRates, Rates
from arcfold.planning.work import PromptWork, TrainingWork

CANDIDATES = 3.0
"""Candidates of a test input that a rescoring is expected to have: what runs on ARC had in the mean."""
BREADTH = 0.5
"""How the tokens run for a reply grow with a lower threshold: as its inverse to this power."""
MASTER = 16
"""Bytes of a trained parameter in float32: itself, its gradient and the two moments of AdamW."""
SAVED = 12
"""Bytes of a trained parameter in a checkpoint: itself and the two moments."""
FREE = 0.8
"""The part of a device's memory beside the weights that a search or rescoring keeps keys and values in."""


@dataclass(frozen=True)
class FoldWork:
    """All that a fold has to do."""

    training: TrainingWork
    search: PromptWork
    rescoring: PromptWork


@dataclass(frozen=True)
class FoldSeconds:
    """What a fold's three jobs take on a device that is warm."""

    training: float
    search: float
    rescoring: float

    @property
    def total(self) -> float:
        return self.training + self.search + self.rescoring


def training_flops(work: TrainingWork, size: ModelSize, rank: int, targets: Any) -> float:
    """Multiplications and additions of a training."""
    low, full = size.trained(rank, targets)
    frozen = size.in_layers + size.vocabulary * size.hidden
    return work.tokens * (4.0 * frozen + 6.0 * low + 2.0 * full) + 7.0 * work.squares * size.attention * size.layers


def prompt_flops(work: PromptWork, size: ModelSize) -> float:
    """Multiplications and additions of the prompts of a search or rescoring."""
    return 2.0 * work.tokens * size.in_layers + 2.0 * work.squares * size.attention * size.layers


def training_seconds(work: TrainingWork, flops: float, rates: Rates) -> float:
    if not work.steps:
        return 0.0
    return rates.first_step_seconds + work.steps * rates.step_seconds + flops / rates.training_flops


def prompt_seconds(work: PromptWork, flops: float, min_prob: float, of: PromptRates, measured_at: float) -> float:
    """Of a search or rescoring, by the rates of one; measured_at: the threshold that they were measured at."""
    breadth = (measured_at / min_prob) ** BREADTH
    replies = work.reply_tokens * of.reply_token_seconds * breadth + work.longest_reply * of.reply_step_seconds
    return of.job_seconds + flops / of.flops + replies


def fold_seconds(work: FoldWork, size: ModelSize, settings: Mapping[str, Any], rates: Rates) -> FoldSeconds:
    """What a fold's jobs take; settings: a run's."""
    training, min_prob = settings["training"], settings["search"]["min_prob"]
    flops = training_flops(work.training, size, training["rank"], training["targets"])
    return FoldSeconds(
        training_seconds(work.training, flops, rates),
        *(
            prompt_seconds(each, prompt_flops(each, size), min_prob, of, rates.min_prob)
            for each, of in ((work.search, rates.search), (work.rescoring, rates.rescoring))
        ),
    )


def weight_bytes(size: ModelSize, number_type: str, quantization: str = "none") -> float:
    """Bytes of a base model's weights on a device."""
    number = BYTES[number_type]
    layers = BYTES["4bit"] if quantization == "4bit" else number
    return size.in_layers * layers + (size.parameters - size.in_layers) * number


def fixed_bytes(size: ModelSize, settings: Mapping[str, Any], number_type: str, quantization: str = "none") -> float:
    """Bytes that a training holds whatever its samples are; settings: the section `training`."""
    trained = sum(size.trained(settings["rank"], settings["targets"]))
    return weight_bytes(size, number_type, quantization) + trained * (MASTER + BYTES[number_type])


def activation_bytes(size: ModelSize, number_type: str) -> float:
    """Bytes that one token of a training's forward pass leaves for the backward one: those of the blocks, and at the
    end the logits in float32, and their gradient.
    """
    return size.activations * BYTES[number_type] + size.vocabulary * 8


def training_bytes(
    work: TrainingWork, size: ModelSize, settings: Mapping[str, Any], number_type: str, quantization: str, rates: Rates
) -> float:
    """Peak of a training on a GPU: its fixed part and the activations of the largest forward pass."""
    each = rates.token_bytes or activation_bytes(size, number_type)
    return fixed_bytes(size, settings, number_type, quantization) + work.longest * settings["batch"] * each


def prompt_bytes(
    work: PromptWork, size: ModelSize, longest_reply: int, number_type: str, memory: int | None, cache_gib: float | str
) -> float:
    """Peak of a search or rescoring: the weights, and keys and values of all prompts, or as many as may be."""
    weights = weight_bytes(size, number_type)
    wanted = (work.tokens + work.prompts * longest_reply) * size.cache_bytes(BYTES[number_type])
    if not isinstance(cache_gib, str):
        return weights + min(wanted, cache_gib * 2**30)
    return weights + (wanted if memory is None else min(wanted, FREE * max(memory - weights, 0.0)))

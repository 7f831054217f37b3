"""How well a base model adapts: a quick stand-in for test-time training, search and selection.

All weights are trained for some steps on the demonstrations of held-out tasks, their last pairs hidden,
then the greedy replies to these are counted in eight views. The share of tasks with two right views
or more follows the score of the whole pipeline at a small part of its time.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from arcfold.pretraining.attention import Attention, make_attention
from arcfold.pretraining.batches import Batches, BatchSettings, Store
from arcfold.pretraining.held_out import Score, make_questions
from arcfold.pretraining.loop import Group, Pretraining, PretrainingSettings, TrainingBudget
from arcfold.pretraining.muon import OptimizerSettings
from arcfold.pretraining.network import Network
from arcfold.pretraining.shards import Shard

VIEWS = 8


@dataclass(frozen=True)
class AdaptingSettings:
    """How the stand-in trains."""

    steps: int = 150
    tokens: int = 16384
    """Tokens of a step."""
    rate: float = 0.25
    """Factor of the rates of pretraining."""


def adapted_scores(
    network: Network,
    shard: Shard,
    trials: Sequence[AdaptingSettings],
    optimizer: OptimizerSettings,
    group: Group,
    attention: str,
) -> list[Score]:
    """The scores after adapting copies of the network, on its device, to the tasks of a shard, one for each trial.

    Every process of `group` computes the same alone.
    """
    alone = Group.alone(group.device)
    hidden = Store([shard], {shard.name: 1.0}, last_pairs_hidden=1)
    whole = Store([shard], {shard.name: 1.0})
    # one for all trials of a size, since a compiler takes another object for another computation
    attentions: dict[int, Attention] = {}
    scores = []
    for trial in trials:
        longest = min(network.shape.positions, trial.tokens)
        if trial.tokens not in attentions:
            attentions[trial.tokens] = make_attention(attention, trial.tokens, longest, group.device)
        rates = replace(
            optimizer,
            matrix_rate=optimizer.matrix_rate * trial.rate,
            other_rate=optimizer.other_rate * trial.rate,
            momentum_steps=0,
            weight_decay=0.0,
        )
        training = Pretraining(
            copy.deepcopy(network),
            Batches(hidden, BatchSettings(tokens=trial.tokens, longest=longest), pairs={10: 1.0}),
            PretrainingSettings(
                optimizer=rates, warmup_steps=min(10, trial.steps), decay_share=0.9, held_out_seconds=1e9
            ),
            group=alone,
            attention=attentions[trial.tokens],
        )
        training.run(TrainingBudget(steps=trial.steps), time.monotonic(), say=lambda line: None)
        training.held_out["adapted"] = (whole, make_questions(whole, VIEWS, longest))
        scores.append(training.score("adapted"))
    return scores

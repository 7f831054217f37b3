"""A run that is made of others: their candidates together, each scored by every member.

    both: { ensemble: [8folds, 4folds] }

A task has an adapter in each member. What one member found is scored under the adapters of the others too, in their
own scoring views, and the selection sees all scores of all candidates. The folds are the first member's.

Its files in the store, beside those of its members:

    others           for a fold of a member, what only other members found: a file of candidates
    others_rescored  the same with this member's scores: a file of rescored candidates
    ensembles        for a fold of the first member, all candidates with all scores: a file of rescored candidates

Of the first two each member has its own. A member's seed counts from the ensemble's: `both-seed3` is [8folds-seed3,
4folds-seed3], and of [8folds, 8folds-seed100] it is [8folds-seed3, 8folds-seed103].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arcfold.jobs.files import InputError, PlacedError, hash_of
from arcfold.runs.layers import settings_of
from arcfold.runs.names import LARGEST_SEED, Config, NameParts, name_parts
from arcfold.runs.runs import (
    KEY_LENGTH,
    STAGES,
    Run,
    check_dataset,
    paths_in,
    resolve_run,
    stage_settings,
    store_folder,
)
from arcfold.runs.variants import overlay

OWN_STAGES = ("others", "others_rescored", "ensembles")
"""The steps of an ensemble."""
_DEPENDS_ON = {"others": "candidates", "others_rescored": "rescored", "ensembles": "rescored"}
"""The last step of its members that each depends on."""


@dataclass(frozen=True)
class Ensemble:
    """Runs that answer together. settings has a section for its own stage: selection."""

    name: str
    dataset: str
    seed: int
    members: tuple[Run, ...]
    """Two or more; the first has the folds."""
    settings: Mapping[str, Mapping[str, Any]]

    @property
    def folds(self) -> int:
        """The number of folds of the first member."""
        return self.members[0].folds

    @property
    def models(self) -> list[str]:
        """The base models of its members, each once."""
        return list(dict.fromkeys(member.model for member in self.members))

    def store(self, stage: str) -> str:
        """The folder of a stage's files. Raises InputError for a stage that its members have, and it has not."""
        if stage == "folds":
            return self.members[0].store(stage)
        if stage == "rescored":
            return self._own("ensembles", 0)
        raise InputError(
            f"run {self.name}: an ensemble has no {stage} of its own, expected those of "
            f"{' or '.join(member.name for member in self.members)}"
        )

    def paths(self, stage: str) -> list[str]:
        """The files of a stage of all members, in their order; of `rescored` its own."""
        if stage == "rescored":
            return paths_in(self.store(stage), stage, self.folds)
        return [path for member in self.members for path in member.paths(stage)]

    def linked(self, stage: str) -> list[str]:
        """The files of a stage that the run's folder has links to: its own."""
        return self.paths(stage) if stage == "rescored" else []

    def scorings(self) -> list[str]:
        """The files of all rescoring that was done for it: of each member's own candidates, and of the others'."""
        own = [path for member in self.members for path in member.paths("rescored")]
        folders = [self._own("others_rescored", number) for number in range(len(self.members))]
        others = zip(folders, self.members, strict=True)
        return own + [path for folder, member in others for path in paths_in(folder, "rescored", member.folds)]

    def steps(self) -> dict[str, str]:
        """The folders of its own steps and, behind their names, of its members'."""
        steps = {"folds": self.store("folds"), "rescored": self.store("rescored")}
        return steps | {f"{each.name}/{stage}": each.store(stage) for each in self.members for stage in STAGES}

    def keyed(self) -> dict[str, Any]:
        """What the last folder of each step's path stands for, by that folder's name."""
        found = {key: content for member in self.members for key, content in member.keyed().items()}
        contents = [self._content(stage, number) for stage in OWN_STAGES for number in range(len(self.members))]
        return found | {hash_of(content, KEY_LENGTH): content for content in contents}

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dataset": self.dataset,
            "seed": self.seed,
            "ensemble": [member.to_json() for member in self.members],
            "settings": dict(self.settings),
        }

    def _own(self, stage: str, number: int) -> str:
        """The folder of one of its own steps, for the member of that number."""
        member = self.members[number]
        return store_folder(stage, self.dataset, member.folds, member.seed, self._content(stage, number))

    def _content(self, stage: str, number: int) -> dict[str, Any]:
        """What a step's files depend on: the members, and which of them scores."""
        last = _DEPENDS_ON[stage]
        members = [
            {
                "folds": each.folds,
                "seed": each.seed,
                "settings": stage_settings(last, {"model": each.model, **each.settings}),
            }
            for each in self.members
        ]
        return {"stage": stage, "of": number, "members": members}


AnyRun = Run | Ensemble


def members_of(content: Mapping[str, Any], dataset: str) -> list[Run]:
    """The members behind a folder name of the store, as far as the step's files depend on them."""
    return [
        Run("", dataset, each["folds"], each["seed"], each["settings"]["model"], each["settings"])
        for each in content["members"]
    ]


def store_of(stage: str, content: Mapping[str, Any], dataset: str, number: int) -> str:
    """The folder of a step of an ensemble, for the member of that number, from what another of its folders stands for.

    stage: `others` or `others_rescored`
    """
    last = _DEPENDS_ON[stage]
    members = [{**each, "settings": stage_settings(last, each["settings"])} for each in content["members"]]
    member = members[number]
    made = {"stage": stage, "of": number, "members": members}
    return store_folder(stage, dataset, member["folds"], member["seed"], made)


def ensembles(config: Config) -> list[str]:
    """The runs that are made of others."""
    return [name for name, entry in config["runs"].items() if "ensemble" in entry]


def resolve(config: Config, name: str, count_tasks: Callable[[str], int]) -> AnyRun:
    """The run of that name, of either kind. `count_tasks` tells the number of tasks of a dataset.

    Raises InputError as `resolve_run` does, and for members of different datasets.
    """
    parts = name_parts(config, name)
    entry = config["runs"].get(parts.entry, {})
    if "ensemble" not in entry:
        return resolve_run(config, name, count_tasks)
    dataset = parts.dataset or entry.get("dataset", config["dataset"])
    check_dataset(config, dataset)
    if odd := [key for key in parts.changes if key != "method"]:
        raise InputError(
            f"run {name}: {odd[0]} is its members' affair, expected method, or an ensemble of other members"
        )
    members = [_member(config, member, name, dataset, parts, count_tasks) for member in entry["ensemble"]]
    for number, member in enumerate(members):
        same = [each.name for each in members[:number] if each.steps() == member.steps()]
        if same:
            raise InputError(
                f"run {name}: its members {same[0]} and {member.name} are one run, expected different ones"
            )
    layers = (config, entry, overlay(parts.changes))
    selection = settings_of(*(layer.get("settings", {}).get("selection", {}) for layer in layers))
    seed = config["seed"] if parts.seed is None else parts.seed
    return Ensemble(name, dataset, seed, tuple(members), {"selection": selection})


def _member(
    config: Config, member: str, of: str, dataset: str, parts: NameParts, count_tasks: Callable[[str], int]
) -> Run:
    """A member of an ensemble, on its dataset and with its seed."""
    own = name_parts(config, member)
    own_dataset = own.dataset or config["runs"].get(own.entry, {}).get("dataset")
    if own_dataset not in (None, dataset):
        raise InputError(f"run {of}: its member {member} is a run on {own_dataset}, expected one on {dataset}")
    name = member if own_dataset or dataset == config["dataset"] else f"{dataset}_{member}"
    if parts.seed is not None:
        seed = parts.seed + (own.seed or 0)
        if seed > LARGEST_SEED:
            raise InputError(f"run {of}: seed {seed} of its member {member}, expected at most {LARGEST_SEED}")
        name = f"{name.removesuffix(f'-seed{own.seed}')}-seed{seed}"
    return resolve_run(config, name, count_tasks)


def check_ensembles(config: Config, where: str) -> None:
    """What the schema cannot say of ensembles. Raises PlacedError with the key."""
    theirs = ensembles(config)
    for name in theirs:
        members: Sequence[str] = config["runs"][name]["ensemble"]
        for number, member in enumerate(members):
            place = f"runs/{name}/ensemble/{number}"
            try:
                entry = name_parts(config, member).entry
            except InputError as error:
                raise PlacedError(where, place, str(error)) from None
            if entry in theirs:
                raise PlacedError(where, place, f"{member} is an ensemble itself, expected a run with adapters")
            if "submission" in config["runs"].get(entry, {}):
                said = f"{member} is a submission from elsewhere, expected a run with adapters"
                raise PlacedError(where, place, said)

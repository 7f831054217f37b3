"""What was asked for: a target that no rule makes is refused with the one that was probably meant.

    results/scroe_11folds.json    no rule makes it, did you mean results/score_11folds.json?

A rule's output stands here as its path with wildcards, `results/score_{run}.json`. Names that a wildcard may
have are the config's, and what of the target itself could be one.
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from arcfold.jobs.files import InputError, shortened
from arcfold.runs.names import datasets, is_run

MOST_GUESSES = 20_000
_WILDCARD = re.compile(r"\{(\w+)\}")
_LONGEST_PART = 255  # bytes of one name in a path, on every usual file system


def check_targets(
    targets: Iterable[str],
    rules: Sequence[str],
    outputs: Mapping[str, Sequence[re.Pattern[str]]],
    config: Mapping[str, Any],
) -> None:
    """Raises InputError for a target that is no rule, no rule's output, and no file that is there.

    rules: names; outputs: each path with wildcards, with the expressions that its files match, one for
    each rule that makes some of them
    """
    for asked in targets:
        if asked in rules:
            continue
        if not asked:
            raise InputError("an empty target, expected one of those in docs/targets.md")
        target = os.path.normpath(asked)  # as Snakemake looks for it
        if any(len(part.encode(errors="replace")) > _LONGEST_PART for part in target.split("/")):
            raise InputError(f"target {_shown(target)}: a name of more than {_LONGEST_PART} letters, expected fewer")
        if any(regex.fullmatch(target) for regexes in outputs.values() for regex in regexes) or os.path.lexists(target):
            continue
        close = _closest(target, [*rules, *_guesses(target, list(outputs), config)])
        raise InputError(
            f"target {_shown(target)}: no rule makes it"
            + (f", did you mean {close}?" if close else ", expected one of those in docs/targets.md")
        )


def _shown(target: str) -> str:
    """A target as a line can show it."""
    return shortened(target if target.isprintable() else ascii(target), 200)


def _closest(target: str, known: list[str]) -> str | None:
    found = difflib.get_close_matches(target, known, n=1, cutoff=0.7)
    return found[0] if found else None


def _guesses(target: str, outputs: Sequence[str], config: Mapping[str, Any]) -> Iterator[str]:
    """Targets that exist, as many as `MOST_GUESSES`."""
    names = _names(target, config)

    def of_one(output: str) -> Iterator[str]:
        wildcards = list(dict.fromkeys(_WILDCARD.findall(output)))
        for values in itertools.product(*(names.get(wildcard, []) for wildcard in wildcards)):
            given = dict(zip(wildcards, values, strict=True))
            yield _WILDCARD.sub(lambda found, given=given: given[found[1]], output)  # type: ignore[misc]

    return itertools.islice(itertools.chain.from_iterable(map(of_one, outputs)), MOST_GUESSES)


def _names(target: str, config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names for each wildcard of a rule's output."""
    parts = _parts(target)
    runs = [part for part in parts if is_run(config, part)]
    folds = re.findall(r"fold-(\d{1,9})", target) or ["0"]
    tasks = [part for part in parts if re.fullmatch(r"[0-9a-f]{8}", part)] or ["00576224"]
    return {
        "run": [*runs, *config["runs"]],
        "fold": folds[:2],
        "task": tasks[:2],
        "dataset": [*datasets(config), *tasks[:2]],
        "subset": list(config["subsets"]),
        "model": list(config["models"]),
        "adapter": [part for part in parts if re.fullmatch(r"\w+_r[1-9]\d*", part)] or ["arc2_new_training_r8"],
        "corpus": list(config.get("corpora", {})),
        "base": list(config.get("base_models", {})),
        "benchmark": list(config["benchmarks"]),
        "study": list(config.get("studies", {})),
        "of": ["", *(f"_{run}" for run in [*runs, *config["runs"]])],
    }


def _parts(target: str) -> list[str]:
    """Pieces of a target that could be a name in it: what stands between two of its separators."""
    cuts = [-1, *(place.start() for place in re.finditer(r"[/_.]", target)), len(target)]
    pieces = (target[begin + 1 : end] for begin, end in itertools.combinations(cuts, 2))
    return list(dict.fromkeys(piece for piece in pieces if piece and "/" not in piece and "." not in piece))

"""Search and rescoring against the sequential references on the same inputs: seconds, passes, agreement.

The references take long, so they may be run on some of the inputs, drawn at random, until a time is
up; their passes are then scaled up by the views searched, and their time by the passes. Every such figure
stands beside those that were measured.

Words as in `candidates`: an item is one test input in one view. In the files its key is still `looks`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from arcfold.arc.tasks import Grid, Task
from arcfold.arc.text import Codec
from arcfold.jobs.measuring import clock, kernel_share, peak_mib, reset_peak
from arcfold.models.base import number_type
from arcfold.search.candidates import Drafts, InputViews, groups, queries
from arcfold.search.rescoring import reply_log_probs
from arcfold.search.search import Found, Progress, search
from arcfold.search.sequential import Replies, SequentialSearch, reply_log_prob

NOISE = {"float32": 2e-3, "float16": 0.1, "bfloat16": 0.5}
"""How far a reply's log-probabilities may lie apart, by the number type of the model. In bfloat16 two orders of
computing differ by up to 0.1 with the base model and by 0.2 (CPU) to 0.4 (GPU) after test-time training, where float32
has differences below 1e-4."""


def spread(tasks: Sequence[Task], codec: Codec, count: int, longest: int) -> list[Task]:
    """`count` tasks over the whole range of prompt lengths, or all if they are fewer; the shortest first.

    Tasks with a prompt that does not fit `longest` with the longest reply are left out.
    """
    order = sorted((codec.longest_prompt(task), task.id, task) for task in tasks)
    fitting = [task for length, _, task in order if length + codec.longest_reply <= longest]
    if count >= len(fitting):
        return fitting
    places = np.linspace(0, len(fitting) - 1, count).round().astype(int)
    return [fitting[place] for place in places]


def measure(
    model: Any,
    reference: Any,
    searched: InputViews,
    scored: InputViews,
    *,
    min_probs: Sequence[float],
    seconds: float,
    profile: bool,
    memory_budget: int | None,
    device: torch.device,
) -> dict[str, Any]:
    """All figures of one model: the search at each threshold, the rescoring of what the last one found.

    model: as search and rescoring run it; reference: the same one of transformers', which the references ask
    searched, scored: the same test inputs in the views of the search and in those of the rescoring
    seconds: about as long the references are run, each time
    profile: whether the share of kernels in the search's time is measured too, at the first threshold
    """
    lengths = sorted(map(len, searched.prompts))
    facts: dict[str, Any] = {
        "number_type": number_type(model),
        "inputs": {
            "tasks": sorted({input_view.task for input_view in searched.items}),
            "test_inputs": len(_members(searched)),
            "views": len(lengths) // len(_members(searched)),
            "scoring_views": len(scored.prompts) // len(_members(scored)),
            "prompt_tokens": {"shortest": lengths[0], "median": lengths[len(lengths) // 2], "longest": lengths[-1]},
        },
        "search": [],
    }
    found: list[Found] = []
    for min_prob in min_probs:
        made, found = compare_search(model, reference, searched, min_prob, device, seconds, memory_budget)
        facts["search"].append(made)
    grids = found_grids(searched, found)
    facts["rescoring"] = compare_rescoring(model, reference, scored, grids, device, seconds, memory_budget)
    if profile:
        facts["profile"] = kernel_share(
            lambda: timed_search(model, searched, min_probs[0], device, memory_budget), device
        )
    return facts


def totals(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Seconds of all folds together and their ratios, for each threshold, the rescoring, and both at the first one."""
    searches = [
        {
            "min_prob": same[0]["min_prob"],
            **_ratio([(one["ours"]["seconds"], one["sequential"]["seconds"]) for one in same]),
        }
        for same in zip(*(fold["search"] for fold in folds), strict=True)
    ]
    scored = [fold["rescoring"] for fold in folds if fold["rescoring"] is not None]
    rescoring = _ratio([(one["ours"]["seconds"], one["one_by_one"]["seconds"]) for one in scored])
    passes = [one["sequential"]["measured"] for fold in folds for one in fold["search"]]
    return {
        "search": searches,
        "rescoring": rescoring,
        "both": _ratio([(one["ours_seconds"], one["reference_seconds"]) for one in (searches[0], rescoring)]),
        "reference_seconds_a_pass": sum(one["seconds"] for one in passes) / sum(one["passes"] for one in passes),
        "agree": all(one["agreement"]["agree"] for fold in folds for one in fold["search"]),
        "same_bytes_twice": all(one["ours"]["same_bytes_twice"] for fold in folds for one in fold["search"]),
    }


def _ratio(seconds: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Seconds of ours and of the reference, summed, and how many times ours the reference takes."""
    ours, reference = sum(one for one, _ in seconds), sum(one for _, one in seconds)
    return {"ours_seconds": ours, "reference_seconds": reference, "ratio": reference / ours if ours else None}


def compare_search(
    model: Any,
    reference: Any,
    input_views: InputViews,
    min_prob: float,
    device: torch.device,
    seconds: float,
    memory_budget: int | None = None,
) -> tuple[dict[str, Any], list[Found]]:
    """Our search of all items, twice, and the sequential one for about `seconds`; what was found."""
    (first, before), (facts, found) = (
        timed_search(model, input_views, min_prob, device, memory_budget) for _ in range(2)
    )
    sequential, how = _sequential(reference, input_views, min_prob, found, device, seconds)
    made = {
        "min_prob": min_prob,
        "ours": {**facts, "first_seconds": first["seconds"], "same_bytes_twice": repr(before) == repr(found)},
        "sequential": sequential,
        "ratio": sequential["seconds"] / facts["seconds"],
        "agreement": how,
    }
    return made, found


def timed_search(
    model: Any, input_views: InputViews, min_prob: float, device: torch.device, memory_budget: int | None = None
) -> tuple[dict[str, Any], list[Found]]:
    """Seconds, passes, tokens and peak memory of our search, and what it found."""
    heard: list[Progress] = []
    reset_peak(device)
    began = clock(device)
    found = search(
        model,
        queries(input_views),
        end=input_views.codec.end,
        min_prob=min_prob,
        drafts=Drafts(input_views),
        groups=groups(input_views),
        memory_budget=memory_budget,
        progress=heard.append,
    )
    facts = {
        "seconds": clock(device) - began,
        "passes": heard[-1].passes,
        "tokens": heard[-1].tokens,
        "replies": heard[-1].replies,
        "smallest_margin": min(one.margin for one in found),
        "peak_mib": peak_mib(device),
    }
    return facts, found


def _sequential(
    model: Any, input_views: InputViews, min_prob: float, found: Sequence[Found], device: torch.device, seconds: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sequential search of whole test inputs until the time is up, and how ours agrees.

    The shortest prompts come first: their replies are the shortest too, so what is scaled up is a lower bound.
    """
    SequentialSearch(model, input_views.codec.end, min_prob).search(input_views.prompts[0], 2)  # warm
    members = list(_members(input_views).values())
    searched: dict[int, Replies] = {}
    passes = inputs = 0
    began = clock(device)
    for numbers in sorted(members, key=lambda numbers: len(input_views.prompts[numbers[0]])):
        searcher = SequentialSearch(model, input_views.codec.end, min_prob)
        searched |= search_input_views(searcher, input_views, numbers)
        passes, inputs = passes + searcher.passes, inputs + 1
        if clock(device) - began > seconds:
            break
    taken = clock(device) - began
    whole = len(input_views.prompts) / len(searched)
    facts = {
        "measured": {"seconds": taken, "passes": passes, "looks": len(searched), "inputs": inputs},
        "seconds_a_pass": taken / passes,
        "passes": round(passes * whole),
        "seconds": taken * whole,
        "scaled_up_by": whole,
    }
    return facts, agreement(found, searched, min_prob, NOISE[number_type(model)])


def search_input_views(
    searcher: SequentialSearch, input_views: InputViews, numbers: Sequence[int]
) -> dict[int, Replies]:
    """The sequential search of one test input's items, the best grid so far as a guess in the next view."""
    results: dict[int, Replies] = {}
    best: tuple[float, Grid] | None = None
    for number in numbers:
        guess = () if best is None else input_views.reply(number, best[1])
        results[number] = searcher.search(input_views.prompts[number], input_views.codec.longest_reply, guess)
        for tokens, value in results[number].items():
            grid = input_views.grid(number, tokens)
            if grid is not None and (best is None or value > best[0]):
                best = value, grid
    return results


def agreement(found: Sequence[Found], expected: Mapping[int, Replies], min_prob: float, noise: float) -> dict[str, Any]:
    """How two searches of the same items agree.

    `agree`: replies that only one of them has are within `noise` of the threshold, and log-probabilities
    of the same reply too. `farthest` is the largest distance to the threshold of the former.
    """
    both = alone = several = 0
    difference = farthest = 0.0
    for number, replies in expected.items():
        mine = {reply.tokens: reply.log_prob for reply in found[number].replies}
        several += len(replies) > 1
        for tokens in mine.keys() | replies.keys():
            if tokens in mine and tokens in replies:
                both += 1
                difference = max(difference, abs(mine[tokens] - replies[tokens]))
            else:
                alone += 1
                farthest = max(farthest, abs({**mine, **replies}[tokens] - math.log(min_prob)))
    return {
        "agree": difference < noise and farthest < noise,
        "margin": noise,
        "replies_of_both": both,
        "replies_of_one": alone,
        "farthest": farthest,
        "largest_difference": difference,
        "looks": len(expected),
        "looks_with_several": several,
    }


def compare_rescoring(
    model: Any,
    reference: Any,
    input_views: InputViews,
    grids: Mapping[Any, Sequence[Grid]],
    device: torch.device,
    seconds: float,
    memory_budget: int | None = None,
) -> dict[str, Any] | None:
    """Log-probabilities of each test input's grids in all its views against one pass for each; None without grids."""
    asked = [
        (input_views.prompts[number], [input_views.reply(number, grid) for grid in grids[group]])
        for number, group in enumerate(groups(input_views))
        if grids.get(group)
    ]
    every = [(place, number) for place, (_, replies) in enumerate(asked) for number in range(len(replies))]
    if not every:
        return None
    scores: list[list[float]] = []
    taken = []
    for _ in range(2):
        reset_peak(device)
        began = clock(device)
        scores = reply_log_probs(model, asked, memory_budget=memory_budget)
        taken.append(clock(device) - began)
    memory = peak_mib(device)
    reply_log_prob(reference, asked[0][0], asked[0][1][0])  # warm
    began, done, worst = clock(device), 0, 0.0
    for place, number in np.random.default_rng(0).permutation(every).tolist():
        prompt, replies = asked[place]
        worst = max(worst, abs(reply_log_prob(reference, prompt, replies[number]) - scores[place][number]))
        done += 1
        if clock(device) - began > seconds:
            break
    each = (clock(device) - began) / done
    return {
        "scores": len(every),
        "prompts": len(asked),
        "ours": {"seconds": taken[1], "first_seconds": taken[0], "peak_mib": memory},
        "one_by_one": {
            "measured": {"seconds": each * done, "passes": done},
            "seconds_a_pass": each,
            "passes": len(every),
            "seconds": each * len(every),
            "scaled_up_by": len(every) / done,
        },
        "ratio": each * len(every) / taken[1],
        "largest_difference": worst,
    }


def found_grids(input_views: InputViews, found: Sequence[Found]) -> dict[Any, list[Grid]]:
    """The grids that were found for each test input, in the order in which they were found."""
    grids: dict[Any, list[Grid]] = {}
    for number, group in enumerate(groups(input_views)):
        for reply in found[number].replies:
            grid = input_views.grid(number, reply.tokens)
            if grid is not None and grid not in grids.setdefault(group, []):
                grids[group].append(grid)
    return grids


def _members(input_views: InputViews) -> dict[Any, list[int]]:
    """The numbers of each test input's items."""
    members: dict[Any, list[int]] = {}
    for number, group in enumerate(groups(input_views)):
        members.setdefault(group, []).append(number)
    return members

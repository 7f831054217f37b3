"""A comparison as a table: a row for each configuration, its difference from the base beside it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

GROUPS = ("score", "score_outputs", "oracle")


def as_csv(made: Mapping[str, Any]) -> str:
    """The text of results/compare_{study}.csv. made: the content of the JSON file."""
    keys = sorted({key for each in made["configurations"] for key in each["settings"]})
    against = {pair["a"]: pair for pair in made["pairs"] if pair["b"] == made["base"]}
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    groups = [f"{group}_{part}" for group in GROUPS for part in ("mean", "sd", "low", "high")]
    against_base = ["difference", "difference_low", "difference_high", "p_holm", "won", "lost", "verdict"]
    cost = ["device_seconds", "peak_host_mib", "peak_device_mib", "tokens"]
    head = ["configuration", *keys, "seeds", *groups, "score_best", "leaderboard", *against_base, *cost]
    table.writerow([*head, "commits", "codes"])
    for each in made["configurations"]:
        pair = against.get(each["name"])
        row = [each["name"], *(_cell(each["settings"], key) for key in keys), each["score"]["n"]]
        for group in GROUPS:
            found = each[group]
            row += ["", "", "", ""] if found is None else [found["mean"], found["sd"], *found["interval"]]
        row += [each["score"]["best"], each["leaderboard"]]
        if pair is None:
            row += [""] * len(against_base)
        else:
            row += [pair["difference"], *pair["interval"], *(pair[key] for key in against_base[3:])]
        row += [each[key] for key in cost]
        for key in ("commit", "code"):
            row.append(" ".join(sorted({str(run[key]) for run in each["runs"] if run[key] is not None})))
        table.writerow(row)
    return stream.getvalue()


def _cell(settings: Mapping[str, Any], key: str) -> Any:
    """A setting, empty where it is the base's."""
    if key not in settings:
        return ""
    value = settings[key]
    return value if isinstance(value, str | int | float) else json.dumps(value)

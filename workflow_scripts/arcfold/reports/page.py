"""The page itself: a summary and packed tasks in one file of HTML, with style and scripts inside."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from arcfold.reports import formats
from arcfold.reports.bundle import scripts, styles


def render(summary: Mapping[str, Any], packed: Mapping[str, str], *, title: str, command: str) -> str:
    """The page; equal bytes for equal data.

    packed: the tasks of the summary, as `packing` gives them; command: what makes the page again

    What comes from a user's files (names, ids, notes, versions) is text on it and nothing else: the template escapes
    it, the scripts make text nodes of it, and the page's own policy runs no script but the one whose hash it names.
    """
    script = scripts()
    return _environment().get_template("report.html.j2").render(
        title=title,
        command=command,
        summary=summary,
        # inside of a script element text is raw: no tag may end it
        data=Markup(_json_without_tags(summary)),
        style=Markup(styles()),
        script=Markup(script),
        script_hash=_hash(script),
        packed=[packed[task["id"]] for task in summary["tasks"]],
        figures=figures_of(summary),
    )  # fmt: skip


def _json_without_tags(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(script: str) -> str:
    """As a Content-Security-Policy names a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def figures_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What the table needs beside the summary.

    scale: the scores between which its intervals are drawn
    single: whether there is one configuration; open: whether it shows seeds from the start
    alone: whether there is one run, of which everything stands above; leaderboard: whether a configuration has one
    """
    ends = [end for each in summary["configurations"] for end in each["score"]["interval"]]
    low, high = min(ends), max(ends)
    single = len(summary["configurations"]) == 1
    alone = single and len(summary["configurations"][0]["runs"]) == 1
    return {
        "scale": (low, high if high > low else low + 1),
        "single": single,
        "open": single and not alone,
        "alone": alone,
        "leaderboard": any(each["leaderboard"] is not None for each in summary["configurations"]),
    }


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("arcfold.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name in formats.__all__:
        made.filters[name] = getattr(formats, name)
    return made

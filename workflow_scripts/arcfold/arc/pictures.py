"""Pictures of a task: its demonstrations, and for each test input what was predicted and what was right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from arcfold.arc.tasks import Grid
from arcfold.jobs.files import one_line

# the colours that arcprize.org shows, 0 to 9
PALETTE = (
    "#000000",
    "#0074D9",
    "#FF4136",
    "#2ECC40",
    "#FFDC00",
    "#AAAAAA",
    "#F012BE",
    "#FF851B",
    "#7FDBFF",
    "#870C25",
)
LONGEST_SIDE = 150.0
GAP = 24.0
CAPTION = 18.0


@dataclass(frozen=True)
class Panel:
    """A grid with a caption; None draws the caption alone. `right` frames it in green or red."""

    caption: str
    grid: Grid | None
    right: bool | None = None


def draw_rows(title: str, rows: Sequence[Sequence[Panel]]) -> str:
    """An SVG picture of rows of panels under a title, sizes in pixels."""
    width = max(len(row) for row in rows) * (LONGEST_SIDE + GAP) + GAP
    height = CAPTION + GAP + len(rows) * (LONGEST_SIDE + CAPTION + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
        f'<text x="{GAP:g}" y="{CAPTION:g}" font-size="15" font-weight="bold">{svg_text(title)}</text>',
    ]
    top = CAPTION + GAP
    for row in rows:
        for place, panel in enumerate(row):
            parts += _panel(panel, GAP + place * (LONGEST_SIDE + GAP), top)
        top += LONGEST_SIDE + CAPTION + GAP
    return "\n".join([*parts, "</svg>", ""])


def svg_text(text: str) -> str:
    """A text that may come from a user's file as the content of an SVG element: one line, in which what is no printable
    character is a space (XML cannot hold all of them, and some turn the direction of what follows)."""
    return escape(one_line(text))


def _panel(panel: Panel, left: float, top: float) -> list[str]:
    colour = {None: "#333333", True: "#0a7d28", False: "#b3261e"}[panel.right]
    parts = [f'<text x="{left:g}" y="{top + CAPTION - 6:g}" fill="{colour}">{svg_text(panel.caption)}</text>']
    if panel.grid is None:
        return parts
    top += CAPTION
    cell = LONGEST_SIDE / max(len(panel.grid), len(panel.grid[0]))
    for y, row in enumerate(panel.grid):
        for x, value in enumerate(row):
            parts.append(
                f'<rect x="{left + x * cell:.2f}" y="{top + y * cell:.2f}" width="{cell:.2f}" height="{cell:.2f}" '
                f'fill="{PALETTE[value]}" stroke="#555555" stroke-width="0.5"/>'
            )
    if panel.right is not None:
        wide, high = cell * len(panel.grid[0]), cell * len(panel.grid)
        parts.append(
            f'<rect x="{left - 2:.2f}" y="{top - 2:.2f}" width="{wide + 4:.2f}" height="{high + 4:.2f}" '
            f'fill="none" stroke="{colour}" stroke-width="3"/>'
        )
    return parts

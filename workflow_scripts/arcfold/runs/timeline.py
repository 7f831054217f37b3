"""When each job of a run held which device, from the provenance of its files."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from arcfold.arc.pictures import svg_text

COLOURS = {"train_adapter": "#3366cc", "search_candidates": "#e67300", "rescore_candidates": "#109618"}
ROW = 34.0
WIDTH = 900.0
LEFT = 110.0
WAIT = "wait for a device"


@dataclass(frozen=True)
class Held:
    """One job on its device; seconds since the first job of the run began.

    began: the job's process; leased: from here on it holds the device; ended: its result is written
    """

    step: str
    fold: int
    device: str
    began: float
    leased: float
    ended: float


def held_by_jobs(steps: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Held]:
    """The jobs of a run, by the time at which they began; `steps` has each step's provenances, fold by fold."""
    starts = {
        (step, fold): datetime.fromisoformat(record["started"]).timestamp()
        for step, records in steps.items()
        for fold, record in enumerate(records)
    }
    first = min(starts.values())
    jobs = []
    for step, records in steps.items():
        for fold, record in enumerate(records):
            began = starts[step, fold] - first
            jobs.append(
                Held(
                    step,
                    fold,
                    _device(record),
                    began,
                    began + _before_lease(record["seconds"]),
                    began + record["seconds"]["total"],
                )
            )
    return sorted(jobs, key=lambda job: (job.began, job.step, job.fold))


def _device(record: Mapping[str, Any]) -> str:
    device = record["device"]
    return f"GPU {device.get('visible')}" if device["kind"] == "cuda" else "CPU"


def held_seconds(seconds: Mapping[str, float]) -> float:
    """Seconds that a job held its device, of the seconds of its laps."""
    return seconds["total"] - _before_lease(seconds)


def _before_lease(seconds: Mapping[str, float]) -> float:
    """Seconds of the laps up to the one in which the job got its device."""
    laps = list(seconds)
    return sum(seconds[lap] for lap in laps[: laps.index(WAIT) + 1]) if WAIT in laps else 0.0


def summary(jobs: Sequence[Held]) -> dict[str, Any]:
    """Seconds from the first lease to the last result, and of these each device's busy share; overlaps counted.

    two_holders: pairs of jobs that held one device at the same time; on GPUs it is 0.
    """
    first, last = min(job.leased for job in jobs), max(job.ended for job in jobs)
    span = max(last - first, 1e-9)
    by_device: dict[str, list[Held]] = {}
    for job in jobs:
        by_device.setdefault(job.device, []).append(job)
    overlaps = 0
    for held in by_device.values():
        ordered = sorted(held, key=lambda job: job.leased)
        overlaps += sum(later.leased < earlier.ended for earlier, later in itertools.pairwise(ordered))
    return {
        "seconds": round(last - first, 3),
        "startup_seconds": round(sum(job.leased - job.began for job in jobs), 3),
        "devices": {
            device: {
                "jobs": len(held),
                "busy_percent": round(100 * sum(job.ended - job.leased for job in held) / span, 2),
            }
            for device, held in sorted(by_device.items())
        },
        "two_holders": overlaps,
    }


def draw_timeline(title: str, jobs: Sequence[Held]) -> str:
    """An SVG picture: one row for each device, one bar for each job, pale before it holds the device."""
    devices = sorted({job.device for job in jobs})
    lanes = {device: _lanes([job for job in jobs if job.device == device]) for device in devices}
    rows = [(device, lane) for device in devices for lane in lanes[device]]
    last = max(*(job.ended for job in jobs), 1e-9)
    scale = (WIDTH - LEFT - 20) / last
    height = 70 + ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}" height="{height:g}" '
        f'viewBox="0 0 {WIDTH:g} {height:g}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH:g}" height="{height:g}" fill="#ffffff"/>',
        f'<text x="10" y="20" font-size="14" font-weight="bold">{svg_text(title)}</text>',
    ]
    for number, (step, colour) in enumerate(COLOURS.items()):
        left = LEFT + 180 * number
        parts.append(f'<rect x="{left:g}" y="30" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{left + 17:g}" y="40">{svg_text(step)}</text>')
    for number, (device, lane) in enumerate(rows):
        top = 52 + ROW * number
        parts.append(f'<text x="10" y="{top + 18:.1f}">{svg_text(device)}</text>')
        for job in lane:
            colour = COLOURS.get(job.step, "#777777")
            parts.append(_bar(job.began, job.leased, top, scale, colour, 0.25))
            parts.append(_bar(job.leased, job.ended, top, scale, colour, 1.0))
            parts.append(
                f'<text x="{LEFT + job.leased * scale + 3:.1f}" y="{top + 18:.1f}" fill="#ffffff">{job.fold}</text>'
            )
    parts.append(f'<text x="{LEFT:g}" y="{height - 4:g}">0 s</text>')
    parts.append(f'<text x="{WIDTH - 20:g}" y="{height - 4:g}" text-anchor="end">{last:.0f} s</text>')
    return "\n".join([*parts, "</svg>", ""])


def _bar(begin: float, end: float, top: float, scale: float, colour: str, opacity: float) -> str:
    return (
        f'<rect x="{LEFT + begin * scale:.2f}" y="{top:.1f}" width="{max(end - begin, 0) * scale:.2f}" '
        f'height="{ROW - 8:g}" fill="{colour}" fill-opacity="{opacity:g}" stroke="#ffffff" stroke-width="0.5"/>'
    )


def _lanes(jobs: Sequence[Held]) -> list[list[Held]]:
    """Jobs in as few rows as show no two at the same time."""
    lanes: list[list[Held]] = []
    for job in jobs:
        for lane in lanes:
            if lane[-1].ended <= job.began:
                lane.append(job)
                break
        else:
            lanes.append([job])
    return lanes

"""Makes a record, docs/measured/{name}.json, from a file of results: what the tables of the docs are written from.

    python benchmarks/record.py results/score_8folds.json score_8folds --command 'make results/score_8folds.json'
    python benchmarks/record.py results/score_8folds.json NAME --command '…' --figures command_seconds=125
    python benchmarks/record.py results/score_8folds.json NAME --command '…' --figures results/runs/8folds/timeline.json
    python benchmarks/record.py - make_test --command 'make test' --device '2 CPU cores' --figures seconds=310

A file of results is one of those that `KINDS` knows: a score, a benchmark of search or of training, the
output of a check in this folder, the training.json of a base model. Device, versions, commit and date are taken
from it where it tells; options replace them. `-` in its place takes all figures from --figures.
Afterwards `make tables` writes the tables anew.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "workflow_scripts"))

from arcfold.jobs.files import InputError, read_json  # noqa: E402

MEASURED = ROOT / "docs" / "measured"
VERSIONS = ("python", "torch", "transformers", "peft", "trl", "unsloth")
"""Of the libraries that a record names; a file of results may name more."""

Json = Mapping[str, Any]


def main() -> None:
    arguments = _arguments()
    try:
        result = {} if arguments.result == "-" else _object(arguments.result)
        record = make_record(result, arguments.what or arguments.name, arguments.command)
        for more in arguments.figures:
            record["figures"] |= _more_figures(more)
    except InputError as error:
        sys.exit(f"error: {error}")
    record |= {key: value for key in ("device", "date") if (value := getattr(arguments, key))}
    if missing := [key for key in ("device", "figures") if not record[key]]:
        sys.exit(f"error: {arguments.result} names no {missing[0]}, expected --{missing[0]}")
    MEASURED.mkdir(parents=True, exist_ok=True)
    path = MEASURED / f"{arguments.name}.json"
    path.write_text(json.dumps(_rounded(record), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(path.relative_to(ROOT))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", help="a file of results, or - for none")
    parser.add_argument("name", help="of the record")
    parser.add_argument("--command", required=True, help="what makes the result again")
    parser.add_argument("--what", help="a sentence; the name without it")
    parser.add_argument("--device", help="in words, as in '4 × H100 80GB'")
    parser.add_argument("--date", help="as in 2026-11-26; the day on which the result was written without it")
    parser.add_argument("--figures", action="append", default=[], help="more: a JSON file, or NAME=NUMBER")
    return parser.parse_args()


def make_record(result: Json, what: str, command: str) -> dict[str, Any]:
    """A record of what a file of results says; `figures` are empty and `device` is None where it says nothing."""
    kind = next((kind for kind in KINDS if result and set(kind[0]) <= result.keys()), None)
    if result and kind is None:
        known = "; ".join(", ".join(keys) for keys, _ in KINDS)
        sys.exit(f"error: no file of results that is known here, expected one with the keys {known}")
    told = _about(result)
    return {
        "what": what,
        "command": command,
        "device": told.get("device"),
        "date": str(told.get("written", date.today().isoformat()))[:10],
        "commit": told.get("git_commit") or _commit(),
        "versions": {name: told["versions"][name] for name in VERSIONS if name in told.get("versions", {})},
        "figures": kind[1](result) if kind else {},
    }


def _more_figures(more: str) -> dict[str, Any]:
    name, equals, value = more.partition("=")
    if equals:
        return {name: json.loads(value)}
    return _object(more)


def _object(path: str) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected an object, as the files of results are")
    return content


def _rounded(value: Any) -> Any:
    """Numbers with six digits: what a timing tells at most."""
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _commit() -> str | None:
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return asked.stdout.strip() or None


# --- where a result comes from --------------------------------------------------------------------


def _about(result: Json) -> dict[str, Any]:
    """Versions, commit, day and device, wherever a kind of result keeps them."""
    rows = result.get("rows", [])  # with names in a benchmark, without in a check
    rows = list(rows.values() if isinstance(rows, Mapping) else rows)
    versions = [row["versions"] for row in rows if "versions" in row]
    told: dict[str, Any] = {"versions": result.get("versions") or next(iter(versions), {})}
    told |= result.get("provenance", {})
    devices = [device for step in told.get("devices_of_folds", {}).values() for device in step]
    return told | {"device": _in_words([*devices, told.get("device"), *(row.get("device") for row in rows)])}


def _in_words(devices: Sequence[Any]) -> str | None:
    """The GPUs of a result by name and number; None for a CPU, of which a result knows neither."""
    names = {(device.get("name"), device.get("visible")) for device in devices if isinstance(device, Mapping)}
    names |= {(device, None) for device in devices if isinstance(device, str) and device != "cpu"}
    count = Counter(name.removeprefix("NVIDIA ") for name, _ in names if name)
    return ", ".join(f"{number} × {name}" for name, number in sorted(count.items())) or None


# --- the figures of each kind ---------------------------------------------------------------------


def _of_score(result: Json) -> dict[str, Any]:
    """The score, and the seconds of each step, added up over the folds: of its work, and with the process's start."""
    told = result["provenance"]
    laps = {"train_adapter": "training", "search_candidates": "search", "rescore_candidates": "rescoring"}
    seconds = {lap: sum(fold[lap] for fold in told["seconds_of_folds"][rule]) for rule, lap in laps.items()}
    processes = sum(fold["total"] for folds in told["seconds_of_folds"].values() for fold in folds)
    keys = ("score", "score_outputs", "oracle", "n_tasks", "n_outputs")
    return {key: result[key] for key in keys} | {
        "work_seconds": seconds,
        "process_seconds": processes,
        "peak_host_mib": max(told["peak_host_mib"].values()),
    }


def _of_search(result: Json) -> dict[str, Any]:
    """Seconds and ratios of all folds, and how the two searches agree."""
    totals, folds = result["totals"], result["folds"]
    searches = []
    for place, total in enumerate(totals["search"]):
        agreements = [fold["search"][place]["agreement"] for fold in folds]
        counts = {key: sum(one[key] for one in agreements) for key in ("replies_of_both", "replies_of_one")}
        distances = {key: max(one[key] for one in agreements) for key in ("farthest", "largest_difference")}
        passes = sum(fold["search"][place]["sequential"]["passes"] for fold in folds)
        searches.append({**total, **counts, **distances, "reference_passes": passes})
    scored = [fold["rescoring"] for fold in folds if fold["rescoring"] is not None]
    return {
        "search": searches,
        "rescoring": {**totals["rescoring"], "scores": sum(one["scores"] for one in scored)},
        "both": totals["both"],
        "agree": totals["agree"],
        "same_bytes_twice": totals["same_bytes_twice"],
        "number_type": folds[0]["number_type"],
        "test_inputs": sum(fold["inputs"]["test_inputs"] for fold in folds),
        "views": folds[0]["inputs"]["views"],
        "kernel_share": folds[0].get("profile", {}).get("share_of_wall_without_profiler"),
    }


def _of_training(result: Json) -> dict[str, Any]:
    """Speed and start of each way to train, and how many times its speed packed has."""
    ways = {
        way: {
            **{key: row[key] for key in ("tokens_per_second", "padding_percent", "seconds_to_first_step", "steps")},
            "packed_is_faster_by": result["comparison"].get("packed", {}).get(f"speed over {way}"),
        }
        for way, row in result["rows"].items()
        if "error" not in row
    }
    return {"run": result["run"], "tokens": result["rows"]["packed"]["tokens"], "ways": ways}


def _of_training_check(result: Json) -> dict[str, Any]:
    """Of benchmarks/training_gpu_check.py the parts 4b, attention and start."""
    done = [row for row in result["rows"] if "error" not in row]
    large = [row for row in done if row["kind"] == "train" and row["size"] == "4b"]
    keys = ("tflops", "tokens_per_second", "seconds_to_first_step", "peak_memory_gib")
    attention: Json = next((row for row in done if row["kind"] == "attention"), {})
    return {
        "4b": {row["backend"]: {key: row[key] for key in keys} for row in large},
        "attention": {name: value[2:] for name, value in attention.items() if isinstance(value, list)},
        "start": {
            row["name"].removeprefix("start "): row["seconds_to_first_step"] for row in done if row["kind"] == "start"
        },
    }


def _of_backends(result: Json) -> dict[str, Any]:
    """Of benchmarks/backends_gpu_check.py each row: losses, score, and its distance from packed's losses."""
    done = [row for row in result["rows"] if "losses" in row]
    packed = {row["start"]: row["losses"] for row in done if row["backend"] == "packed"}
    rows = []
    for row in done:
        losses, expected = row["losses"], packed.get(row["start"])
        rows.append(
            {key: row[key] for key in ("start", "backend", "quantization")}
            | {"score": row.get("score"), "first_loss": losses[0], "last_loss": sum(losses[-10:]) / len(losses[-10:])}
            | {"apart": _apart(losses, expected), "apart_at_first": _apart(losses[:20], (expected or [])[:20])}
        )
    return {"steps": len(done[0]["losses"]), "rows": rows}


def _apart(losses: Sequence[float], expected: Sequence[float] | None) -> float | None:
    """Mean relative difference of two trainings' losses; None without the other."""
    if not expected:
        return None
    return sum(abs(a - b) / abs(b) for a, b in zip(losses, expected, strict=True)) / len(losses)


def _of_base_model(result: Json) -> dict[str, Any]:
    """Size and cost of a base model. A training that went on from another counts both parts."""
    progress, begun = result["progress"], result["provenance"].get("begun")
    parts = [(progress["seconds"] - begun["seconds"] if begun else progress["seconds"], result["devices"])]
    parts += [(begun["seconds"], begun["devices"])] if begun else []
    return {
        "parameters": result["parameters"],
        "tokens": progress["tokens"],
        "seconds": progress["seconds"],
        "gpu_hours": sum(seconds * devices for seconds, devices in parts) / 3600,
        "devices": sorted({devices for _, devices in parts}),
    }


KINDS: tuple[tuple[tuple[str, ...], Callable[[Json], dict[str, Any]]], ...] = (
    (("score", "oracle", "n_tasks"), _of_score),
    (("totals", "folds"), _of_search),
    (("rows", "comparison"), _of_training),
    (("rows", "inputs"), _of_backends),
    (("rows",), _of_training_check),
    (("shape", "progress"), _of_base_model),
)
"""The keys by which a kind of result is known, and what makes its figures."""


if __name__ == "__main__":
    main()

"""How fast a device computes a model: fitted to what jobs took, kept as a record of the device and the model.

What a job takes is written as a sum of counts, each with a rate:

    training             fixed part + steps × seconds a step + multiplications / multiplications a second
    search, rescoring    job + multiplications of the prompts / … + reply tokens × seconds a reply token
                         + tokens of the longest reply × seconds of a pass, which holds the next tokens of all replies

The counts are of `work`, so that other settings of the same model follow: rank, epochs, views, longer tasks. A record
comes from `results/calibration.json`, a minute on the machine at hand, or from the ones that are shipped in
resources/rates.json; both are the same fit of points like these, one for each job:

    {"training": [{"steps": 80, "flops": 1.2e12, "seconds": 21.6, "token_bytes": 9e4}],
     "search": [{"flops": 6e10, "reply_tokens": 440.0, "longest_reply": 55.0, "seconds": 1.46}], "rescoring": [...]}
"""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from arcfold.jobs.files import InputError, read_json

CALIBRATION = Path("results/calibration.json")
SHIPPED = Path(__file__).resolve().parents[3] / "resources" / "rates.json"
DOUBT = 0.02
"""How much less than a measured second counts what is thought beforehand."""
SIMILAR = 1.5
"""Factor in parameters up to which the rates of one model stand for another."""


@dataclass(frozen=True)
class PromptRates:
    """Of a search or a rescoring."""

    job_seconds: float
    """Of a job in a process that is warm, beside its prompts and replies."""
    flops: float
    """Multiplications and additions a second, in prompts."""
    reply_token_seconds: float
    """For each token of the replies that are expected."""
    reply_step_seconds: float
    """For each token of the longest of them: what a pass takes however few tokens it has."""


@dataclass(frozen=True)
class Rates:
    """What is known of a model on a device."""

    device: str
    memory: int | None
    """Bytes of the device; None for a CPU."""
    threads: int
    model: str
    parameters: int
    number_type: str
    backend: str
    start_seconds: float
    """From the start of a worker to its first job's work: libraries, the device, the weights."""
    first_step_seconds: float
    """Of a training beside its steps: what the first ones build, and its files."""
    step_seconds: float
    training_flops: float
    """Multiplications and additions a second of a training."""
    token_bytes: float
    """Of the activations of one token of a forward pass, where that was measured on a GPU; else 0."""
    search: PromptRates
    min_prob: float
    """Threshold at which the search was measured."""
    rescoring: PromptRates
    script_seconds: float
    """Of a job that is a small script in a process of its own."""

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Rates:
        parts = {key: PromptRates(**record[key]) for key in ("search", "rescoring")}
        return cls(**{key: value for key, value in record.items() if key in cls.__dataclass_fields__} | parts)

    def to_json(self) -> dict[str, Any]:
        """As a record has it: a measured number has no more than four digits to say."""
        return {
            key: {name: _short(number) for name, number in value.items()} if isinstance(value, dict) else _short(value)
            for key, value in asdict(self).items()
        }


SOME = Rates(
    device="", memory=None, threads=1, model="", parameters=15_000_000, number_type="float32", backend="",
    start_seconds=5.0, first_step_seconds=0.5, step_seconds=0.02, training_flops=1e11, token_bytes=0.0,
    search=PromptRates(0.2, 1e11, 0.003, 0.0), min_prob=0.17, rescoring=PromptRates(0.2, 1e11, 0.0005, 0.0),
    script_seconds=1.0,
)  # fmt: skip
"""Of the order of what a core does: where nothing at all is known, the first jobs correct it."""


def cpu_name() -> str:
    """What this machine's CPU calls itself, without marks and clock rates, and whether it has AMX."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*: (.*)$", text, re.M)
    name = " ".join(re.sub(r"\(R\)|\(TM\)|CPU|@.*$", " ", named[1]).split()) if named else platform.machine()
    return f"{name} (AMX)" if "amx_tile" in text else name


def find_rates(
    device: str, model: Mapping[str, Any], parameters: int, threads: int, calibration: str | Path = CALIBRATION
) -> tuple[Rates, str] | None:
    """The rates of a model on a device, and where they stand; None if there are none.

    model: its name; parameters: its number of parameters. A calibration goes before what is shipped, the model itself
    before another one of about its size, and so does its own number of threads on a CPU.
    """
    found = []
    for place, path in enumerate((Path(calibration), SHIPPED)):
        for record in _records(path):
            rates = Rates.from_json(record)
            if rates.device != device or not 1 / SIMILAR <= rates.parameters / parameters <= SIMILAR:
                continue
            found.append((rates.model != model["name"], rates.threads != threads, place, rates, str(path)))
    if not found:
        return None
    *_, rates, where = min(found, key=lambda each: each[:3])
    return rates, os.path.relpath(where)


def guessed_rates(device: str, parameters: int, calibration: str | Path = CALIBRATION) -> Rates:
    """Rates where nobody has measured the model on the device: of the model that is nearest in size, there if possible.

    What belongs to a step or a token beside its multiplications grows with the parameters.
    """
    found = [Rates.from_json(record) for path in (Path(calibration), SHIPPED) for record in _records(path)]
    rates = min(
        [*found, SOME],
        key=lambda each: (each.device != device, abs(math.log(max(each.parameters, 1) / max(parameters, 1)))),
    )
    factor = parameters / max(rates.parameters, 1)
    return replace(
        rates,
        step_seconds=rates.step_seconds * factor,
        parameters=parameters,
        search=_larger(rates.search, factor),
        rescoring=_larger(rates.rescoring, factor),
    )


def _larger(of: PromptRates, factor: float) -> PromptRates:
    return replace(
        of,
        reply_token_seconds=of.reply_token_seconds * factor,
        reply_step_seconds=of.reply_step_seconds * factor,
    )


def shipped_devices() -> list[str]:
    """The devices of which rates are shipped."""
    return sorted({record["device"] for record in _records(SHIPPED)})


def _records(path: Path) -> list[Mapping[str, Any]]:
    if not path.is_file():
        return []
    content = read_json(path, "rates")
    return list(content["rates"])


def fit_training(points: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Rates of a training from some: `steps`, `flops` and `seconds` of each, and `token_bytes` on a GPU.

    Raises InputError if there is none with a step.
    """
    used = [point for point in points if point["steps"] > 0]
    if not used:
        raise InputError("rates: no training of a step or more, expected one to measure")
    rows = [[1.0, point["steps"], point["flops"]] for point in used]
    # where all are alike, multiplications are what grows
    fixed, step, flop = _fit(rows, [point["seconds"] for point in used], (0.0, 0.0, 1.0))
    return {
        "first_step_seconds": fixed,
        "step_seconds": step,
        "training_flops": 1 / flop if flop else _unseen(used),
        "token_bytes": max((point["token_bytes"] for point in points if point.get("token_bytes")), default=0.0),
    }


def fit_prompts(points: Sequence[Mapping[str, float]], job_seconds: float, *, passes: bool) -> PromptRates:
    """Rates of searches or rescorings: `flops` of the prompts, `reply_tokens`, `longest_reply`, `seconds` of the work.

    job_seconds: of a job before this work
    passes: whether a pass takes time of its own, as on a GPU; on a CPU it takes as long as it has tokens
    """
    rows = [[point["flops"], point["reply_tokens"], point["longest_reply"] * passes] for point in points]
    seconds = [max(point["seconds"], 1e-9) for point in points]
    flop, token, step = _fit(rows, seconds, (0.5, 0.5, 0.0))
    return PromptRates(job_seconds, 1 / flop if flop else _unseen(points), token, step)


def _unseen(points: Sequence[Mapping[str, float]]) -> float:
    """Multiplications a second of a device on which they take no time that could be seen."""
    return float(max(point["flops"] / max(point["seconds"], 1e-9) for point in points)) * 1e3


def _fit(rows: Sequence[Sequence[float]], values: Sequence[float], shares: Sequence[float]) -> list[float]:
    """Rates (K,), not negative, whose sums over the counts rows (N, K) differ least from the values (N,), relative to
    these. What the rows cannot tell apart takes the parts of the values that `shares` (K,) says.
    """
    # it takes long to load, and plans need it for none but this
    from scipy.optimize import nnls

    a = np.array(rows, dtype=float) / np.array(values, dtype=float)[:, None]
    scale = np.where(a.mean(0) > 0, a.mean(0), 1.0)
    doubt = DOUBT * math.sqrt(len(a)) * np.eye(a.shape[1])
    found, _ = nnls(np.vstack([a / scale, doubt]), np.concatenate([np.ones(len(a)), doubt @ np.array(shares)]))
    return [float(rate) for rate in found / scale]


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value

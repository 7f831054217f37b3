"""Writes what a run would take on some devices, and shows it as a table."""

import shutil
import sys
from pathlib import Path
from typing import Any

from arcfold.arc.folds import read_folds
from arcfold.arc.tasks import tasks_by_id
from arcfold.jobs.files import read_json, write_json
from arcfold.jobs.job import job
from arcfold.jobs.provenance import hash_inputs, provenance
from arcfold.planning.here import device_name, devices_of
from arcfold.planning.plan import Machine, check_disk, make_plan, plan_lines
from arcfold.planning.rates import find_rates
from arcfold.planning.subjects import present_bytes, subject_of


def main(
    *,
    tasks: str,
    folds: str,
    model: str,
    folder: str,
    loading: dict[str, str],
    run: dict[str, Any],
    steps: dict[str, str],
    machine: dict[str, Any],
    output: str,
) -> None:
    dealt = [tasks_by_id(tasks, ids) for ids in read_folds(folds)]
    record = read_json(model, "model")
    subject = subject_of(run, dealt, record, folder, loading, machine["keep_adapters"])
    device = device_name() if machine["device"] == "auto" else machine["device"]
    found = find_rates(device, record, subject.size.parameters, machine["threads"])
    rates, source = found or (None, None)
    made = make_plan(
        subject,
        Machine(
            device,
            devices_of(machine),
            rates,
            source,
            machine["cache_gib"],
            free_disk=free_bytes(machine["disk_gib"]),
            present=present_bytes(steps["adapters"]),
        ),
        machine["limit"],
    )
    for line in plan_lines(made):
        print(line, file=sys.stderr, flush=True)
    check_disk(made, machine["keep_adapters"])
    made["provenance"] = provenance(inputs=hash_inputs(tasks=tasks, folds=folds, model=model), run=run)
    write_json(output, made, "plan")


def free_bytes(gib: float | str) -> int:
    """Bytes that the results may take: as the config says, else what is free where they lie."""
    return shutil.disk_usage(Path("results")).free if isinstance(gib, str) else int(gib * 2**30)


if "snakemake" in globals():
    with job(snakemake):
        main(
            tasks=snakemake.input.tasks,
            folds=snakemake.input.folds,
            model=snakemake.input.model,
            folder=snakemake.params.base,
            loading=snakemake.params.loading,
            run=snakemake.params.run,
            steps=snakemake.params.steps,
            machine=snakemake.params.machine,
            output=snakemake.output[0],
        )

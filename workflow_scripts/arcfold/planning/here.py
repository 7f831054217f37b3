"""What a run has here: the name of the devices, and how many jobs there are on them at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arcfold.jobs.devices import visible_devices
from arcfold.planning.rates import cpu_name


def device_name() -> str:
    """What the first device here is called, as rates name it."""
    if not visible_devices():
        return cpu_name()
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else cpu_name()


def devices_of(machine: Mapping[str, Any]) -> int:
    """How many jobs there are at a time: as the config says, else what this call of Snakemake may use."""
    if machine["devices"] != "auto":
        return int(machine["devices"])
    here = len(visible_devices()) if machine["device"] == "auto" else 0
    return min(machine["slots"], here) if here and not machine["counted"] else int(machine["slots"])

"""The device that a job computes on, leased and ready for torch."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from arcfold.jobs.devices import lease
from arcfold.jobs.files import InputError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_BUILD = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)")
"""What a build of torch has code for: `sm_90` for cards of 9.0 and newer ones of the 9 series, `compute_90` for all
newer ones, `sm_90a` for 9.0 alone."""


@contextlib.contextmanager
def compute_device(gpus: int, threads: int) -> Iterator[torch.device]:
    """Leases `gpus` devices and readies torch for a job: number of threads, repeatable kernels.

    Load the libraries first and lease then: what takes seconds need not hold a
    device. CUDA reads which devices it may see when it is first used, and no import uses it (`job`
    makes torch ask NVML instead); that the lease was in time is checked. Without a GPU the device
    is the CPU.
    """
    import torch

    with lease(gpus) as devices:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode("warn")  # the other switch imports torch's compiler, which takes seconds
        # it would fill every new tensor, a kernel for each, and none is read before it is written
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        if devices and torch.version.cuda is None:
            log.warning("this torch is built without CUDA: computing on the CPU")
            devices = ()
        if devices and torch.cuda.device_count() < gpus:
            raise InputError(f"devices {', '.join(devices)}: torch sees {torch.cuda.device_count()}, expected {gpus}")
        if devices:
            check_capability(range(gpus))
        yield torch.device("cuda" if devices else "cpu")


def check_capability(devices: Iterable[int]) -> None:
    """Raises InputError for a device that this build of torch has no code for; without it the first kernel fails."""
    import torch

    for device in devices:
        if wrong := unsupported(torch.cuda.get_device_capability(device), torch.cuda.get_arch_list()):
            raise InputError(f"device {device} ({torch.cuda.get_device_name(device)}): {wrong}")


def unsupported(capability: tuple[int, int], builds: Sequence[str]) -> str | None:
    """In words, what is wrong where a card of a compute capability has no code in a build of torch; None if it has.

    builds: as torch.cuda.get_arch_list() gives them; where none is NVIDIA's, nothing is wrong
    """
    found = [(kind, (int(major), int(minor)), letter) for kind, major, minor, letter in _matches(builds)]
    for kind, built, letter in found:
        same_series = built[0] == capability[0] and built <= capability
        if built == capability or (same_series and letter != "a") or (kind == "compute" and built <= capability):
            return None
    if not found:
        return None
    versions = sorted({built for _, built, _ in found})
    ends = " to ".join(f"{major}.{minor}" for major, minor in dict.fromkeys((versions[0], versions[-1])))
    return (
        f"compute capability {capability[0]}.{capability[1]}, and this torch is built for {ends}; "
        "expected another card, or a build of torch for this one"
    )


def _matches(builds: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (match.groups() for build in builds if (match := _BUILD.fullmatch(build)))

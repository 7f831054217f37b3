"""The device that a job computes on, leased and ready for torch."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from arcfold.jobs.devices import lease
from arcfold.jobs.files import InputError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


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
        yield torch.device("cuda" if devices else "cpu")

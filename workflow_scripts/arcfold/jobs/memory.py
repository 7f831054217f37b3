"""How much memory a search or a rescoring may use, and what is done when it was too much all the same."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from arcfold.jobs.files import InputError

log = logging.getLogger(__name__)

Result = TypeVar("Result")

ATTEMPTS = 5
"""How often a work is begun with half of the memory of the time before."""


def memory_budget(gib: float | str) -> int | None:
    """Bytes for keys and values from the config's `cache_gib`; None, to find it, for auto."""
    return None if isinstance(gib, str) else int(gib * 2**30)


def out_of_memory(error: BaseException) -> bool:
    """Whether this error of torch's means that memory ran out."""
    words = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")  # the CPU's allocator and cuBLAS say it in words
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)


def within_memory(work: Callable[[int], Result], what: str) -> Result:
    """work(0); when memory runs out work(1), and so on: the argument says how often its memory is to be halved.

    Others may have taken memory of the device since it was measured, and a model's passes may need more than
    was foreseen. Raises InputError when the last attempt ran out of memory too.
    """
    for halvings in range(ATTEMPTS):
        try:
            return work(halvings)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:160]
        # outside of the handler, whose error holds the tensors of the attempt
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if halvings + 1 < ATTEMPTS:
            log.warning("%s: out of memory, again with half of it (%s)", what, reason)
    raise InputError(f"{what}: out of memory with a budget {2 ** (ATTEMPTS - 1)} times smaller too ({reason})")

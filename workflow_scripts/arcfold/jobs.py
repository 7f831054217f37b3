"""How a job of the workflow starts and ends: its log, its thread count, its one line when the input is wrong."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from arcfold.files import InputError


class _Tee:
    """A text stream that writes to two others."""

    def __init__(self, first: TextIO, second: TextIO) -> None:
        self._both = (first, second)

    def write(self, text: str) -> int:
        for stream in self._both:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self._both:
            stream.flush()

    def isatty(self) -> bool:
        return self._both[0].isatty()

    @property
    def encoding(self) -> str:
        return "utf-8"


@contextlib.contextmanager
def job(log: str | Path, threads: int = 1) -> Iterator[None]:
    """The frame around a job's work.

    Standard error goes to the log too. An InputError ends the process with status 1, its line last on
    both; any other error leaves its traceback in the log and a line on standard error that says so.
    """
    # before torch is loaded: its thread pools read the first two once; with the third it asks NVML
    # whether there are devices, which leaves CUDA untouched until the job has leased its own
    os.environ |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    os.environ |= {"PYTORCH_NVML_BASED_CUDA_CHECK": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    original = sys.stderr
    with open(log, "w", encoding="utf-8", buffering=1) as stream:
        sys.stderr = _Tee(original, stream)
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
        for chatty in ("httpx", "transformers", "peft", "datasets", "filelock"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        # what a library will change in a later version is for those who pin it, not for a job's log
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        try:
            yield
        except InputError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            sys.exit(1)
        except Exception as error:
            traceback.print_exc(file=stream)
            line = f"internal error: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            print(f"{line} (traceback in {log})", file=sys.stderr, flush=True)
            sys.exit(1)
        finally:
            sys.stderr = original

"""CUDA graphs: what a function launched once is launched again with a single call.

A small model's step is a few hundred kernels of a few microseconds each, which Python cannot launch
as fast as they run. A captured function must read its inputs from tensors that stay where they are,
leave its results in such, and never look at a value.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable, Hashable

import torch

log = logging.getLogger(__name__)


class Graphs:
    """Functions captured when they are first played, by key; all share one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()
        self.graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self.failed = False

    def play(self, key: Hashable, function: Callable[[], None]) -> None:
        """Does what the function does; it is called without being captured once a capture has failed.

        Nothing runs during a capture, so that a failed one leaves every tensor as it was.
        """
        if self.failed:
            function()
            return
        if key not in self.graphs:
            try:
                self.graphs[key] = self._capture(function)
            except Exception as error:  # whatever a driver, a library or the allocator raises
                log.warning(
                    "no CUDA graph (%s: %s): kernels are launched one by one",
                    type(error).__name__,
                    " ".join(str(error).split())[:200],
                )
                self.close()
                function()
                return
        self.graphs[key].replay()

    def close(self) -> None:
        """Gives the memory of all graphs back; from now on functions are called."""
        self.failed = True
        self.graphs.clear()
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()

    def _capture(self, function: Callable[[], None]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        collecting = gc.isenabled()
        gc.disable()  # freeing another graph's tensors would break the capture
        try:
            with torch.cuda.stream(self.stream):
                graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
                try:
                    function()
                except BaseException:
                    with contextlib.suppress(RuntimeError):
                        graph.capture_end()  # says only that the capture is broken
                    raise
                graph.capture_end()
        finally:
            if collecting:
                gc.enable()
        return graph

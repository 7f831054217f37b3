"""CUDA graphs: what a function launched once is launched again with a single call.

A small model's step is a few hundred kernels of a few microseconds each, which Python cannot launch
as fast as they run. A captured function must read its inputs from tensors that stay where they are,
leave its results in such, and never look at a value.

Four steps of one micro-batch each, whose rows are padded to the shapes A, B, A and A (`loop`):

    step   gradients                            update
    0, A   kernel by kernel: Triton builds      kernel by kernel
    1, B   captured under B, played             captured under "update", played
    2, A   captured under A, played             played
    3, A   played                               played

Before each play the row is copied over the last one, and the step's rates over the last step's: a graph
holds addresses, not numbers. A graph for each shape, not for each micro-batch, is all that memory has to hold.
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
        # a capture needs a stream of its own; one pool, since no two graphs are ever played at once
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()
        self.graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self.failed = False

    def play(self, key: Hashable, function: Callable[[], None]) -> None:
        """Does what the function does; it is called without being captured once a capture has failed.

        key: the same for functions that launch the same kernels on the same tensors.

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
                # other threads may go on using CUDA meanwhile: only this one's calls could break the capture
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

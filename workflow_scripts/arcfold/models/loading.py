"""Loading a base model: by `plain` where that can be, else by transformers; kept, where a process does many jobs.

A kept model is given out again and again, and whoever gets it may change its weights in place (`merged` does). So
the weights as loaded are kept beside it, and put back before it is given out: the same tensors at the same
addresses, which is what captured CUDA graphs ask for.

    job 1    loads 29 MiB from disk, 0.2 s           merges its adapter in place
    job 2    gets the same tensors, put back, 1 ms   merges its own

The weights as loaded lie beside the model on its device, unless they are a large part of it: 8 GiB of a model of
4.2 B parameters would be a third of an L4. Those lie in the host's memory, pinned, and take half a second back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from arcfold.models.base import BaseModel
from arcfold.models.plain import PlainModel, is_plain, load_plain

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

DEVICE_SHARE = 1 / 16
"""Largest part of a GPU's memory in which a kept model's weights as loaded lie a second time."""

_kept: dict[tuple[Any, ...], KeptModel] | None = None


def model_loader(base: BaseModel, *, plain: bool = True) -> Callable[[torch.device], nn.Module]:
    """Imports what loading takes, and gives the function that loads the model on a device.

    The imports are seconds that a job need not hold a device for.
    plain: whether a plain model will do, where this can be one; else it is transformers'
    """
    if plain and is_plain(base):
        return lambda device: _kept_or_loaded(base, device)
    from arcfold.models.transformers import load_libraries, load_pretrained

    load_libraries()
    return lambda device: load_pretrained(base, device)


@contextlib.contextmanager
def keeping_models() -> Iterator[None]:
    """In the block plain models are loaded once, and given out with the weights that they were loaded with."""
    global _kept
    before, _kept = _kept, {}
    try:
        yield
    finally:
        _kept = before


class KeptModel:
    """A plain model, and its weights as they were loaded."""

    def __init__(self, model: PlainModel, device_share: float = DEVICE_SHARE) -> None:
        """device_share: the largest part of a GPU's memory in which the copy may lie."""
        self.model = model
        tensors = model.tensors()
        self._pinned = _share_of_device(tensors.values()) > device_share
        self.loaded: dict[str, Tensor] = {name: self._copied(tensor) for name, tensor in tensors.items()}

    def _copied(self, tensor: Tensor) -> Tensor:
        return tensor.detach().cpu().pin_memory() if self._pinned else tensor.detach().clone()

    def restored(self) -> PlainModel:
        """The model with these weights in the same memory as before."""
        for name, tensor in self.model.tensors().items():
            tensor.data.copy_(self.loaded[name], non_blocking=self._pinned)
        return self.model


def _share_of_device(tensors: Iterable[Tensor]) -> float:
    """The part of their GPU's memory that tensors take; 0 on the CPU."""
    import torch

    listed = list(tensors)
    if not listed or not listed[0].is_cuda:
        return 0.0
    total: int = torch.cuda.get_device_properties(listed[0].device).total_memory
    return sum(tensor.nbytes for tensor in listed) / total


def _kept_or_loaded(base: BaseModel, device: torch.device) -> PlainModel:
    if _kept is None:
        return load_plain(base, device)
    key = base.record.get("hash", str(base.folder)), base.dtype, str(device)
    if key not in _kept:
        # another model's memory is needed for this one
        _kept.clear()
        _kept[key] = KeptModel(load_plain(base, device))
        return _kept[key].model
    return _kept[key].restored()

"""The optimizer of a base model's training: Muon for the matrices, AdamW for the rest.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) replaces the momentum of a matrix by the nearest
orthogonal matrix, found by five steps of a Newton-Schulz iteration in bfloat16. Matrices of one shape are
stacked, so that all layers take a few batched products.

In the default network of 8 layers:

    q, k, v and o       32 matrices of (384, 384)     one product with (32, 384, 384)
    gate and up         16 matrices of (1024, 384)    steps √(1024 / 384) = 1.63 times as long
    down                 8 matrices of (384, 1024)
    AdamW               embed_tokens, lm_head and 33 norms: 35 tensors
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Of the polynomial a x + b x³ + c x⁵, which every singular value goes through: steep at 0, so that small ones rise
# fast, at the price of ending near 1 and not at 1 (Jordan et al. 2024).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5


@dataclass(frozen=True)
class OptimizerSettings:
    """Rates at the top of the schedule."""

    matrix_rate: float = 0.012
    """Muon's: the spectral norm of an update is this, times √(rows / columns) for tall matrices."""
    other_rate: float = 1.2e-3
    """AdamW's, for embeddings, head and norms."""
    weight_decay: float = 0.0
    """Of the matrices, times the rate at each step."""
    momentum: float = 0.95
    momentum_steps: int = 300
    """Steps over which the momentum rises from 0.85."""


class Optimizer:
    """Steps the parameters of a network from their gradients."""

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], settings: OptimizerSettings) -> None:
        self.settings = settings
        self.steps = 0
        """Steps since the state was empty."""
        matrices: dict[torch.Size, list[nn.Parameter]] = {}
        others: list[nn.Parameter] = []
        # embeddings and head are matrices too, but their rows are tokens, each with a gradient of its own size
        for name, parameter in parameters:
            if parameter.ndim == 2 and "embed_tokens" not in name and "lm_head" not in name:
                matrices.setdefault(parameter.shape, []).append(parameter)
            else:
                others.append(parameter)
        self._groups = [_Group(group) for group in matrices.values()]
        fused = others[0].device.type == "cuda"
        self._adam = torch.optim.AdamW(others, lr=settings.other_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=fused)

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One step at `scale` times the rates."""
        settings = self.settings
        # a momentum that is short at first follows the fast changes of the beginning
        risen = min(self.steps / max(settings.momentum_steps, 1), 1.0)
        momentum = min(0.85, settings.momentum) * (1 - risen) + settings.momentum * risen
        for group in self._groups:
            group.step(settings.matrix_rate * scale, momentum, settings.weight_decay)
        for options in self._adam.param_groups:
            options["lr"] = settings.other_rate * scale
        self._adam.step()
        self.steps += 1

    def state(self) -> dict[str, Tensor]:
        """All that a resumed training needs besides the weights, on the CPU."""
        made = {f"muon.{index}": group.momentum.cpu() for index, group in enumerate(self._groups)}
        for number, entry in self._adam.state_dict()["state"].items():
            made |= {f"adam.{number}.{key}": value.detach().cpu().clone() for key, value in entry.items()}
        made["steps"] = torch.tensor(self.steps)
        return made

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state` gave."""
        self.steps = int(state["steps"])
        for index, group in enumerate(self._groups):
            group.momentum.copy_(state[f"muon.{index}"])
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith("adam."):
                _, number, name = key.split(".")
                entries.setdefault(int(number), {})[name] = value
        self._adam.load_state_dict({**self._adam.state_dict(), "state": entries})


class _Group:
    """Matrices of one shape, (rows, columns) each."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.momentum = torch.stack([torch.zeros_like(parameter) for parameter in parameters])
        rows, columns = parameters[0].shape
        # an orthogonal tall matrix has smaller entries than a square one of as many columns
        self.gain = max(1.0, rows / columns) ** 0.5

    def step(self, rate: float, momentum: float, weight_decay: float) -> None:
        gradients = torch.stack([parameter.grad for parameter in self.parameters if parameter.grad is not None])
        self.momentum.lerp_(gradients, 1 - momentum)
        # Nesterov's form: the gradient once more beside the momentum that has it already
        update = orthogonal(gradients.lerp(self.momentum, momentum))
        tensors = [parameter.data for parameter in self.parameters]
        if weight_decay:
            torch._foreach_mul_(tensors, 1 - rate * weight_decay)
        torch._foreach_add_(tensors, list(update.float().unbind()), alpha=-rate * self.gain)


def orthogonal(matrices: Tensor) -> Tensor:
    """The orthogonal matrix nearest to each of (n, rows, columns), roughly: singular values of 0.7 to 1.2."""
    a, b, c = _COEFFICIENTS
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    # the product with its own transpose is smallest for wide matrices
    if tall:
        x = x.transpose(1, 2)
    # the iteration needs singular values of 1 at most, which the norm over all entries bounds
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_STEPS):
        square = x @ x.transpose(1, 2)
        x = a * x + (b * square + c * square @ square) @ x
    return x.transpose(1, 2) if tall else x

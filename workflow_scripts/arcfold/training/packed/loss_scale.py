"""A dynamic loss scale: what keeps the gradients of float16 between its smallest and its largest number.

float16 has no number between 0 and 6e-8 and none above 65504. A loss that is multiplied by S has gradients S times as
large, which the step divides by S again (Micikevicius et al., 2018, arXiv 1710.03740, section 3.2). Where S was too
large and a gradient is not finite, the step changes nothing but S; the first step is then taken again. All of it
stands on the device: nothing waits for a value, and a captured step can be played again. S is a power of 2, so no
digit is lost.

Six steps with a scale that doubles after 2 steps in a row instead of 2000, the first and the last of which overflow:

    step   scale   norm of the gradients   finite   in_a_row   applied   scale then
    0      65536   inf                     0        0          0         32768
    1      32768   3.2e4                   1        1          1         32768
    2      32768   2.9e4                   1        0          2         65536
    3      65536   5.5e4                   1        1          3         65536
    4      65536   5.1e4                   1        0          4         131072
    5      131072  nan                     0        0          4         65536
"""

from __future__ import annotations

import torch
from torch import Tensor

FIRST, GROWTH_INTERVAL = 2.0**16, 2000  # as torch.amp.GradScaler has them, and with it the trl backend
SMALLEST = 2.0**-24
"""A loss that still overflows with less is beyond what a scale can mend."""
HEADROOM = 8
"""The scale goes on so many times smaller than the largest that the first step could have, if that was below FIRST."""


class LossScale:
    """The scale of a training, and which of its steps could be taken."""

    def __init__(self, device: torch.device, first: float = FIRST, interval: int = GROWTH_INTERVAL) -> None:
        """first: the scale of the first step, a power of 2; interval: steps in a row after which it doubles."""
        self.interval = interval
        self.factor = torch.full((), first, dtype=torch.float32, device=device)
        """() float32, what losses are multiplied with."""
        self.finite = torch.ones((), dtype=torch.float32, device=device)
        """() float32, 1 where the last step's gradients were finite, else 0."""
        self.in_a_row = torch.zeros((), dtype=torch.int64, device=device)
        """() steps with finite gradients since the scale last changed."""
        self.applied = torch.zeros((), dtype=torch.int64, device=device)
        """() steps with finite gradients in all."""

    def judge(self, norm: Tensor) -> None:
        """Takes the norm of a step's scaled gradients and says in `finite` whether the step may be taken."""
        self.finite.copy_(norm.isfinite())

    def settle(self) -> None:
        """Ends a step: halves the scale if its gradients were not finite, doubles it after enough that were."""
        # arithmetic instead of `where` with numbers of Python, which a capture would have to copy to the device
        ok = self.finite.to(torch.int64)
        self.applied.add_(ok)
        self.in_a_row.add_(1).mul_(ok)
        grown = self.in_a_row == self.interval
        self.in_a_row.mul_(~grown)
        self.factor.mul_(self.finite.add(1.0).div_(2.0)).mul_(grown.to(torch.float32).add_(1.0))

    def state(self) -> dict[str, Tensor]:
        """What a later process needs to go on; the tensors themselves."""
        return {"factor": self.factor, "in_a_row": self.in_a_row, "applied": self.applied}

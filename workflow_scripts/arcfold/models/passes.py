"""What a model's attention asks of the forward pass that it runs in.

A model knows its layers; only the pass knows where the keys and values of its tokens are kept and who may
see whom. The two meet here and nowhere else, so `plain` needs nothing of the search and the search replaces
nothing of a plain model but this.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Pass(Protocol):
    """One forward pass over T packed tokens of any number of questions.

    For example a pass of two prompts, of 3 and 5 tokens, runs T = 8 tokens in one row; token 3, the first of
    the second prompt, sees itself alone.
    """

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """(1, T, H, D) from the pass's queries (1, H, T, D) and its new keys and values (1, K, T, D).

        layer: number of the layer, from 0; it says which keys and values are kept with which
        scale: factor of the products of queries and keys; None for 1 / sqrt(D)
        """
        ...

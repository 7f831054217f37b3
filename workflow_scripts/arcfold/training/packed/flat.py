"""The trained numbers and the frozen ones beside them, laid out so that few products and passes are needed.

Every trained matrix is a part of one flat float32 tensor, over which clipping and AdamW run at once.
Linear layers that read the same input are one matrix together with their LoRAs,

    [ W  B ]
    [ A  · ]      y = [x | h] [W | B]ᵀ,  h = scale x Aᵀ;      dx = [dy | dh] [W ; A],  dh = scale dy B

so that base and LoRA are one product each way and nothing is added to a large result behind it.

q, k and v with 8, 4 and 4 outputs of 8 inputs and o with 8 of 8, R = 2. In the flat tensors `master`,
`grad` and `total`, each of 256 numbers, A stands before B, and every matrix begins at a multiple of 64:

      0- 47   q_proj+k_proj+v_proj.A   (6, 8)    three A matrices of (2, 8) on top of each other
     64- 95   q_proj+k_proj+v_proj.B   (16, 2)   three B matrices of (8, 2), (4, 2), (4, 2)
    128-143   o_proj.A                 (2, 8)
    192-207   o_proj.B                 (8, 2)

The matrix of q, k and v is (16 + 6, 8 + 6): W fills (16, 8), A (6, 8) below it, and B stands beside it in
three blocks, q's in rows 0-7 and hidden columns 0-1, k's in 8-11 and 2-3, v's in 12-15 and 4-5, zeros elsewhere.

LoRA: Hu et al., 2021, arXiv 2106.09685. Shapes: T tokens of a row, R rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Flat:
    """Trained matrices side by side in one float32 tensor, and their gradients.

    `master` is what the optimizer steps, `grad` what a micro-batch's backward writes, in the number
    type of the computation, and `total` the float32 sum over a step's micro-batches.
    """

    # One tensor instead of hundreds: clipping is one norm, AdamW one kernel. A LoRA's `grad` is written, never
    # added to, so nothing clears it; `total` is float32, since bfloat16 would lose what later micro-batches add.

    def __init__(self, tensors: Mapping[str, Sequence[Tensor]], dtype: torch.dtype, device: torch.device) -> None:
        """tensors: for each matrix the pieces that stand on top of each other in it; dtype: of `grad`."""
        self.shapes = {
            key: torch.Size((sum(map(len, pieces)), *pieces[0].shape[1:])) for key, pieces in tensors.items()
        }
        self.starts: dict[str, int] = {}
        size = 0
        for key, shape in self.shapes.items():
            self.starts[key] = size
            # matrix products want aligned pointers: 64 numbers are 128 bytes of bfloat16
            size += -(-shape.numel() // 64) * 64
        self.master = torch.zeros(size, device=device)
        self.grad = torch.zeros(size, dtype=dtype, device=device)
        self._total: Tensor | None = None
        for key, pieces in tensors.items():
            for rows, piece in zip(self.view(self.master, key).split([len(p) for p in pieces]), pieces, strict=True):
                rows.copy_(piece)

    @property
    def total(self) -> Tensor:
        """The sum, as far as `make_total` was called."""
        assert self._total is not None
        return self._total

    def make_total(self) -> None:
        """Makes room for the sum when it is first needed: a step of one micro-batch has no use for it."""
        if self._total is None:
            self._total = torch.zeros_like(self.master)

    def view(self, flat: Tensor, key: str) -> Tensor:
        """The part of a flat tensor that belongs to a matrix, in its shape."""
        shape, start = self.shapes[key], self.starts[key]
        return flat[start : start + shape.numel()].view(shape)

    def export(self) -> dict[str, Tensor]:
        """The float32 matrices on the CPU."""
        master = self.master.detach().cpu()
        return {key: self.view(master, key).clone() for key in self.shapes}


class Projections:
    """Linear layers that read the same input, with their LoRAs: y = x Wᵀ + bias + scale (x Aᵀ) Bᵀ.

    Inputs and gradients come in buffers that are `hidden` columns wider: h and dh stand there.
    """

    def __init__(self, modules: Mapping[str, nn.Linear], flat: Flat, adapted: frozenset[str], scale: float) -> None:
        """modules: by the path under which an adapter knows them, in the order of the output; adapted: some of these.

        flat: has the adapted ones' matrices on top of each other, under the names of `stack_name`.
        """
        self.modules = list(modules.values())
        self.scale = scale
        names = {path for path in modules if path in adapted}
        sizes = [module.out_features for module in self.modules]
        self.inputs, self.outputs = self.modules[0].in_features, sum(sizes)
        self.parts: list[_Part] = []
        self._flat, self._stack = flat, stack_name(modules)
        rank = len(flat.view(flat.grad, f"{self._stack}.A")) // len(names) if names else 0
        self.hidden = rank * len(names)
        # what no LoRA is on and nothing stands beside is used where it lies, without a copy
        weights = [module.weight.data for module in self.modules]
        if len(weights) == 1 and not names:
            self.matrix = weights[0]
        else:
            self.matrix = weights[0].new_zeros(self.outputs + self.hidden, self.inputs + self.hidden)
        for module, rows in zip(self.modules, self.matrix[: self.outputs, : self.inputs].split(sizes), strict=True):
            if rows.data_ptr() != module.weight.data_ptr():
                rows.copy_(module.weight.data)
            module.weight.data = rows  # one copy of the weights is enough: the model's becomes a view
        biases = [module.bias for module in self.modules]
        self.bias = None if biases[0] is None else torch.cat([bias.data for bias in biases])
        if not names:
            return
        self.a = self.matrix[self.outputs :, : self.inputs]
        self.a_grad = flat.view(flat.grad, f"{self._stack}.A")
        b_grad = flat.view(flat.grad, f"{self._stack}.B")
        out = row = 0
        for path, size in zip(modules, sizes, strict=True):
            if path in names:
                hidden = slice(len(self.parts) * rank, (len(self.parts) + 1) * rank)
                b = self.matrix[out : out + size, self.inputs :][:, hidden]
                self.parts.append(_Part(slice(out, out + size), hidden, b, slice(row, row + size), b_grad))
                row += size
            out += size
        # One batched product for parts of equal size saves launches on a GPU; a CPU has none to save.
        self.batched = self.matrix.is_cuda and len(self.parts) == len(self.modules) > 1 and len(set(sizes)) == 1

    def release(self) -> None:
        """Gives each module a weight of its own back."""
        if self.parts or len(self.modules) > 1:
            for module in self.modules:
                module.weight.data = module.weight.data.clone(memory_format=torch.contiguous_format)
        self.matrix = self.matrix.new_empty(0)

    def trained(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each block of the matrix that is trained, and its float32 original."""
        if not self.parts:
            return
        master = self._flat.master
        yield self.a, self._flat.view(master, f"{self._stack}.A")
        b = self._flat.view(master, f"{self._stack}.B")
        for part in self.parts:
            yield part.b, b[part.rows]

    def buffer(self, like: Tensor, tokens: int, width: int) -> Tensor:
        """An input (width = inputs) or a gradient (width = outputs) to be filled, with room for the hidden columns."""
        return like.new_empty(tokens, width + self.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(T, inputs + hidden), whose first columns are the input, to (T, outputs); fills the other columns.

        y = x Wᵀ + bias + scale (x Aᵀ) Bᵀ, in the number type of x.
        """
        if self.parts:
            # written where the product below reads it; beta = 0 ignores what was there, so addmm is mm with a factor
            h = x[:, self.inputs :]
            torch.addmm(h, x[:, : self.inputs], self.a.t(), beta=0, alpha=self.scale, out=h)
        return F.linear(x, self.matrix[: self.outputs], self.bias)

    def backward(self, dy: Tensor, x: Tensor) -> Tensor:
        """Writes the gradients of A and B and returns the input's, (T, inputs).

        dy: (T, outputs + hidden), whose first columns are the gradient of the output; x: as `forward` left it.
        dx = dy W + scale (dy B) A, as one product with the matrix that has A below W.
        """
        self.backward_weights(dy, x)
        return dy @ self.matrix[:, : self.inputs]

    def backward_weights(self, dy: Tensor, x: Tensor) -> None:
        """Writes the gradients of A and B; fills the last columns of dy.

        dB = dyᵀ h with h = scale x Aᵀ; dA = dhᵀ x with dh = scale dy B.
        """
        if not self.parts:
            return
        h, dh = x[:, self.inputs :], dy[:, self.outputs :]
        if self.batched:
            d, each_dh = self._each(dy[:, : self.outputs]), self._each(dh)
            torch.baddbmm(each_dh, d, self._each_b(), beta=0, alpha=self.scale, out=each_dh)
            # parts of equal size stand on top of each other: their gradients are one (parts, outputs, R)
            b_grad = self.parts[0].all_b_grad.view(len(self.parts), -1, h.shape[1] // len(self.parts))
            torch.bmm(d.transpose(1, 2), self._each(h), out=b_grad)
        else:
            for part in self.parts:
                d, part_dh = dy[:, part.out], dh[:, part.hidden]
                torch.addmm(part_dh, d, part.b, beta=0, alpha=self.scale, out=part_dh)
                torch.mm(d.t(), h[:, part.hidden], out=part.all_b_grad[part.rows])
        torch.mm(dh.t(), x[:, : self.inputs], out=self.a_grad)

    def _each(self, x: Tensor) -> Tensor:
        """(T, parts · width) as (parts, T, width)."""
        return x.unflatten(1, (len(self.parts), -1)).transpose(0, 1)

    def _each_b(self) -> Tensor:
        """The B matrices as (parts, outputs, R), a view."""
        # from one block to the next it is as many rows down as a part has outputs, and R columns to the right
        first = self.parts[0].b
        width, rank = first.shape
        step = self.matrix.stride(0)
        return first.as_strided((len(self.parts), width, rank), (width * step + rank, step, 1))


@dataclass(frozen=True)
class _Part:
    """Where one adapted layer stands in its group."""

    out: slice
    """Its columns of the group's output."""
    hidden: slice
    """Its hidden columns."""
    b: Tensor
    """(outputs, R) B, a block of the group's matrix."""
    rows: slice
    """Its rows of the stacked B matrices."""
    all_b_grad: Tensor
    """The gradient of those."""


def stack_name(group: Iterable[str]) -> str:
    """The name of a group of layers, by their paths, under which a flat keeps their matrices."""
    paths = list(group)
    return paths[0].rpartition(".")[0] + "." + "+".join(path.rpartition(".")[2] for path in paths)


def stacked(groups: Iterable[Iterable[str]], weights: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
    """The LoRAs as they are kept: for each group of layers its A matrices on top of each other, and its B matrices."""
    made: dict[str, list[Tensor]] = {}
    for group in groups:
        names = [path for path in group if f"{path}.lora_A.weight" in weights]
        for matrix in "AB" if names else "":
            made[f"{stack_name(group)}.{matrix}"] = [weights[f"{n}.lora_{matrix}.weight"] for n in names]
    return made


def unstacked(
    groups: Iterable[Iterable[str]], stacks: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The opposite of `stacked`; `weights` has the shapes."""
    made = {}
    for group in groups:
        names = [path for path in group if f"{path}.lora_A.weight" in weights]
        for matrix in "AB" if names else "":
            keys = [f"{name}.lora_{matrix}.weight" for name in names]
            pieces = stacks[f"{stack_name(group)}.{matrix}"].split([len(weights[key]) for key in keys])
            made.update({key: piece.clone() for key, piece in zip(keys, pieces, strict=True)})
    return made

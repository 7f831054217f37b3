"""The elementwise parts of a decoder layer, forward and backward, for the packed backend.

Each function has one definition in torch operations and, on a GPU with Triton, one kernel that
reads and writes every number once. Numbers are computed in float32 and rounded once.

Shapes: T tokens of a packed row, D width, F width of the MLP, N heads, E head size, P positions.
"""

from __future__ import annotations

import functools
import logging

import torch
import torch.nn.functional as F
from torch import Tensor

log = logging.getLogger(__name__)

_HEADS = 8  # heads that one program of a kernel rotates

try:
    import triton
    import triton.language as tl
except ImportError:  # builds of torch for the CPU come without it
    triton = None


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x / rms(x) · weight over the last axis: the result (T, D) and 1 / rms(x) (T,) in float32."""
    if use_triton(x.device):
        y, rstd = torch.empty_like(x), torch.empty(len(x), dtype=torch.float32, device=x.device)
        _rms_norm_kernel[(len(x),)](x, weight, y, rstd, eps, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
        return y, rstd
    x32 = x.float()
    rstd = torch.linalg.vector_norm(x32, dim=-1).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return (x32 * rstd[:, None]).mul_(weight).to(x.dtype), rstd


def rms_norm_backward(dy: Tensor, x: Tensor, rstd: Tensor, weight: Tensor, residual: Tensor | None) -> Tensor:
    """The gradient of `rms_norm` in x (T, D), plus `residual`, the gradient that reached x on the other way."""
    if use_triton(x.device):
        dx = torch.empty_like(x)
        block = triton.next_power_of_2(x.shape[1])
        other = dy if residual is None else residual
        _rms_norm_backward_kernel[(len(x),)](
            dy, x, rstd, weight, other, dx, x.shape[1], HAS_RESIDUAL=residual is not None, BLOCK=block
        )
        return dx
    g, x32, rstd = dy.float() * weight, x.float(), rstd[:, None]
    mean = (g * x32).sum(-1, keepdim=True).mul_(rstd.square()).div_(x.shape[-1])
    dx = g.addcmul_(x32, mean, value=-1).mul_(rstd)
    return (dx if residual is None else dx.add_(residual)).to(x.dtype)


def rotate(heads: Tensor, norm: Tensor | None, eps: float, cos: Tensor, sin: Tensor, positions: Tensor) -> Tensor:
    """Normed (if `norm` is given) and rotated heads of a row, (T, N, E).

    heads: (T, N, E), which may be the first heads of a longer row; norm: (N, E), the weights of
    each head's RMS norm; cos, sin: (P, E / 2) float32; positions: (T,).
    """
    if _rotates_with_triton(heads):
        out = torch.empty(heads.shape, dtype=heads.dtype, device=heads.device)
        tokens, count, size = heads.shape
        _rotate_kernel[tokens, triton.cdiv(count, _HEADS)](
            heads, norm if norm is not None else heads, eps, cos, sin, positions, out, heads.stride(0), count,
            HALF=size // 2, HAS_NORM=norm is not None, HEADS=_HEADS,
        )  # fmt: skip
        return out
    x = heads.float()
    if norm is not None:
        x = (x * _head_rstd(x, eps)).mul_(norm)
    return _rotated(x, cos[positions], sin[positions]).to(heads.dtype)


def rotate_backward(
    d: Tensor, heads: Tensor, norm: Tensor | None, eps: float, cos: Tensor, sin: Tensor, positions: Tensor, out: Tensor
) -> None:
    """The gradient of `rotate` in `heads`, written into `out`; all (T, N, E), maybe a part of longer rows."""
    if _rotates_with_triton(heads):
        tokens, count, size = d.shape
        _rotate_backward_kernel[tokens, triton.cdiv(count, _HEADS)](
            d, heads, norm if norm is not None else heads, eps, cos, sin, positions, out,
            d.stride(0), heads.stride(0), out.stride(0), count,
            HALF=size // 2, HAS_NORM=norm is not None, HEADS=_HEADS,
        )  # fmt: skip
        return
    g = _rotated(d.float(), cos[positions], -sin[positions])
    if norm is not None:
        x = heads.float()
        rstd = _head_rstd(x, eps)
        g.mul_(norm)
        mean = (g * x).mean(-1, keepdim=True).mul_(rstd.square())
        g.addcmul_(x, mean, value=-1).mul_(rstd)
    out.copy_(g)


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) · up: (T, 2 F) to (T, F)."""
    tokens, width = len(gate_up), gate_up.shape[1] // 2
    if use_triton(gate_up.device):
        y = torch.empty(tokens, width, dtype=gate_up.dtype, device=gate_up.device)
        _swiglu_kernel[(tokens, triton.cdiv(width, 1024))](gate_up, y, width, BLOCK=1024)
        return y
    gate, up = gate_up.float().split(width, dim=1)
    return F.silu(gate).mul_(up).to(gate_up.dtype)


def swiglu_backward(dy: Tensor, gate_up: Tensor) -> Tensor:
    """The gradient of `swiglu` in its input, (T, 2 F)."""
    tokens, width = dy.shape
    dx = torch.empty_like(gate_up)
    if use_triton(gate_up.device):
        _swiglu_backward_kernel[(tokens, triton.cdiv(width, 1024))](dy, gate_up, dx, width, BLOCK=1024)
        return dx
    gate, up = gate_up.float().split(width, dim=1)
    dy32 = dy.float()
    dx[:, width:] = F.silu(gate).mul_(dy32)
    dx[:, :width] = torch.ops.aten.silu_backward(dy32 * up, gate)
    return dx


def use_triton(device: torch.device) -> bool:
    """Whether the kernels run on this device: there is Triton, and it can build one."""
    return device.type == "cuda" and triton is not None and _builds(device.index or 0)


def _rotates_with_triton(heads: Tensor) -> bool:
    """Triton's blocks are powers of two: heads of 80 or 96 numbers are left to torch."""
    half = heads.shape[-1] // 2
    return use_triton(heads.device) and half & (half - 1) == 0


@functools.cache
def _builds(index: int) -> bool:
    """Triton needs a C compiler at run time, which not every machine with a GPU has."""
    device = torch.device("cuda", index)
    x = torch.ones(1, 16, device=device)
    try:
        _rms_norm_kernel[(1,)](x, x, x.clone(), x.clone(), 1e-6, 16, BLOCK=16)
    except Exception as error:  # whatever a missing compiler or driver library raises
        log.warning(
            "Triton builds no kernel here, torch operations take their place (%s)", " ".join(str(error).split())
        )
        return False
    return True


def _head_rstd(x: Tensor, eps: float) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(x1 cos - x2 sin, x2 cos + x1 sin) for the halves x1, x2 of every head: x (T, N, E), cos and sin (T, E / 2)."""
    half = x.shape[-1] // 2
    x1, x2 = x[..., :half], x[..., half:]
    cos, sin = cos[:, None], sin[:, None]
    out = torch.empty_like(x)
    torch.mul(x1, cos, out=out[..., :half]).addcmul_(x2, sin, value=-1)
    torch.mul(x2, cos, out=out[..., half:]).addcmul_(x1, sin)
    return out


if triton is not None:

    @triton.jit
    def _rms_norm_kernel(x, weight, y, rstd, eps, width, BLOCK: tl.constexpr):
        row = tl.program_id(0).to(tl.int64)
        column = tl.arange(0, BLOCK)
        inside = column < width
        value = tl.load(x + row * width + column, mask=inside, other=0.0).to(tl.float32)
        r = 1 / tl.sqrt(tl.sum(value * value, 0) / width + eps)
        w = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(y + row * width + column, value * r * w, mask=inside)
        tl.store(rstd + row, r)

    @triton.jit
    def _rms_norm_backward_kernel(
        dy, x, rstd, weight, residual, dx, width, HAS_RESIDUAL: tl.constexpr, BLOCK: tl.constexpr
    ):
        row = tl.program_id(0).to(tl.int64)
        column = tl.arange(0, BLOCK)
        inside = column < width
        at = row * width + column
        value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        w = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
        g = tl.load(dy + at, mask=inside, other=0.0).to(tl.float32) * w
        r = tl.load(rstd + row)
        mean = tl.sum(g * value, 0) * r * r / width
        result = (g - value * mean) * r
        if HAS_RESIDUAL:
            result += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(dx + at, result, mask=inside)

    @triton.jit
    def _rotate_kernel(
        heads, norm, eps, cos, sin, positions, out, stride, count,
        HALF: tl.constexpr, HAS_NORM: tl.constexpr, HEADS: tl.constexpr,
    ):  # fmt: skip
        token = tl.program_id(0).to(tl.int64)
        head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
        half = tl.arange(0, HALF)[None, :]
        inside = head < count
        first = head * 2 * HALF + half
        x1 = tl.load(heads + token * stride + first, mask=inside, other=0.0).to(tl.float32)
        x2 = tl.load(heads + token * stride + first + HALF, mask=inside, other=0.0).to(tl.float32)
        if HAS_NORM:
            r = 1 / tl.sqrt((tl.sum(x1 * x1, 1) + tl.sum(x2 * x2, 1)) / (2 * HALF) + eps)
            x1 = x1 * r[:, None] * tl.load(norm + first, mask=inside, other=0.0).to(tl.float32)
            x2 = x2 * r[:, None] * tl.load(norm + first + HALF, mask=inside, other=0.0).to(tl.float32)
        position = tl.load(positions + token).to(tl.int64)
        c = tl.load(cos + position * HALF + half)
        s = tl.load(sin + position * HALF + half)
        start = token * count * 2 * HALF
        tl.store(out + start + first, x1 * c - x2 * s, mask=inside)
        tl.store(out + start + first + HALF, x2 * c + x1 * s, mask=inside)

    @triton.jit
    def _rotate_backward_kernel(
        d, heads, norm, eps, cos, sin, positions, out, d_stride, stride, out_stride, count,
        HALF: tl.constexpr, HAS_NORM: tl.constexpr, HEADS: tl.constexpr,
    ):  # fmt: skip
        token = tl.program_id(0).to(tl.int64)
        head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
        half = tl.arange(0, HALF)[None, :]
        inside = head < count
        first = head * 2 * HALF + half
        position = tl.load(positions + token).to(tl.int64)
        c = tl.load(cos + position * HALF + half)
        s = tl.load(sin + position * HALF + half)
        d1 = tl.load(d + token * d_stride + first, mask=inside, other=0.0).to(tl.float32)
        d2 = tl.load(d + token * d_stride + first + HALF, mask=inside, other=0.0).to(tl.float32)
        g1 = d1 * c + d2 * s
        g2 = d2 * c - d1 * s
        if HAS_NORM:
            x1 = tl.load(heads + token * stride + first, mask=inside, other=0.0).to(tl.float32)
            x2 = tl.load(heads + token * stride + first + HALF, mask=inside, other=0.0).to(tl.float32)
            r = 1 / tl.sqrt((tl.sum(x1 * x1, 1) + tl.sum(x2 * x2, 1)) / (2 * HALF) + eps)
            g1 *= tl.load(norm + first, mask=inside, other=0.0).to(tl.float32)
            g2 *= tl.load(norm + first + HALF, mask=inside, other=0.0).to(tl.float32)
            mean = (tl.sum(g1 * x1, 1) + tl.sum(g2 * x2, 1)) / (2 * HALF) * r * r
            g1 = (g1 - x1 * mean[:, None]) * r[:, None]
            g2 = (g2 - x2 * mean[:, None]) * r[:, None]
        tl.store(out + token * out_stride + first, g1, mask=inside)
        tl.store(out + token * out_stride + first + HALF, g2, mask=inside)

    @triton.jit
    def _swiglu_kernel(gate_up, y, width, BLOCK: tl.constexpr):
        row = tl.program_id(0).to(tl.int64)
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = column < width
        gate = tl.load(gate_up + row * 2 * width + column, mask=inside, other=0.0).to(tl.float32)
        up = tl.load(gate_up + row * 2 * width + width + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(y + row * width + column, gate / (1 + tl.exp(-gate)) * up, mask=inside)

    @triton.jit
    def _swiglu_backward_kernel(dy, gate_up, dx, width, BLOCK: tl.constexpr):
        row = tl.program_id(0).to(tl.int64)
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = column < width
        at = row * 2 * width + column
        gate = tl.load(gate_up + at, mask=inside, other=0.0).to(tl.float32)
        up = tl.load(gate_up + at + width, mask=inside, other=0.0).to(tl.float32)
        d = tl.load(dy + row * width + column, mask=inside, other=0.0).to(tl.float32)
        share = 1 / (1 + tl.exp(-gate))
        silu = gate * share
        tl.store(dx + at, d * up * (share + silu * (1 - share)), mask=inside)
        tl.store(dx + at + width, d * silu, mask=inside)

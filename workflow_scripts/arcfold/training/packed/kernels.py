"""The elementwise parts of a decoder layer, forward and backward, for the packed backend.

Each function has one definition in torch operations and, on a GPU with Triton, one kernel that
reads and writes every number once. Numbers are computed in float32 and rounded once.

A row of T = 6 tokens, L = 3 of them with a loss, in a model of D = 320, F = 896, 5 heads of 64 for
queries, keys and values each, V = 16:

    rms_norm        (6, 320)             6 programs of a token, 512 lanes for 320 columns
    rotate          (6, 10, 64)          6 x 2 programs: a token, 8 heads
    swiglu          (6, 1792) (6, 896)   6 x 1 programs: a token, 1024 lanes for 896 columns
    cross_entropy   (3, 16)              1 program of 64 rows, 16 lanes each

and in numbers: rms_norm of s = [1, 2] + [2, 2] = [3, 4] has rms(s) = √12.5 = 3.536, so that with
weights of one y = [0.849, 1.131]; swiglu of gate 1 and up 2 is 1 / (1 + e⁻¹) · 2 = 1.462.

Shapes: T tokens of a packed row, D width, F width of the MLP, N heads, E head size, P positions.
"""

from __future__ import annotations

import functools
import logging

import torch
import torch.nn.functional as F
from torch import Tensor

log = logging.getLogger(__name__)

# One head of 64 numbers is too little for the 128 threads of a program.
_HEADS = 8  # heads that one program of a kernel rotates
_VOCABULARY = 8192  # tokens whose logits one program of a kernel holds

try:
    import triton
    import triton.language as tl
except ImportError:  # builds of torch for the CPU come without it
    triton = None


def rms_norm(x: Tensor, delta: Tensor | None, weight: Tensor, eps: float, out: Tensor) -> tuple[Tensor, Tensor]:
    """s = x + delta (or x), both (T, D); writes s / rms(s) · weight into `out` (T, D).

    rms(s) = sqrt(mean(s²) + eps) over the columns (Zhang and Sennrich, 2019, arXiv 1910.07467); weight: (D,).
    Returns s (T, D), which is x itself without a delta, and 1 / rms(s) (T,) in float32. `out` may be
    the first columns of a wider buffer, here and in all functions below that have it.
    """
    # The sum of the stream is taken here, where it is read anyway, instead of in a pass of its own.
    if use_triton(x.device):
        total, rstd = x if delta is None else torch.empty_like(x), x.new_empty(len(x), dtype=torch.float32)
        _rms_norm_kernel[(len(x),)](
            x, x if delta is None else delta, weight, total, out, rstd, eps, x.shape[1], out.stride(0),
            HAS_DELTA=delta is not None, BLOCK=triton.next_power_of_2(x.shape[1]),
        )  # fmt: skip
        return total, rstd
    total = x if delta is None else x + delta
    x32 = total.float()
    rstd = torch.linalg.vector_norm(x32, dim=-1).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    out.copy_((x32 * rstd[:, None]).mul_(weight))
    return total, rstd


def rms_norm_backward(
    dy: Tensor, x: Tensor, rstd: Tensor, weight: Tensor, residual: Tensor | None, out: Tensor
) -> None:
    """Writes the gradient of the norm in its s (T, D) into `out`, plus `residual`, what reached s on the other way.

    x, rstd: s and 1 / rms(s) as `rms_norm` gave them; dy: (T, D) the gradient in its output. With g = dy · weight
    and r = 1 / rms(s): ds = r (g - s r² mean(g s)). The weight is frozen and gets no gradient.
    """
    if use_triton(x.device):
        other = dy if residual is None else residual
        _rms_norm_backward_kernel[(len(x),)](
            dy, x, rstd, weight, other, out, x.shape[1], other.stride(0), out.stride(0),
            HAS_RESIDUAL=residual is not None, BLOCK=triton.next_power_of_2(x.shape[1]),
        )  # fmt: skip
        return
    g, x32, rstd = dy.float() * weight, x.float(), rstd[:, None]
    mean = (g * x32).sum(-1, keepdim=True).mul_(rstd.square()).div_(x.shape[-1])
    dx = g.addcmul_(x32, mean, value=-1).mul_(rstd)
    out.copy_(dx if residual is None else dx.add_(residual))


def rotate(heads: Tensor, norm: Tensor | None, eps: float, cos: Tensor, sin: Tensor, positions: Tensor) -> Tensor:
    """Normed (if `norm` is given) and rotated heads of a row, (T, N, E).

    heads: (T, N, E), which may be the first heads of a longer row; norm: (N, E), the weights of
    each head's RMS norm; cos, sin: (P, E / 2) float32; positions: (T,).

    Number j < E / 2 of a head and number j + E / 2 turn together by the position's angle j, as in transformers'
    models (rotary positions, Su et al., 2021, arXiv 2104.09864, who pair neighbours instead).
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
    dq: Tensor, dk: Tensor, dv: Tensor, heads: Tensor, norm: Tensor | None, eps: float, cos: Tensor, sin: Tensor,
    positions: Tensor, out: Tensor,
) -> None:  # fmt: skip
    """Writes the gradient in q, k and v as they were before `rotate` into `out`.

    dq: (T, H, E); dk, dv: (T, K, E), all three contiguous; heads, out: (T, H + 2 K, E), maybe a part
    of wider rows; norm: (H + K, E). A rotation's gradient is turned back by the same angle; v is copied.
    """
    queries, keys, size = dq.shape[1], dk.shape[1], dq.shape[2]
    if _rotates_with_triton(heads):
        _rotate_backward_kernel[len(dq), triton.cdiv(queries + 2 * keys, _HEADS)](
            dq, dk, dv, heads, norm if norm is not None else heads, eps, cos, sin, positions, out,
            heads.stride(0), out.stride(0), queries, keys,
            HALF=size // 2, HAS_NORM=norm is not None, HEADS=_HEADS,
        )  # fmt: skip
        return
    g = _rotated(torch.cat([dq, dk], dim=1).float(), cos[positions], -sin[positions])
    if norm is not None:
        x = heads[:, : queries + keys].float()
        rstd = _head_rstd(x, eps)
        g.mul_(norm)
        mean = (g * x).mean(-1, keepdim=True).mul_(rstd.square())
        g.addcmul_(x, mean, value=-1).mul_(rstd)
    out[:, : queries + keys].copy_(g)
    out[:, queries + keys :].copy_(dv)


def swiglu(gate_up: Tensor, out: Tensor) -> None:
    """Writes silu(gate) · up: (T, 2 F), gate then up, to (T, F); silu(g) = g / (1 + e^-g).

    SwiGLU: Shazeer, 2020, arXiv 2002.05202.
    """
    tokens, width = out.shape
    if use_triton(gate_up.device):
        _swiglu_kernel[(tokens, triton.cdiv(width, 1024))](gate_up, out, width, out.stride(0), BLOCK=1024)
        return
    gate, up = gate_up.float().split(width, dim=1)
    out.copy_(F.silu(gate).mul_(up))


def swiglu_backward(dy: Tensor, gate_up: Tensor, out: Tensor) -> None:
    """Writes the gradient of `swiglu` in its input, (T, 2 F), from dy (T, F), that in its output.

    With p = 1 / (1 + e^-gate): dgate = dy · up · (p + gate p (1 - p)), dup = dy · gate p.
    """
    tokens, width = dy.shape
    if use_triton(gate_up.device):
        _swiglu_backward_kernel[(tokens, triton.cdiv(width, 1024))](dy, gate_up, out, width, out.stride(0), BLOCK=1024)
        return
    gate, up = gate_up.float().split(width, dim=1)
    dy32 = dy.float()
    out[:, width:] = F.silu(gate).mul_(dy32)
    out[:, :width] = torch.ops.aten.silu_backward(dy32 * up, gate)


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted losses (L,) in float32 and their sum's gradient in the logits, in the logits' number type.

    logits: (L, V); targets: (L,) below V; weights: (L,) float32. loss = weight · (log sum exp(logits) - logits[target])
    in nats, gradient = weight · (softmax(logits) - 1 at the target).
    """
    # Loss and gradient in one pass: (L, V) is the largest tensor of a model with a large vocabulary, and
    # a pass for each of float32 copy, softmax and gradient would read and write it again.
    count, vocabulary = logits.shape
    if use_triton(logits.device) and vocabulary <= _VOCABULARY:
        losses, gradient = torch.empty_like(weights), torch.empty_like(logits)
        block = triton.next_power_of_2(vocabulary)
        rows = max(1, 1024 // block)
        _cross_entropy_kernel[(triton.cdiv(count, rows),)](
            logits, targets, weights, losses, gradient, count, vocabulary, ROWS=rows, BLOCK=block
        )
        return losses, gradient
    targets = targets.long()[:, None]
    d = logits.float()
    total = torch.logsumexp(d, dim=1, keepdim=True)
    losses = (total - d.gather(1, targets))[:, 0].mul_(weights)
    d = (d - total).exp_()  # the gradient is the probabilities, less one at the target
    d -= (targets == torch.arange(vocabulary, device=d.device)).to(d.dtype)
    return losses, d.mul_(weights[:, None]).to(logits.dtype)


def adamw(
    master: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, share: Tensor, numbers: Tensor,
    betas: tuple[float, float], eps: float, decay: float, finite: Tensor | None = None,
) -> None:  # fmt: skip
    """One AdamW step (Loshchilov and Hutter, 2019, arXiv 1711.05101) in place over flat tensors.

    master, mean, square: (n,) float32, `gradient` (n,) of any number type. share: scalar tensor that scales the
    gradient. numbers: (3,) learning rate, 1 / (1 - beta1^t), 1 / sqrt(1 - beta2^t). finite: scalar tensor, where it
    is 0 nothing changes; None: there is no such step. All that changes from step to step is on the device, so that
    a captured step can be played again.
    """
    # The masters are float32 beside the computation's bfloat16. That has 8 significant bits, in which a step of
    # less than a 512th of a weight is lost: at a rate of 1e-4, about AdamW's step, that of every weight above 0.05.
    if use_triton(master.device):
        size = len(master)
        _adamw_kernel[(triton.cdiv(size, 1024),)](
            master, gradient, mean, square, share, numbers, share if finite is None else finite,
            size, 1 - betas[0], betas[1], 1 - betas[1], eps, decay, GUARDED=finite is not None, BLOCK=1024,
        )  # fmt: skip
        return
    rate, mean_scale, root_scale = numbers.unbind()
    # a piece stays in a CPU's cache from operation to operation
    size = 2**16 if master.device.type == "cpu" else len(master)
    for one, given, m, v in zip(*(tensor.split(size) for tensor in (master, gradient, mean, square)), strict=True):
        before = None if finite is None else [tensor.clone() for tensor in (one, m, v)]
        g = given.float() * share
        one.mul_(1 - rate * decay)
        m.lerp_(g, 1 - betas[0])
        v.mul_(betas[1]).addcmul_(g, g, value=1 - betas[1])
        one.sub_((m * (rate * mean_scale)).div_(v.sqrt().mul_(root_scale).add_(eps)))
        if finite is not None and before is not None:
            for tensor, old in zip((one, m, v), before, strict=True):
                tensor.copy_(torch.where(finite > 0, tensor, old))


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
    # only a launch tells: an import succeeds without a compiler
    try:
        rms = (x, x, x, x.clone(), x.clone(), x.clone(), 1e-6, 16, 16)
        _rms_norm_kernel[(1,)](*rms, HAS_DELTA=False, BLOCK=16)
    except Exception as error:  # whatever a missing compiler or driver library raises
        log.warning(
            "Triton builds no kernel here, torch operations take their place (%s)", " ".join(str(error).split())
        )
        return False
    return True


def _head_rstd(x: Tensor, eps: float) -> Tensor:
    """1 / rms of each head: (T, N, E) to (T, N, 1)."""
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


# In the kernels below
#   a name alone is a pointer to the first number of a tensor, whose shape the kernel's text gives;
#   …_stride is the number of numbers from one token to the next, where tokens may be a part of wider rows;
#   BLOCK, HEADS and ROWS are how much one program holds, a power of two as all of Triton's blocks;
#   what is behind a tensor's end is masked: read as `other`, and not written.
# Tokens are counted in 64 bits, since tokens times columns may be more than 2³¹.

if triton is not None:

    @triton.jit
    def _rms_norm_kernel(
        x, delta, weight, total, y, rstd, eps, width, y_stride, HAS_DELTA: tl.constexpr, BLOCK: tl.constexpr
    ):
        """One token's norm. Programs (T,).

        In: x, delta (T, D), delta only with HAS_DELTA; weight (D,); eps under the root; width: D, BLOCK or less.
        Out: total (T, D) = x + delta, only with HAS_DELTA; y (T, D) in rows of y_stride; rstd (T,) float32.
        """
        row = tl.program_id(0).to(tl.int64)
        column = tl.arange(0, BLOCK)
        inside = column < width
        value = tl.load(x + row * width + column, mask=inside, other=0.0)
        if HAS_DELTA:
            other = tl.load(delta + row * width + column, mask=inside, other=0.0)
            # rounded before it is normed, since the backward reads it as it is stored
            value = (value.to(tl.float32) + other.to(tl.float32)).to(total.dtype.element_ty)
            tl.store(total + row * width + column, value, mask=inside)
        value = value.to(tl.float32)
        r = 1 / tl.sqrt(tl.sum(value * value, 0) / width + eps)
        w = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(y + row * y_stride + column, value * r * w, mask=inside)
        tl.store(rstd + row, r)

    @triton.jit
    def _rms_norm_backward_kernel(
        dy, x, rstd, weight, residual, dx, width, residual_stride, dx_stride,
        HAS_RESIDUAL: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """One token's gradient of the norm. Programs (T,).

        In: dy, x (T, D), contiguous; rstd (T,); weight (D,); width: D; residual (T, D) in rows of
        residual_stride, only with HAS_RESIDUAL. Out: dx (T, D) in rows of dx_stride.
        """
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
            result += tl.load(residual + row * residual_stride + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(dx + row * dx_stride + column, result, mask=inside)

    @triton.jit
    def _rotate_kernel(
        heads, norm, eps, cos, sin, positions, out, heads_stride, count,
        HALF: tl.constexpr, HAS_NORM: tl.constexpr, HEADS: tl.constexpr,
    ):  # fmt: skip
        """HEADS heads of one token, normed and rotated. Programs (T, N / HEADS rounded up).

        In: heads (T, N, E) in rows of heads_stride; norm (N, E), only with HAS_NORM; eps under the root;
        cos, sin (P, E / 2) float32; positions (T,); count: N; HALF: E / 2. Out: out (T, N, E), contiguous.
        """
        token = tl.program_id(0).to(tl.int64)
        head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
        half = tl.arange(0, HALF)[None, :]
        inside = head < count
        first = head * 2 * HALF + half
        # a head in two halves (HEADS, E / 2): numbers that turn together stand at the same place of both
        x1 = tl.load(heads + token * heads_stride + first, mask=inside, other=0.0).to(tl.float32)
        x2 = tl.load(heads + token * heads_stride + first + HALF, mask=inside, other=0.0).to(tl.float32)
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
        dq, dk, dv, heads, norm, eps, cos, sin, positions, out, heads_stride, out_stride, queries, keys,
        HALF: tl.constexpr, HAS_NORM: tl.constexpr, HEADS: tl.constexpr,
    ):  # fmt: skip
        """HEADS heads of one token, turned back. Programs (T, (H + 2 K) / HEADS rounded up).

        In: dq (T, H, E); dk, dv (T, K, E); heads (T, H + 2 K, E) before norm and rotation, in rows of
        heads_stride, and norm (H + K, E), both read only with HAS_NORM; eps under the root; cos, sin (P, E / 2)
        float32; positions (T,); queries: H; keys: K; HALF: E / 2. Out: out (T, H + 2 K, E) in rows of out_stride.
        """
        token = tl.program_id(0).to(tl.int64)
        head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
        half = tl.arange(0, HALF)[None, :]
        first = head * 2 * HALF + half
        turned = head < queries + keys
        inside = head < queries + 2 * keys
        # each head has its gradient in one of three tensors; the others give zero
        own_q = dq + token * queries * 2 * HALF + first
        own_k = dk + (token * keys - queries) * 2 * HALF + first
        own_v = dv + (token * keys - queries - keys) * 2 * HALF + first
        is_q = head < queries
        is_k = turned & (head >= queries)
        is_v = inside & (head >= queries + keys)
        d1 = tl.load(own_q, mask=is_q, other=0.0).to(tl.float32)
        d1 += tl.load(own_k, mask=is_k, other=0.0).to(tl.float32)
        d1 += tl.load(own_v, mask=is_v, other=0.0).to(tl.float32)
        d2 = tl.load(own_q + HALF, mask=is_q, other=0.0).to(tl.float32)
        d2 += tl.load(own_k + HALF, mask=is_k, other=0.0).to(tl.float32)
        d2 += tl.load(own_v + HALF, mask=is_v, other=0.0).to(tl.float32)
        position = tl.load(positions + token).to(tl.int64)
        c = tl.load(cos + position * HALF + half)
        s = tl.load(sin + position * HALF + half)
        g1 = d1 * c + d2 * s
        g2 = d2 * c - d1 * s
        if HAS_NORM:
            # the norm stands before the rotation: its gradient comes after, as in `_rms_norm_backward_kernel`
            x1 = tl.load(heads + token * heads_stride + first, mask=turned, other=0.0).to(tl.float32)
            x2 = tl.load(heads + token * heads_stride + first + HALF, mask=turned, other=0.0).to(tl.float32)
            r = 1 / tl.sqrt((tl.sum(x1 * x1, 1) + tl.sum(x2 * x2, 1)) / (2 * HALF) + eps)
            g1 *= tl.load(norm + first, mask=turned, other=0.0).to(tl.float32)
            g2 *= tl.load(norm + first + HALF, mask=turned, other=0.0).to(tl.float32)
            mean = (tl.sum(g1 * x1, 1) + tl.sum(g2 * x2, 1)) / (2 * HALF) * r * r
            g1 = (g1 - x1 * mean[:, None]) * r[:, None]
            g2 = (g2 - x2 * mean[:, None]) * r[:, None]
        tl.store(out + token * out_stride + first, tl.where(turned, g1, d1), mask=inside)
        tl.store(out + token * out_stride + first + HALF, tl.where(turned, g2, d2), mask=inside)

    @triton.jit
    def _swiglu_kernel(gate_up, y, width, y_stride, BLOCK: tl.constexpr):
        """BLOCK columns of one token. Programs (T, F / BLOCK rounded up).

        In: gate_up (T, 2 F), contiguous; width: F. Out: y (T, F) in rows of y_stride.
        """
        row = tl.program_id(0).to(tl.int64)
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = column < width
        gate = tl.load(gate_up + row * 2 * width + column, mask=inside, other=0.0).to(tl.float32)
        up = tl.load(gate_up + row * 2 * width + width + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(y + row * y_stride + column, gate / (1 + tl.exp(-gate)) * up, mask=inside)

    @triton.jit
    def _swiglu_backward_kernel(dy, gate_up, dx, width, dx_stride, BLOCK: tl.constexpr):
        """BLOCK columns of one token. Programs (T, F / BLOCK rounded up).

        In: dy (T, F), gate_up (T, 2 F), contiguous; width: F. Out: dx (T, 2 F) in rows of dx_stride.
        """
        row = tl.program_id(0).to(tl.int64)
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = column < width
        at = row * 2 * width + column
        gate = tl.load(gate_up + at, mask=inside, other=0.0).to(tl.float32)
        up = tl.load(gate_up + at + width, mask=inside, other=0.0).to(tl.float32)
        d = tl.load(dy + row * width + column, mask=inside, other=0.0).to(tl.float32)
        share = 1 / (1 + tl.exp(-gate))
        silu = gate * share
        to = row * dx_stride + column
        tl.store(dx + to, d * up * (share + silu * (1 - share)), mask=inside)
        tl.store(dx + to + width, d * silu, mask=inside)

    @triton.jit
    def _cross_entropy_kernel(
        logits, targets, weights, losses, gradient, count, vocabulary, ROWS: tl.constexpr, BLOCK: tl.constexpr
    ):
        """ROWS rows of logits. Programs (L / ROWS rounded up,).

        In: logits (L, V); targets (L,); weights (L,) float32; count: L; vocabulary: V, BLOCK or less.
        Out: losses (L,) float32; gradient (L, V).
        """
        # a small vocabulary leaves a program with a single row without work: it takes 1024 / BLOCK of them
        row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
        column = tl.arange(0, BLOCK)[None, :]
        there = row < count
        inside = there[:, None] & (column < vocabulary)
        at = row[:, None] * vocabulary + column
        value = tl.load(logits + at, mask=inside, other=-1e30).to(tl.float32)
        # relative to the largest, whose power is 1: none overflows
        top = tl.max(value, 1)
        power = tl.exp(value - top[:, None])
        total = tl.sum(power, 1)
        hit = column == tl.load(targets + row, mask=there, other=0)[:, None]
        picked = tl.sum(tl.where(hit, value, 0.0), 1)
        weight = tl.load(weights + row, mask=there, other=0.0)
        tl.store(losses + row, (tl.log(total) + top - picked) * weight, mask=there)
        d = (power / total[:, None] - tl.where(hit, 1.0, 0.0)) * weight[:, None]
        tl.store(gradient + at, d, mask=inside)

    @triton.jit
    def _adamw_kernel(
        master, gradient, mean, square, share, numbers, finite, size, rest1, beta2, rest2, eps, decay,
        GUARDED: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """BLOCK numbers of the flat tensors. Programs (size / BLOCK rounded up,).

        In: gradient (size,); share () and numbers (3,) float32, as in `adamw`; finite () float32, read only with
        GUARDED; rest1: 1 - beta1; rest2: 1 - beta2; eps; decay: the share of a number that a rate of 1 takes away.
        In and out: master, mean, square (size,) float32.
        """
        if GUARDED:  # noqa: SIM102 (decided when it is compiled, the other when it runs)
            if tl.load(finite) == 0:
                return
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = at < size
        # read, not passed: a captured launch keeps its arguments, and these change from step to step
        rate = tl.load(numbers)
        mean_scale = tl.load(numbers + 1)
        root_scale = tl.load(numbers + 2)
        g = tl.load(gradient + at, mask=inside, other=0.0).to(tl.float32) * tl.load(share)
        m = tl.load(mean + at, mask=inside, other=0.0)
        v = tl.load(square + at, mask=inside, other=0.0)
        value = tl.load(master + at, mask=inside, other=0.0)
        m = m + (g - m) * rest1
        v = v * beta2 + g * g * rest2
        value = value * (1 - rate * decay) - m / (tl.sqrt(v) * root_scale + eps) * (rate * mean_scale)
        tl.store(mean + at, m, mask=inside)
        tl.store(square + at, v, mask=inside)
        tl.store(master + at, value, mask=inside)

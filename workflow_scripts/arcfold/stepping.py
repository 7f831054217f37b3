"""One step of a frontier around the model's pass: what each row runs, and which successors take the rows' places.

Everything stays in tensors of fixed shape on the device, so that a step can be a CUDA graph. The
Triton kernels do in four launches what the plain versions do in some sixty.

Shapes: R rows, Q queries, W tokens of the longest reply, V vocabulary, C successors looked at for
each row, F finished replies that wait for the host.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from arcfold import kernels

try:
    import triton
    import triton.language as tl
except ImportError:  # as in `kernels`
    triton = None

COUNT, WANT, ENDED, USED, HELD, HOLD = range(6)
"""Places of `State.counters`: living rows, rows that the last step wanted, finished replies, used
slots, steps that did not fit, and whether steps must not change anything."""
FEW = 64
"""Up to this vocabulary all successors are looked at; above it the most probable, as many as can pass."""


class Rows(NamedTuple):
    """Rows on the device."""

    query: torch.Tensor
    """(R,) int64"""
    token: torch.Tensor
    """(R,) int64, the last token, which is not in the pool yet."""
    depth: torch.Tensor
    """(R,) int64, tokens of the prefix; at least 1 in every lane, living or not."""
    score: torch.Tensor
    """(R,) fp64, log-probability of the prefix."""
    table: torch.Tensor
    """(R, W) int32, slots of the tokens."""
    text: torch.Tensor
    """(R, W) int32, the tokens."""

    def first(self, rows: int) -> Rows:
        """The first `rows` rows, in the same memory."""
        return Rows(*(tensor[:rows] for tensor in self))

    @staticmethod
    def new(rows: int, width: int, device: torch.device) -> Rows:
        """Memory for `rows` rows of up to `width` tokens."""

        def zeros(dtype: torch.dtype, *shape: int) -> torch.Tensor:
            return torch.zeros(rows, *shape, dtype=dtype, device=device)

        long, short = torch.int64, torch.int32
        depth = torch.ones(rows, dtype=long, device=device)
        return Rows(zeros(long), zeros(long), depth, zeros(torch.float64), zeros(short, width), zeros(short, width))


class Queries(NamedTuple):
    """What the rows need to know of their queries."""

    start: torch.Tensor
    """(Q,) int64, first slot of the prompt."""
    length: torch.Tensor
    """(Q,) int64, tokens of the prompt."""
    longest: torch.Tensor
    """(Q,) int64, tokens of a reply at most, the end included."""
    margin: torch.Tensor
    """(Q,) fp32, how near a decision was to the threshold so far."""


@dataclass(frozen=True)
class State:
    """All that a step reads and writes, the pool aside."""

    rows: Rows
    """The living rows, then lanes without one."""
    done: Rows
    """(F + 1) finished replies without their end token, whose log-probability they have; the last takes the rest."""
    queries: Queries
    counters: torch.Tensor
    """(6,) int64"""


class Prepared(NamedTuple):
    """What each row runs and sees in a step; zeros in lanes without a row."""

    slot: torch.Tensor
    """(R,) where its token's keys and values go."""
    position: torch.Tensor
    start: torch.Tensor
    """(R,) first slot of its prompt."""
    length: torch.Tensor
    """(R,) slots of its prompt."""
    depth: torch.Tensor
    """(R,) slots of its table."""


@dataclass(frozen=True)
class Threshold:
    """Which replies are searched."""

    end: int
    log_min: float
    """log min_prob"""


def prepare(state: State, rows: int, slots: int) -> Prepared:
    """Gives each of the first `rows` rows a slot of the pool (of `slots`) and says what it sees."""
    if kernels.has_triton(state.counters.device):
        return _prepare_triton(state, rows, slots)
    return prepare_plain(state, rows, slots)


def prepare_plain(state: State, rows: int, slots: int) -> Prepared:
    """`prepare` in plain torch."""
    row, counters = state.rows.first(rows), state.counters
    lane = torch.arange(rows, device=counters.device)
    valid = lane < counters[COUNT]
    slot = counters[USED] + lane
    slot = torch.where(valid & (slot < slots), slot, 0)
    row.table.scatter_(1, row.depth[:, None] - 1, slot[:, None].to(torch.int32))
    length = torch.where(valid, state.queries.length[row.query], 0)
    depth = torch.where(valid, row.depth, 0)
    start = torch.where(valid, state.queries.start[row.query], 0)
    return Prepared(slot, (length + depth - 1).clamp_(min=0), start, length, depth)


def advance(state: State, rows: int, slots: int, log_probs: torch.Tensor, what: Threshold) -> None:
    """Puts the successors that are probable enough in the place of the rows; log_probs (R, V) in fp32.

    If they do not all fit (into `rows`, the finished replies, the pool's `slots`), or if steps are
    on hold, nothing changes but the counters that say so.
    """
    if kernels.has_triton(log_probs.device):
        _advance_triton(state, rows, slots, log_probs, what)
    else:
        advance_plain(state, rows, slots, log_probs, what)


def advance_plain(state: State, rows: int, slots: int, log_probs: torch.Tensor, what: Threshold) -> None:
    """`advance` in plain torch."""
    row, done, counters = state.rows.first(rows), state.done, state.counters
    lane = torch.arange(rows, device=log_probs.device)
    valid = lane < counters[COUNT]
    gap = log_probs - (what.log_min - row.score).to(torch.float32)[:, None]  # (R, V)
    end_gap = gap[:, what.end]
    only_end = row.depth + 1 == state.queries.longest[row.query]
    nearest = torch.where(only_end, end_gap.abs(), gap.abs().amin(1))
    state.queries.margin.scatter_reduce_(0, row.query, torch.where(valid, nearest, math.inf), "amin")

    ends = valid & (end_gap >= 0)
    best, follower = _likeliest(gap, what)  # (R, C)
    passes = ((valid & ~only_end)[:, None] & (best >= 0) & (follower != what.end)).flatten()  # (R * C,)
    order = passes.cumsum(0)
    room = len(done.query) - 1
    want, ended, used = order[-1], counters[ENDED] + ends.sum(), counters[USED] + counters[COUNT]
    fits = (want <= rows) & (ended <= room) & (used <= slots) & (counters[HOLD] == 0)

    # The row and the successor that come to stand in each lane; lanes stay as they are if it does not fit.
    goal = torch.where(passes & (order <= rows), order - 1, rows)
    source = goal.new_zeros(rows + 1).scatter_(0, goal, torch.arange(len(goal), device=goal.device))[:rows]
    parent = torch.where(fits, source // best.shape[1], lane)
    token = torch.where(fits, follower.flatten()[source], row.token)
    gained = torch.where(fits, log_probs[parent, token].double(), 0.0)

    place = torch.where(fits & ends, counters[ENDED] + ends.cumsum(0) - 1, room)
    done.query.scatter_(0, place, row.query)
    done.depth.scatter_(0, place, row.depth)
    done.score.scatter_(0, place, row.score + log_probs[:, what.end].double())
    done.text.index_copy_(0, place, row.text)

    new = Rows(*(tensor[parent] for tensor in row))
    new.token.copy_(token)
    new.depth.add_(fits & (lane < want))  # the depth of a lane without a row stays in bounds
    new.score.add_(gained)
    new.text.scatter_(1, new.depth[:, None] - 1, token[:, None].to(torch.int32))
    for old, tensor in zip(row, new, strict=True):
        old.copy_(tensor)
    after = [torch.where(fits, want, counters[COUNT]), want, torch.where(fits, ended, counters[ENDED])]
    after += [torch.where(fits, used, counters[USED]), counters[HELD] + ~fits, counters[HOLD]]
    counters.copy_(torch.stack(after))


def _likeliest(values: torch.Tensor, what: Threshold) -> tuple[torch.Tensor, torch.Tensor]:
    """(R, C) values and tokens of the successors that may pass, from (R, V)."""
    rows, vocabulary = values.shape
    if vocabulary <= FEW:
        return values, torch.arange(vocabulary, device=values.device).expand(rows, vocabulary)
    # Successors are disjoint: at most 1 / min_prob of them can be that probable.
    best = values.topk(min(vocabulary, int(math.exp(-what.log_min)) + 1))
    return best.values, best.indices


def _prepare_triton(state: State, rows: int, slots: int) -> Prepared:
    row, queries = state.rows, state.queries
    made = Prepared(*torch.empty(5, rows, dtype=torch.int64, device=state.counters.device))
    _prepare_kernel[(triton.cdiv(rows, 128),)](
        row.query, row.depth, row.table, queries.start, queries.length, state.counters, *made, rows, slots,
        row.table.stride(0), COUNT=COUNT, USED=USED, BLOCK=128,
    )  # fmt: skip
    return made


def _advance_triton(state: State, rows: int, slots: int, log_probs: torch.Tensor, what: Threshold) -> None:
    row, done, queries = state.rows, state.done, state.queries
    vocabulary = log_probs.shape[1]
    device = log_probs.device
    best, follower = (log_probs, log_probs) if vocabulary <= FEW else _likeliest(log_probs, what)
    successors = best.shape[1]
    wide = triton.next_power_of_2(successors)
    # For each lane the parent, the token and what it gained; for each row its place among the finished.
    parent, token, place = torch.empty(3, rows, dtype=torch.int64, device=device)
    gained = torch.empty(rows, dtype=torch.float32, device=device)
    fits = torch.empty(1, dtype=torch.int32, device=device)
    nearest = _nearest(state, rows, log_probs, what) if vocabulary > FEW else log_probs
    _judge_kernel[(1,)](
        log_probs, best, follower, nearest, row.query, row.depth, row.score, queries.longest,
        queries.margin.view(torch.int32), state.counters, parent, token, gained, place, fits,
        rows, slots, len(done.query) - 1, log_probs.stride(0), best.stride(0),
        LOG_MIN=what.log_min, END=what.end, SUCCESSORS=successors, WIDE=wide, ALL=vocabulary <= FEW,
        BLOCK=max(1, 2048 // wide), COUNT=COUNT, WANT=WANT, ENDED=ENDED, USED=USED, HELD=HELD, HOLD=HOLD, num_warps=8,
    )  # fmt: skip
    moved = Rows(*(torch.empty_like(tensor) for tensor in row.first(rows)))
    width = row.text.shape[1]
    _move_kernel[(rows,)](
        *row, *moved, *done, log_probs, parent, place, fits, state.counters,
        len(done.query) - 1, log_probs.stride(0), width, END=what.end, WANT=WANT, BLOCK=256, num_warps=1,
    )  # fmt: skip
    _settle_kernel[(rows,)](
        *row, *moved, parent, token, gained, fits, state.counters, width, WANT=WANT, BLOCK=256, num_warps=1,
    )  # fmt: skip


def _nearest(state: State, rows: int, log_probs: torch.Tensor, what: Threshold) -> torch.Tensor:
    """(R,) the distance of the nearest successor's log-probability to the threshold, over a large vocabulary."""
    gap = log_probs - (what.log_min - state.rows.score[:rows]).to(torch.float32)[:, None]
    return gap.abs_().amin(1)


if triton is not None:

    @triton.jit
    def _prepare_kernel(
        query, depth, table, prompt_start, prompt_length, counters,
        out_slot, out_position, out_start, out_length, out_depth,
        rows, slots, table_row, COUNT: tl.constexpr, USED: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        here = lane < rows
        valid = here & (lane < tl.load(counters + COUNT))
        slot = tl.load(counters + USED) + lane
        slot = tl.where(valid & (slot < slots), slot, 0)
        own = tl.load(query + lane, mask=valid, other=0)
        deep = tl.load(depth + lane, mask=valid, other=0)
        start = tl.load(prompt_start + own, mask=valid, other=0)
        length = tl.load(prompt_length + own, mask=valid, other=0)
        tl.store(table + lane.to(tl.int64) * table_row + deep - 1, slot.to(tl.int32), mask=valid)
        tl.store(out_slot + lane, slot, mask=here)
        tl.store(out_position + lane, tl.maximum(length + deep - 1, 0), mask=here)
        tl.store(out_start + lane, start, mask=here)
        tl.store(out_length + lane, length, mask=here)
        tl.store(out_depth + lane, deep, mask=here)

    @triton.jit
    def _judge_kernel(
        log_probs, best, follower, nearest, query, depth, score, longest, margin, counters,
        parent, token, gained, place, fits, rows, slots, room, probs_row, best_row,
        LOG_MIN: tl.constexpr, END: tl.constexpr, SUCCESSORS: tl.constexpr,
        WIDE: tl.constexpr, ALL: tl.constexpr, BLOCK: tl.constexpr,
        COUNT: tl.constexpr, WANT: tl.constexpr, ENDED: tl.constexpr, USED: tl.constexpr, HELD: tl.constexpr,
        HOLD: tl.constexpr,
    ):  # fmt: skip
        """One program for all rows: numbers the successors that pass and the rows that end, in order."""
        count = tl.load(counters + COUNT)
        used = tl.load(counters + USED) + count
        ended = tl.load(counters + ENDED)
        hold = tl.load(counters + HOLD)
        want = count * 0
        each = tl.arange(0, WIDE)
        for first in range(0, rows, BLOCK):
            lane = first + tl.arange(0, BLOCK)
            here = lane < rows
            valid = here & (lane < count)
            own = tl.load(query + lane, mask=valid, other=0)
            deep = tl.load(depth + lane, mask=valid, other=0)
            before = tl.load(score + lane, mask=valid, other=0.0)
            limit = tl.load(longest + own, mask=valid, other=0)
            needed = (tl.full([BLOCK], LOG_MIN, tl.float64) - before).to(tl.float32)
            end_gap = tl.load(log_probs + lane * probs_row + END, mask=valid, other=-1.0e30) - needed
            only_end = deep + 1 == limit
            inside = valid[:, None] & (each < SUCCESSORS)[None, :]
            value = tl.load(best + lane[:, None] * best_row + each[None, :], mask=inside, other=-1.0e30)
            gap = value - needed[:, None]
            if ALL:
                follows = tl.zeros([BLOCK, WIDE], tl.int64) + each[None, :]
                near = tl.min(tl.where(inside, tl.abs(gap), float("inf")), 1)
            else:
                follows = tl.load(follower + lane[:, None] * best_row + each[None, :], mask=inside, other=0)
                near = tl.load(nearest + lane, mask=valid, other=float("inf"))
            near = tl.where(only_end, tl.abs(end_gap), near)
            # Of numbers that are not negative the bits compare like the numbers.
            tl.atomic_min(margin + own, near.to(tl.int32, bitcast=True), mask=valid)

            ends = (valid & (end_gap >= 0)).to(tl.int64)
            tl.store(place + lane, tl.where(ends > 0, ended + tl.cumsum(ends, 0) - 1, room), mask=here)
            ended += tl.sum(ends, 0)
            passes = inside & (gap >= 0) & (follows != END) & (only_end == 0)[:, None]
            passing = passes.to(tl.int64)
            of_row = tl.sum(passing, 1)
            goal = (want + tl.cumsum(of_row, 0) - of_row)[:, None] + tl.cumsum(passing, 1) - 1
            fitting = passes & (goal < rows)
            tl.store(parent + goal, lane[:, None].to(tl.int64) + tl.zeros([BLOCK, WIDE], tl.int64), mask=fitting)
            tl.store(token + goal, follows, mask=fitting)
            tl.store(gained + goal, value, mask=fitting)
            want += tl.sum(of_row, 0)
        fit = (want <= rows) & (ended <= room) & (used <= slots) & (hold == 0)
        tl.store(fits, fit.to(tl.int32))
        tl.store(counters + WANT, want)
        if fit:
            tl.store(counters + COUNT, want)
            tl.store(counters + ENDED, ended)
            tl.store(counters + USED, used)
        else:
            tl.store(counters + HELD, tl.load(counters + HELD) + 1)

    @triton.jit
    def _copy(of, to, count, BLOCK: tl.constexpr):
        for first in range(0, count, BLOCK):
            at = first + tl.arange(0, BLOCK)
            tl.store(to + at, tl.load(of + at, mask=at < count), mask=at < count)

    @triton.jit
    def _move_kernel(
        query, token, depth, score, table, text,
        new_query, new_token, new_depth, new_score, new_table, new_text,
        done_query, done_token, done_depth, done_score, done_table, done_text,
        log_probs, parent, place, fits, counters, room, probs_row, width,
        END: tl.constexpr, WANT: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """Copies a row that ends to its place, and the parent of a lane's next row beside the rows."""
        if tl.load(fits) == 0:
            return
        lane = tl.program_id(0).to(tl.int64)
        goal = tl.load(place + lane)
        if goal < room:
            deep = tl.load(depth + lane)
            tl.store(done_query + goal, tl.load(query + lane))
            tl.store(done_depth + goal, deep)
            tl.store(done_score + goal, tl.load(score + lane) + tl.load(log_probs + lane * probs_row + END))
            _copy(text + lane * width, done_text + goal * width, deep, BLOCK)
        if lane < tl.load(counters + WANT):
            of = tl.load(parent + lane)
            deep = tl.load(depth + of)
            tl.store(new_query + lane, tl.load(query + of))
            tl.store(new_depth + lane, deep)
            tl.store(new_score + lane, tl.load(score + of))
            if of != lane:
                _copy(table + of * width, new_table + lane * width, deep, BLOCK)
                _copy(text + of * width, new_text + lane * width, deep, BLOCK)

    @triton.jit
    def _settle_kernel(
        query, token, depth, score, table, text,
        new_query, new_token, new_depth, new_score, new_table, new_text,
        parent, follows, gained, fits, counters, width, WANT: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """Makes what stands beside the rows, with its new token, the row of its lane."""
        lane = tl.program_id(0).to(tl.int64)
        if (tl.load(fits) == 0) | (lane >= tl.load(counters + WANT)):
            return
        last = tl.load(follows + lane)
        deep = tl.load(new_depth + lane)
        tl.store(query + lane, tl.load(new_query + lane))
        tl.store(token + lane, last)
        tl.store(depth + lane, deep + 1)
        tl.store(score + lane, tl.load(new_score + lane) + tl.load(gained + lane).to(tl.float64))
        if tl.load(parent + lane) != lane:
            _copy(new_table + lane * width, table + lane * width, deep, BLOCK)
            _copy(new_text + lane * width, text + lane * width, deep, BLOCK)
        tl.store(text + lane * width + deep, last.to(tl.int32))

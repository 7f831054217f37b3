"""One step of a frontier around the model's pass: what each row runs, and which successors take the rows' places.

Everything stays in tensors of fixed shape on the device, so that a step can be a CUDA graph. The
Triton kernels do in four launches what the plain versions do in some sixty.

Example: R = 4 lanes, three of them with a row; the prompts A at slots 1-5 and B at slots 6-8; V = C = 4, end token 3,
min_prob 0.1. What is not told of a lane means nothing.

    rows      query 0 0 1, token 1 2 2, depth 1 1 1, score log 0.6, log 0.3, log 0.9; counters 3 0 0 9 0 0
    prepare   slot 9 10 11 0, position 5 5 3 0, start 1 1 6 0, length 5 5 3 0, depth 1 1 1 0
    model     log-probabilities (4, 4): log of (.2 0 0 .8), (.05 .03 .02 .9), (.01 .01 .03 .95) and whatever
    advance   row 0 is followed by token 0 (0.12) and ends (0.48), row 1 ends (0.27), row 2 ends (0.855)
    rows      query 0, token 0, depth 2, score log 0.12, table 9, text 1 0; counters 1 1 3 12 0 0
    done      query 0 0 1, depth 1 1 1, score log 0.48, log 0.27, log 0.855, text 1, 2 and 2; F is at least 3

Shapes: R rows, Q queries, W tokens of the longest reply, V vocabulary, C successors looked at for
each row, F finished replies that wait for the host.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from arcfold.models.positions import CELL, MARKER, ONE_GRID, ONE_ROW, OPENING
from arcfold.search import kernels

try:
    import triton
    import triton.language as tl
except ImportError:  # as in `kernels`
    triton = None

COUNT, WANT, ENDED, USED, HELD, HOLD = range(6)
"""Places of `State.counters`: living rows, rows that the last step wanted, finished replies, used
slots, steps that did not fit, and whether steps must not change anything."""
SMALL_VOCABULARY = 64
"""Up to this vocabulary all successors are looked at; above it the most probable, as many as can pass. Sorting out
the most probable costs launches of its own, which pay only where the rest is many."""


class Rows(NamedTuple):
    """Rows on the device. A lane is a place for one; the living rows stand in the first lanes."""

    query: torch.Tensor
    """(R,) int64, number of the query."""
    token: torch.Tensor
    """(R,) int64, the last token, which is not in the cache yet."""
    depth: torch.Tensor
    """(R,) int64, tokens of the prefix; at least 1 in every lane, living or not."""
    position: torch.Tensor
    """(R,) int64, position of the last token in its text, by the model's rule."""
    score: torch.Tensor
    """(R,) fp64, log-probability of the prefix."""
    table: torch.Tensor
    """(R, W) int32, slots of the tokens; the last token's is there from `prepare` on."""
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
        texts = zeros(short, width), zeros(short, width)
        return Rows(zeros(long), zeros(long), depth, zeros(long), zeros(torch.float64), *texts)


class Queries(NamedTuple):
    """What the rows need to know of their queries."""

    start: torch.Tensor
    """(Q,) int64, first slot of the prompt."""
    length: torch.Tensor
    """(Q,) int64, tokens of the prompt."""
    longest: torch.Tensor
    """(Q,) int64, tokens of a reply at most, the end included."""
    margin: torch.Tensor
    """(Q,) fp32, how near a decision was to the threshold so far; -1 where log-probabilities were NaN."""


@dataclass(frozen=True)
class State:
    """All that a step reads and writes, keys and values aside."""

    rows: Rows
    """The living rows, then lanes without one."""
    done: Rows
    """(F + 1) finished replies without their end token, whose log-probability they have; the last takes the rest."""
    queries: Queries
    counters: torch.Tensor
    """(6,) int64: COUNT, WANT, ENDED, USED, HELD, HOLD"""
    kinds: torch.Tensor | None = None
    """(V,) int64, what each token is where positions are by grids; None: they are places."""


class StepInputs(NamedTuple):
    """What each row runs and sees in a step; zeros in lanes without a row."""

    slot: torch.Tensor
    """(R,) where its token's keys and values go."""
    position: torch.Tensor
    """(R,) position of its token, for the rotary embedding."""
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
    """The end token."""
    log_min: float
    """log min_prob"""


def prepare(state: State, rows: int, slots: int) -> StepInputs:
    """Gives each of the first `rows` rows a slot (of `slots` in all) and says what it sees; (R,) int64 each."""
    if kernels.has_triton(state.counters.device):
        return _prepare_triton(state, rows, slots)
    return prepare_plain(state, rows, slots)


def prepare_plain(state: State, rows: int, slots: int) -> StepInputs:
    """`prepare` in plain torch."""
    row, counters = state.rows.first(rows), state.counters
    lane = torch.arange(rows, device=counters.device)
    valid = lane < counters[COUNT]
    slot = counters[USED] + lane
    slot = torch.where(valid & (slot < slots), slot, 0)
    # Fixed shapes: lanes without a row do the same work, on slot 0 and on texts of length 0.
    row.table.scatter_(1, row.depth[:, None] - 1, slot[:, None].to(torch.int32))
    length = torch.where(valid, state.queries.length[row.query], 0)
    depth = torch.where(valid, row.depth, 0)
    start = torch.where(valid, state.queries.start[row.query], 0)
    return StepInputs(slot, torch.where(valid, row.position, 0), start, length, depth)


def advance(state: State, rows: int, slots: int, log_probs: torch.Tensor, what: Threshold) -> None:
    """Puts the successors that are probable enough in the place of the rows; log_probs (R, V) in fp32.

    If they do not all fit (into `rows`, the finished replies, the cache's `slots`), or if steps are
    on hold, nothing changes but the counters that say so. Margins are lowered in any case: the same decisions are
    only judged again.
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
    # Scores are sums in fp64; what is compared is rounded once, so that a step judges as a pass on the host does.
    gap = log_probs - (what.log_min - row.score).to(torch.float32)[:, None]  # (R, V)
    end_gap = gap[:, what.end]
    only_end = row.depth + 1 == state.queries.longest[row.query]
    nearest = torch.where(only_end, end_gap.abs(), gap.abs().amin(1))
    nearest = torch.where(end_gap.isnan(), -1.0, nearest)
    state.queries.margin.scatter_reduce_(0, row.query, torch.where(valid, nearest, math.inf), "amin")

    ends = valid & (end_gap >= 0)
    best, follower = _top_successors(gap, what)  # (R, C)
    passes = ((valid & ~only_end)[:, None] & (best >= 0) & (follower != what.end)).flatten()  # (R * C,)
    # Places by counting along rows and tokens: the next rows stand in the order of their parents, every time.
    order = passes.cumsum(0)
    room = len(done.query) - 1
    want, ended, used = order[-1], counters[ENDED] + ends.sum(), counters[USED] + counters[COUNT]
    fits = (want <= rows) & (ended <= room) & (used <= slots) & (counters[HOLD] == 0)

    # The row and the successor that come to stand in each lane; lanes stay as they are if it does not fit.
    # A tensor is indexed by something in any case: what has no place goes to one more place behind the last.
    goal = torch.where(passes & (order <= rows), order - 1, rows)
    source = goal.new_zeros(rows + 1).scatter_(0, goal, torch.arange(len(goal), device=goal.device))[:rows]
    parent = torch.where(fits, source // best.shape[1], lane)
    token = torch.where(fits, follower.flatten()[source], row.token)
    gained = torch.where(fits, log_probs[parent, token].double(), 0.0)

    # What does not end goes to the last place of `done`, F, which nobody reads.
    place = torch.where(fits & ends, counters[ENDED] + ends.cumsum(0) - 1, room)
    done.query.scatter_(0, place, row.query)
    done.depth.scatter_(0, place, row.depth)
    done.score.scatter_(0, place, row.score + log_probs[:, what.end].double())
    done.text.index_copy_(0, place, row.text)

    new = Rows(*(tensor[parent] for tensor in row))
    moves = fits & (lane < want)  # the depth of a lane without a row stays in bounds
    new.position.copy_(torch.where(moves, _next_position(state, new.position, new.token, token), new.position))
    new.token.copy_(token)
    new.depth.add_(moves)
    new.score.add_(gained)
    new.text.scatter_(1, new.depth[:, None] - 1, token[:, None].to(torch.int32))
    for old, tensor in zip(row, new, strict=True):
        old.copy_(tensor)
    after = [torch.where(fits, want, counters[COUNT]), want, torch.where(fits, ended, counters[ENDED])]
    after += [torch.where(fits, used, counters[USED]), counters[HELD] + ~fits, counters[HOLD]]
    counters.copy_(torch.stack(after))


def _next_position(state: State, position: torch.Tensor, last: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
    """`PositionRule.next` of each row; (R,) int64 each."""
    if state.kinds is None:
        return position + 1
    kind = state.kinds[token]
    of_marker = (position & -ONE_GRID) + (kind == OPENING) * ONE_GRID
    along = torch.where(state.kinds[last] == CELL, position + 1, (position & -ONE_ROW) + ONE_ROW)
    return torch.where(kind >= MARKER, of_marker, along)


def _top_successors(values: torch.Tensor, what: Threshold) -> tuple[torch.Tensor, torch.Tensor]:
    """(R, C) values and tokens of the successors that may pass, from (R, V)."""
    rows, vocabulary = values.shape
    if vocabulary <= SMALL_VOCABULARY:
        return values, torch.arange(vocabulary, device=values.device).expand(rows, vocabulary)
    # Successors are disjoint: at most 1 / min_prob of them can be that probable.
    best = values.topk(min(vocabulary, int(math.exp(-what.log_min)) + 1))
    return best.values, best.indices


def _prepare_triton(state: State, rows: int, slots: int) -> StepInputs:
    made = StepInputs(*torch.empty(5, rows, dtype=torch.int64, device=state.counters.device))
    _prepare_kernel[(triton.cdiv(rows, 128),)](
        state.rows, state.queries, state.counters, made, rows, slots, state.rows.table.stride(0), BLOCK=128
    )
    return made


class Successors(NamedTuple):
    """What is judged: the model's output, and the C successors of each row that may pass."""

    log_probs: torch.Tensor
    """(R, V) fp32, of all successors."""
    best: torch.Tensor
    """(R, C) fp32, of those that may pass; `log_probs` itself where all may."""
    follower: torch.Tensor
    """(R, C) int64, their tokens; not read where all may pass."""
    nearest: torch.Tensor
    """(R,) fp32, distance of the nearest of all successors to the threshold; not read where all may pass."""


class Moves(NamedTuple):
    """What comes of a step: written by `_judge_kernel`, carried out by `_move_kernel` and `_settle_kernel`."""

    parent: torch.Tensor
    """(R,) int64, for each lane of the next step the lane of the row whose successor comes to stand in it."""
    token: torch.Tensor
    """(R,) int64, that successor's token."""
    gained: torch.Tensor
    """(R,) fp32, the token's log-probability."""
    place: torch.Tensor
    """(R,) int64, for each row its place among the finished replies; F where it does not end."""
    fits: torch.Tensor
    """(1,) int32, 1 if all found room, else 0, and then nothing moves."""


def _advance_triton(state: State, rows: int, slots: int, log_probs: torch.Tensor, what: Threshold) -> None:
    row, done, queries = state.rows, state.done, state.queries
    vocabulary = log_probs.shape[1]
    device = log_probs.device
    best, follower = (log_probs, log_probs) if vocabulary <= SMALL_VOCABULARY else _top_successors(log_probs, what)
    successors = best.shape[1]
    wide = triton.next_power_of_2(successors)
    parent, token, place = torch.empty(3, rows, dtype=torch.int64, device=device)
    gained = torch.empty(rows, dtype=torch.float32, device=device)
    fits = torch.empty(1, dtype=torch.int32, device=device)
    moves = Moves(parent, token, gained, place, fits)
    nearest = _nearest(state, rows, log_probs, what) if vocabulary > SMALL_VOCABULARY else log_probs
    # Triton has atomic minima of integers: the margins are compared by their bits.
    by_bits = queries._replace(margin=queries.margin.view(torch.int32))
    # One program and no atomic counter: what it numbers is in the same order each time. It goes through the rows by
    # blocks of 2,048 numbers in all, which its 256 threads hold in registers.
    _judge_kernel[(1,)](
        Successors(log_probs, best, follower, nearest), row, by_bits, state.counters, moves,
        rows, slots, len(done.query) - 1, log_probs.stride(0), best.stride(0),
        LOG_MIN=what.log_min, END=what.end, SUCCESSORS=successors, WIDE=wide, ALL=vocabulary <= SMALL_VOCABULARY,
        BLOCK=max(1, 2048 // wide), num_warps=8,
    )  # fmt: skip
    # In two launches: a row may be the parent of lanes before and behind it, so no lane is written before all are read.
    moved = Rows(*(torch.empty_like(tensor) for tensor in row.first(rows)))
    width = row.text.shape[1]
    _move_kernel[(rows,)](
        row, moved, done, log_probs, moves, state.counters, len(done.query) - 1, log_probs.stride(0), width,
        END=what.end, BLOCK=256, num_warps=1,
    )  # fmt: skip
    kinds = state.counters if state.kinds is None else state.kinds
    _settle_kernel[(rows,)](
        row, moved, moves, state.counters, kinds, width, BY_GRIDS=state.kinds is not None, BLOCK=256, num_warps=1
    )


def _nearest(state: State, rows: int, log_probs: torch.Tensor, what: Threshold) -> torch.Tensor:
    """(R,) the distance of the nearest successor's log-probability to the threshold, over a large vocabulary."""
    gap = log_probs - (what.log_min - state.rows.score[:rows]).to(torch.float32)[:, None]
    return gap.abs_().amin(1)


if triton is not None:
    # Kernels see no other globals. The places of the counters, as above.
    _COUNT, _WANT, _ENDED, _USED, _HELD, _HOLD = (
        tl.constexpr(place) for place in (COUNT, WANT, ENDED, USED, HELD, HOLD)
    )
    _CELL, _MARKER, _OPENING, _ONE_ROW, _ONE_GRID = (
        tl.constexpr(number) for number in (CELL, MARKER, OPENING, ONE_ROW, ONE_GRID)
    )

    @triton.jit
    def _prepare_kernel(rows, queries, counters, inputs, lanes, slots, table_row, BLOCK: tl.constexpr):
        """`prepare`; a program for BLOCK lanes.

        rows: `Rows`, whose tables get the new slots
        queries: `Queries`
        counters: (6,) int64
        inputs: `StepInputs` to write, each (R,) int64
        lanes: R
        slots: M, slots of the cache
        table_row: numbers from one row's table to the next
        BLOCK: lanes of a program, a power of 2
        """
        lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        here = lane < lanes
        valid = here & (lane < tl.load(counters + _COUNT))
        # Slots in the order of the lanes. One that the cache does not have becomes slot 0, which nobody reads: the
        # step will not fit, and `_judge_kernel` sees to it that it changes nothing.
        slot = tl.load(counters + _USED) + lane
        slot = tl.where(valid & (slot < slots), slot, 0)
        own = tl.load(rows.query + lane, mask=valid, other=0)
        deep = tl.load(rows.depth + lane, mask=valid, other=0)
        start = tl.load(queries.start + own, mask=valid, other=0)
        length = tl.load(queries.length + own, mask=valid, other=0)
        position = tl.load(rows.position + lane, mask=valid, other=0)
        tl.store(rows.table + lane.to(tl.int64) * table_row + deep - 1, slot.to(tl.int32), mask=valid)
        tl.store(inputs.slot + lane, slot, mask=here)
        tl.store(inputs.position + lane, position, mask=here)
        tl.store(inputs.start + lane, start, mask=here)
        tl.store(inputs.length + lane, length, mask=here)
        tl.store(inputs.depth + lane, deep, mask=here)

    @triton.jit
    def _judge_kernel(
        successors, rows, queries, counters, moves,  # what is judged and by what, and what comes of it
        lanes, slots, room,  # how much fits
        probs_row, best_row,  # strides
        LOG_MIN: tl.constexpr, END: tl.constexpr,  # the threshold
        SUCCESSORS: tl.constexpr, WIDE: tl.constexpr, ALL: tl.constexpr, BLOCK: tl.constexpr,  # shapes
    ):  # fmt: skip
        """One program for all rows: numbers the successors that pass and the rows that end, in order.

        successors: `Successors`
        rows: `Rows`, of which it reads query, depth and score
        queries: `Queries`, the margins by their bits (Q,) int32; reads `longest`, lowers `margin`
        counters: (6,) int64, brought up to date
        moves: `Moves` to write
        lanes: R, which the successors that pass must not exceed
        slots: M, slots of the cache, which used ones must not exceed
        room: F, which finished replies must not exceed
        probs_row, best_row: numbers from one row of `log_probs`, of `best` and `follower`, to the next
        LOG_MIN: log min_prob
        END: the end token
        SUCCESSORS: C
        WIDE: the power of 2 that is at least C
        ALL: whether C = V and successor c is token c
        BLOCK: rows at a time, a power of 2
        """
        count = tl.load(counters + _COUNT)
        used = tl.load(counters + _USED) + count
        ended = tl.load(counters + _ENDED)
        hold = tl.load(counters + _HOLD)
        want = count * 0  # zero of the type that counts are added up in
        each = tl.arange(0, WIDE)
        for first in range(0, lanes, BLOCK):
            lane = first + tl.arange(0, BLOCK)
            here = lane < lanes
            valid = here & (lane < count)
            own = tl.load(rows.query + lane, mask=valid, other=0)
            deep = tl.load(rows.depth + lane, mask=valid, other=0)
            before = tl.load(rows.score + lane, mask=valid, other=0.0)
            limit = tl.load(queries.longest + own, mask=valid, other=0)
            # Subtracted in fp64 and rounded once, as the plain version does: both judge by the same number.
            needed = (tl.full([BLOCK], LOG_MIN, tl.float64) - before).to(tl.float32)
            end_gap = tl.load(successors.log_probs + lane * probs_row + END, mask=valid, other=-1.0e30) - needed
            only_end = deep + 1 == limit
            inside = valid[:, None] & (each < SUCCESSORS)[None, :]
            value = tl.load(successors.best + lane[:, None] * best_row + each[None, :], mask=inside, other=-1.0e30)
            gap = value - needed[:, None]
            if ALL:
                follows = tl.zeros([BLOCK, WIDE], tl.int64) + each[None, :]
                near = tl.min(tl.where(inside, tl.abs(gap), float("inf")), 1)
            else:
                follows = tl.load(successors.follower + lane[:, None] * best_row + each[None, :], mask=inside, other=0)
                near = tl.load(successors.nearest + lane, mask=valid, other=float("inf"))
            near = tl.where(only_end, tl.abs(end_gap), near)
            near = tl.where(end_gap != end_gap, -1.0, near)
            # Of numbers that are not negative the bits compare like the numbers, and those of -1 are below them all.
            tl.atomic_min(queries.margin + own, near.to(tl.int32, bitcast=True), mask=valid)

            ends = (valid & (end_gap >= 0)).to(tl.int64)
            tl.store(moves.place + lane, tl.where(ends > 0, ended + tl.cumsum(ends, 0) - 1, room), mask=here)
            ended += tl.sum(ends, 0)
            passes = inside & (gap >= 0) & (follows != END) & (only_end == 0)[:, None]
            passing = passes.to(tl.int64)
            of_row = tl.sum(passing, 1)
            # A successor's lane: behind those of earlier blocks, of earlier rows, and of this row.
            goal = (want + tl.cumsum(of_row, 0) - of_row)[:, None] + tl.cumsum(passing, 1) - 1
            fitting = passes & (goal < lanes)
            tl.store(moves.parent + goal, lane[:, None].to(tl.int64) + tl.zeros([BLOCK, WIDE], tl.int64), mask=fitting)
            tl.store(moves.token + goal, follows, mask=fitting)
            tl.store(moves.gained + goal, value, mask=fitting)
            want += tl.sum(of_row, 0)
        # All or nothing: a step that was done in part could not be done again.
        fit = (want <= lanes) & (ended <= room) & (used <= slots) & (hold == 0)
        tl.store(moves.fits, fit.to(tl.int32))
        tl.store(counters + _WANT, want)
        if fit:
            tl.store(counters + _COUNT, want)
            tl.store(counters + _ENDED, ended)
            tl.store(counters + _USED, used)
        else:
            tl.store(counters + _HELD, tl.load(counters + _HELD) + 1)

    @triton.jit
    def _copy(of, to, count, BLOCK: tl.constexpr):
        """Copies `count` numbers from the pointer `of` to the pointer `to`, BLOCK at a time."""
        for first in range(0, count, BLOCK):
            at = first + tl.arange(0, BLOCK)
            tl.store(to + at, tl.load(of + at, mask=at < count), mask=at < count)

    @triton.jit
    def _move_kernel(
        rows, moved, done,  # where rows stand, and where they go
        log_probs, moves, counters,  # what was judged
        room, probs_row, width, END: tl.constexpr, BLOCK: tl.constexpr,  # shapes
    ):  # fmt: skip
        """A program for each lane: copies a row that ends to its place, and the parent of the lane's next row aside.

        rows: `Rows` of this step
        moved: `Rows` (R,) to write: the parent of each lane's next row; tables and texts only where it is another's
        done: `Rows` (F + 1) to write: the finished replies
        log_probs: (R, V) fp32
        moves: `Moves`
        counters: (6,) int64, those after the step
        room: F
        probs_row: numbers from one row of `log_probs` to the next
        width: W, numbers from one table or text to the next
        END: the end token
        BLOCK: numbers of a text that are copied at a time, a power of 2
        """
        if tl.load(moves.fits) == 0:
            return
        lane = tl.program_id(0).to(tl.int64)
        goal = tl.load(moves.place + lane)
        if goal < room:
            deep = tl.load(rows.depth + lane)
            tl.store(done.query + goal, tl.load(rows.query + lane))
            tl.store(done.depth + goal, deep)
            tl.store(done.score + goal, tl.load(rows.score + lane) + tl.load(log_probs + lane * probs_row + END))
            _copy(rows.text + lane * width, done.text + goal * width, deep, BLOCK)
        if lane < tl.load(counters + _WANT):
            of = tl.load(moves.parent + lane)
            deep = tl.load(rows.depth + of)
            tl.store(moved.query + lane, tl.load(rows.query + of))
            tl.store(moved.token + lane, tl.load(rows.token + of))
            tl.store(moved.depth + lane, deep)
            tl.store(moved.position + lane, tl.load(rows.position + of))
            tl.store(moved.score + lane, tl.load(rows.score + of))
            # A row that is followed in its own lane keeps its table and text where they are.
            if of != lane:
                _copy(rows.table + of * width, moved.table + lane * width, deep, BLOCK)
                _copy(rows.text + of * width, moved.text + lane * width, deep, BLOCK)

    @triton.jit
    def _settle_kernel(
        rows, moved, moves, counters, kinds, width, BY_GRIDS: tl.constexpr, BLOCK: tl.constexpr
    ):  # fmt: skip
        """A program for each lane: makes what stands aside, with its new token, the row of the lane.

        rows: `Rows` to write
        moved: `Rows` (R,), as `_move_kernel` leaves them
        moves: `Moves`
        counters: (6,) int64, those after the step
        kinds: (V,) int64, what each token is; not read without BY_GRIDS
        width: W, numbers from one table or text to the next
        BY_GRIDS: whether positions are by grids
        BLOCK: numbers of a text that are copied at a time, a power of 2
        """
        lane = tl.program_id(0).to(tl.int64)
        if (tl.load(moves.fits) == 0) | (lane >= tl.load(counters + _WANT)):
            return
        last = tl.load(moves.token + lane)
        deep = tl.load(moved.depth + lane)
        tl.store(rows.query + lane, tl.load(moved.query + lane))
        tl.store(rows.token + lane, last)
        tl.store(rows.depth + lane, deep + 1)
        # `PositionRule.next`
        position = tl.load(moved.position + lane)
        if BY_GRIDS:
            kind = tl.load(kinds + last)
            before = tl.load(kinds + tl.load(moved.token + lane))
            of_marker = (position & -_ONE_GRID) + tl.where(kind == _OPENING, _ONE_GRID, 0)
            along = tl.where(before == _CELL, position + 1, (position & -_ONE_ROW) + _ONE_ROW)
            position = tl.where(kind >= _MARKER, of_marker, along)
        else:
            position += 1
        tl.store(rows.position + lane, position)
        tl.store(rows.score + lane, tl.load(moved.score + lane) + tl.load(moves.gained + lane).to(tl.float64))
        if tl.load(moves.parent + lane) != lane:
            _copy(moved.table + lane * width, rows.table + lane * width, deep, BLOCK)
            _copy(moved.text + lane * width, rows.text + lane * width, deep, BLOCK)
        tl.store(rows.text + lane * width + deep, last.to(tl.int32))

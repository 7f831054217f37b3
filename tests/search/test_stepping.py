import math
from typing import Any

import pytest
import torch
from environments import DEVICE

from arcfold.models.positions import CELL, MARKER, ONE_GRID, ONE_ROW, OPENING, PLACES, ROW_END, PositionRule
from arcfold.search import kernels
from arcfold.search.stepping import (
    COUNT,
    ENDED,
    HELD,
    USED,
    WANT,
    Queries,
    Rows,
    State,
    Threshold,
    advance,
    advance_plain,
    prepare,
    prepare_plain,
)  # fmt: skip

END = 2
THRESHOLD = Threshold(END, math.log(0.05))


RULES = {
    "places": PLACES,
    "grids": PositionRule([CELL, CELL, MARKER, ROW_END, OPENING, *[CELL, ROW_END, OPENING] * 65]),
}


def _state(
    living: int, lanes: int = 16, used: int = 30, hold: bool = False, rule: PositionRule = PLACES, vocabulary: int = 5
) -> State:
    """Two queries with prompts of 5 and 7 tokens, and `living` prefixes of different depths."""
    generator = torch.Generator().manual_seed(3)
    rows = Rows.new(lanes, 6, DEVICE)
    for lane in range(living):
        rows.query[lane] = lane % 2
        rows.depth[lane] = 1 + lane % 5
        rows.token[lane] = lane % 4
        rows.position[lane] = 7 * ONE_GRID + (lane % 3) * ONE_ROW + lane % 4
        rows.score[lane] = math.log(0.05) + 1.8 + float(torch.rand(1, generator=generator))
        rows.table[lane] = torch.randint(1, 30, (6,), generator=generator)
        rows.text[lane] = torch.randint(0, 5, (6,), generator=generator)
        rows.text[lane, lane % 5] = lane % 4  # the last token
    queries = Queries(
        torch.tensor([1, 9], device=DEVICE),
        torch.tensor([5, 7], device=DEVICE),
        torch.tensor([6, 5], device=DEVICE),
        torch.full((2,), math.inf, device=DEVICE),
    )
    counters = torch.tensor([living, 0, 0, used, 0, int(hold)], device=DEVICE)
    kinds = None if rule.kinds is None else torch.from_numpy(rule.kinds[:vocabulary]).to(DEVICE, torch.int64)
    return State(rows, Rows.new(lanes + 1, 6, DEVICE), queries, counters, kinds)


def _log_probs(rows: int, vocabulary: int = 5) -> torch.Tensor:
    logits = torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(rows))
    return logits.log_softmax(-1).to(DEVICE)


def _living(rows: Rows, count: int) -> list[tuple[int, int, float, list[int], list[int]]]:
    found = []
    for lane in range(count):
        depth = int(rows.depth[lane])
        text, table = rows.text[lane, :depth].tolist(), rows.table[lane, : depth - 1].tolist()
        found.append((int(rows.query[lane]), int(rows.token[lane]), float(rows.score[lane]), table, text))
    return found


@pytest.mark.parametrize("name", RULES)
def test_a_step_does_what_the_definition_says(name: str) -> None:
    rule = RULES[name]
    state, log_probs = _state(6, rule=rule), _log_probs(16)
    before = _living(state.rows, 6)
    positions = state.rows.position.tolist()
    advance(state, 16, 100, log_probs, THRESHOLD)
    living, ended, following = [], [], []
    for (query, last, score, table, text), position, values in zip(
        before, positions, log_probs.double().tolist(), strict=False
    ):
        for token, value in enumerate(values):
            if score + value >= math.log(0.05) and token == END:
                ended.append((query, score + value, text))
            elif score + value >= math.log(0.05) and len(text) + 1 < (6, 5)[query]:
                living.append((query, token, score + value, table, [*text, token]))
                following.append(rule.next(position, last, token))
    assert len(ended) > 1
    assert len(living) > 6
    count = int(state.counters[COUNT])
    found = [(query, token, score, table[:-1], text) for query, token, score, table, text in _living(state.rows, count)]
    assert [one[:2] + one[3:] for one in found] == [one[:2] + one[3:] for one in living]
    assert [one[2] for one in found] == pytest.approx([one[2] for one in living])
    assert state.rows.position[:count].tolist() == following
    for place, (query, score, text) in enumerate(ended):
        assert int(state.done.query[place]) == query
        assert float(state.done.score[place]) == pytest.approx(score)
        assert state.done.text[place, : int(state.done.depth[place])].tolist() == text
    assert state.counters.tolist() == [count, count, len(ended), 36, 0, 0]


@pytest.mark.parametrize("why", ["rows", "slots", "hold"])
def test_a_step_that_does_not_fit_changes_nothing(why: str) -> None:
    state, log_probs = _state(6, used=95 if why == "slots" else 30, hold=why == "hold"), _log_probs(16)
    rows = 6 if why == "rows" else 16
    before = [tensor.clone() for tensor in (*state.rows, *state.done.first(16))]
    advance(state, rows, 100, log_probs[:rows], THRESHOLD)
    for old, new in zip(before, (*state.rows, *state.done.first(16)), strict=True):
        assert torch.equal(old, new)
    assert state.counters[[COUNT, ENDED, HELD]].tolist() == [6, 0, 1]
    assert state.counters[USED] == (95 if why == "slots" else 30)
    assert state.counters[WANT] > 6


WAYS = [
    advance_plain,
    pytest.param(
        advance,
        marks=pytest.mark.skipif(not kernels.has_triton(DEVICE), reason="needs Triton and a GPU or its interpreter"),
    ),
]


@pytest.mark.parametrize("vocabulary", [5, 200])
@pytest.mark.parametrize("way", WAYS)
def test_the_margin_of_a_query_with_numbers_that_are_none_is_negative(way: Any, vocabulary: int) -> None:
    """A lane without a row means nothing, whatever stands there."""
    state = _state(6, lanes=16, used=40)
    log_probs = _log_probs(16, vocabulary)
    log_probs[[3, 9]] = torch.nan  # a row of query 1, and a lane that would be one of query 0
    way(state, 16, 5000, log_probs, THRESHOLD)
    assert (state.queries.margin < 0).tolist() == [False, True]


@pytest.mark.skipif(not kernels.has_triton(DEVICE), reason="needs Triton and a GPU or its interpreter")
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("vocabulary", [5, 200])
@pytest.mark.parametrize(("living", "rows"), [(0, 4), (1, 1), (6, 16), (16, 16), (300, 512)])
def test_kernels_same_as_plain_torch(living: int, rows: int, vocabulary: int, name: str) -> None:
    lanes = max(rows, 16)
    states = [_state(living, lanes, 40, rule=RULES[name], vocabulary=vocabulary) for _ in range(2)]
    prepared = prepare(states[0], rows, 5000), prepare_plain(states[1], rows, 5000)
    for fast, plain in zip(*prepared, strict=True):
        assert torch.equal(fast, plain)
    log_probs = _log_probs(rows, vocabulary)
    advance(states[0], rows, 5000, log_probs, THRESHOLD)
    advance_plain(states[1], rows, 5000, log_probs, THRESHOLD)
    assert torch.equal(states[0].counters, states[1].counters)
    torch.testing.assert_close(states[0].queries.margin, states[1].queries.margin)
    count, ended = int(states[0].counters[COUNT]), int(states[0].counters[ENDED])
    assert _living(states[0].rows, count) == _living(states[1].rows, count)
    assert torch.equal(states[0].rows.position[:count], states[1].rows.position[:count])
    fast, plain = (state.done.first(ended) for state in states)
    for name in ("query", "depth", "score"):
        assert torch.equal(getattr(fast, name), getattr(plain, name))
    for row in range(ended):
        assert torch.equal(fast.text[row, : fast.depth[row]], plain.text[row, : plain.depth[row]])

"""Positions by grids against their definition, one token after the other, and the rule that a config.json names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_tasks import task
from reference_positions import axes_of
from tiny_models import ANSWER, END, NEWLINE, QUESTION, by_grids

from arcfold.arc.text import FORMATS, Codec
from arcfold.jobs.files import InputError
from arcfold.models.positions import (
    MODEL_TYPE,
    ONE_GRID,
    ONE_ROW,
    PLACES,
    axis_shifts,
    axis_values,
    from_axes,
    rule_of,
    sections,
)

CONFIG = {"model_type": MODEL_TYPE, "vocab_size": 16, "head_dim": 16, **by_grids(16)}
KINDS = CONFIG["grid_tokens"]
GRIDS = rule_of(CONFIG)
TOKENS = st.lists(st.sampled_from([*range(3), NEWLINE, NEWLINE, QUESTION, ANSWER, END, 14]), max_size=40)


def packed(axes: list[tuple[int, int, int]]) -> list[int]:
    return [grid * ONE_GRID + row * ONE_ROW + column for grid, row, column in axes]


def test_a_pair_has_the_positions_that_its_page_says() -> None:
    I, O, N, E = QUESTION, ANSWER, NEWLINE, END  # noqa: E741
    text = [I, 1, 2, N, 3, 4, N, O, 5, N, E, I, 6, N]
    grid = [1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]
    row = [0, 1, 1, 1, 2, 2, 2, 0, 1, 1, 0, 0, 1, 1]
    column = [0, 0, 1, 2, 0, 1, 2, 0, 0, 1, 0, 0, 0, 1]
    assert axes_of(text, KINDS) == list(zip(grid, row, column, strict=True))
    assert GRIDS.of_text(text).tolist() == packed(axes_of(text, KINDS))


@given(TOKENS)
def test_a_text_at_once_is_a_text_token_by_token(text: list[int]) -> None:
    assert GRIDS.of_text(text).tolist() == packed(axes_of(text, KINDS))


@pytest.mark.parametrize("rule", [GRIDS, PLACES])
@given(TOKENS, st.integers(0, 40))
def test_a_position_follows_from_the_one_before_it(rule: Any, text: list[int], cut: int) -> None:
    whole = rule.of_text(text).tolist()
    position = None
    for number, token in enumerate(text):
        position = rule.first(token) if position is None else rule.next(position, text[number - 1], token)
        assert position == whole[number]
    if cut < len(text):
        assert rule.following(text[cut:], whole[cut]).tolist() == whole[cut:]


@pytest.mark.parametrize("rule", [GRIDS, PLACES])
@given(st.lists(TOKENS, min_size=1, max_size=5))
def test_texts_side_by_side_begin_anew(rule: Any, texts: list[list[int]]) -> None:
    begins = np.cumsum([0, *map(len, texts[:-1])])
    tokens = np.array([token for text in texts for token in text], dtype=np.int64)
    expected = [position for text in texts for position in rule.of_text(text).tolist()]
    positions = rule.of_texts(tokens, begins)
    assert positions.tolist() == expected
    numbers, distinct = rule.numbered(positions)
    assert numbers.dtype == np.int32
    assert distinct[numbers].tolist() == expected


def test_places_are_numbered_as_they_are() -> None:
    numbers, distinct = PLACES.numbered(np.array([0, 1, 2, 0, 1]))
    assert numbers.tolist() == [0, 1, 2, 0, 1]
    assert distinct.tolist() == [0, 1, 2]


def test_frequencies_are_turned_by_the_axes_in_turn() -> None:
    axes = torch.tensor([[5], [6], [7]])
    values = axis_values(from_axes(axes), axis_shifts(16, torch.device("cpu")))[0].tolist()
    assert values == [5, 6, 7, 5, 6, 7, 5, 6] * 2
    assert sections(16) == [3, 3, 2]
    assert sections(64) == [11, 11, 10]


def test_other_models_have_places() -> None:
    assert not rule_of({"model_type": "qwen3"}).by_grids
    assert PLACES.of_text([3, 3, 3]).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"grid_tokens": None}, "expected lists of token ids under cells, row_end, opening"),
        ({"grid_tokens": {"cells": [0]}}, "expected lists of token ids under cells, row_end, opening"),
        (
            {"grid_tokens": {"cells": [0], "row_end": [16], "opening": [1]}},
            "row_end: expected a list of token ids below 16",
        ),
        ({"grid_tokens": {"cells": [0], "row_end": 3, "opening": [1]}}, "row_end: expected a list"),
        ({"grid_tokens": {"cells": [True], "row_end": [3], "opening": [1]}}, "cells: expected a list"),
        ({"head_dim": None}, "head_dim is None, expected an even number of 6 or more"),
        ({"head_dim": 17}, "head_dim is 17"),
        ({"rope_parameters": {"rope_type": "default"}}, "rope_parameters/mrope_section"),
        ({"rope_parameters": CONFIG["rope_parameters"] | {"mrope_section": [2, 3, 3]}}, r"expected \[3, 3, 2\]"),
        ({"rope_parameters": CONFIG["rope_parameters"] | {"mrope_interleaved": False}}, "mrope_interleaved"),
    ],
)
def test_a_config_that_makes_no_rule_is_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        rule_of(CONFIG | change)


@pytest.mark.parametrize("name", ["embedded", "architects"])
def test_a_format_that_has_positions_counts_rows_from_one_and_grids_in_order(name: str) -> None:
    """Whatever the format puts around a grid, its cells are where they are in the grid."""
    text_format = FORMATS[name]
    codec = Codec(text_format, {token: number for number, token in enumerate(text_format.tokens)})
    kinds = codec.grid_tokens()
    assert kinds is not None
    rule = rule_of(CONFIG | {"vocab_size": len(text_format.tokens), "grid_tokens": kinds})
    asked = task("a", [("12 30", "4 5 6"), ("123", "6")], [("89 89", "1")])
    tokens = codec.prompt(asked, 0, 10**4)
    found = [
        (position >> 24, position >> 12 & 4095, position & 4095)
        for position, token in zip(rule.of_text(tokens).tolist(), tokens, strict=True)
        if token in kinds["cells"]
    ]
    grids = [grid for pair in asked.train for grid in (pair.input, pair.output)] + [asked.test[0].input]
    assert found == [
        (1 + number, 1 + row, column)
        for number, grid in enumerate(grids)
        for row, cells in enumerate(grid)
        for column, _ in enumerate(cells)
    ]


def test_a_format_whose_newline_is_a_marker_too_has_none() -> None:
    text_format = FORMATS["nvarc"]
    assert Codec(text_format, {token: number for number, token in enumerate(text_format.tokens)}).grid_tokens() is None

"""Families made of other families: followed by a rule on whole grids, framed, seen backwards."""

from __future__ import annotations

import numpy as np

from arcfold.pretraining.families import (
    colouring,
    counting,
    denoising,
    extracting,
    filling,
    lines,
    moving,
    one_row,
    ordering,
    panels,
    patterns,
    selecting,
    stamping,
    whole,
)
from arcfold.pretraining.families.canvas import LONGEST, Draws, RejectError
from arcfold.pretraining.families.registry import FAMILIES, Family, Made, MakePair, register
from arcfold.pretraining.families.whole import LOCAL, RULES, applied

MODULES = (
    colouring, extracting, counting, denoising, filling, lines, moving, one_row, ordering, panels, patterns, selecting,
    stamping, whole,
)  # fmt: skip
"""The modules that register families of their own when they are imported."""

BACKWARDS = (
    "whole_scale", "whole_stretch", "whole_tile", "whole_kaleidoscope", "whole_pinwheel", "whole_border",
    "whole_spread", "whole_repeat_edge", "whole_beside", "whole_fractal", "whole_tile_flipped", "whole_shear",
    "whole_boustrophedon", "dots_grow", "frame_objects", "halo_rings", "decorate_corners", "rings_around_point",
    "rectangle_from_corners", "lines_through_edge_dots", "fill_between_twins", "rays_all_ways", "cells_to_pictures",
    "alternate_along_line", "pyramid_of_colours", "fill_grid_with_row", "copy_beside", "dotted_lines", "stairs",
    "interleave_rows", "select_of_colour_halo", "panels_turning_sequence", "count_objects_as_row", "row_grow",
    "rows_fill_between",
)  # fmt: skip
"""Families whose outputs tell their inputs (or nearly), so that they make sense the other way round."""

SINGLE = tuple(
    name for module in MODULES for name, function in FAMILIES.items() if function.__module__ == module.__name__
)
"""Those that this module builds on, whatever else was imported before it."""


def _backwards(name: str) -> Family:
    def made(draws: Draws) -> MakePair:
        make_pair = FAMILIES[name](draws)

        def make() -> Made:
            first, last = make_pair()
            return Made(last, first)

        return make

    return made


def _followed(draws: Draws) -> MakePair:
    """Any family, and a rule on whole grids applied to its output."""
    make_pair, rule = FAMILIES[draws.pick(SINGLE)](draws), RULES[draws.pick(LOCAL)](draws)

    def make() -> Made:
        first, last = make_pair()
        answer = applied(rule, last)
        if answer.shape == last.shape and (answer == last).all():
            raise RejectError
        return Made(first, answer)

    return make


def _preceded(draws: Draws) -> MakePair:
    """Any family whose input is seen turned, framed, with noise beside it, or scaled."""
    make_pair = FAMILIES[draws.pick(SINGLE)](draws)
    kind, number, colour = draws.randrange(3), draws.randint(1, 3), draws.colour()

    def make() -> Made:
        first, last = make_pair()
        if kind == 0:
            first = np.rot90(first, number)
        elif kind == 1:
            first = np.pad(first, 1, constant_values=colour)
        else:
            if max(first.shape) * 2 > LONGEST:
                raise RejectError
            first = np.kron(first, np.ones((2, 2), np.uint8))
        return Made(first, last)

    return make


def _two_side_by_side(draws: Draws) -> MakePair:
    """Two families' rules at once, each on its side of a line."""
    makers, line = [FAMILIES[draws.pick(SINGLE)](draws) for _ in range(2)], draws.colour()

    def make() -> Made:
        pairs = [one() for one in makers]
        parts = []
        for side in (0, 1):
            grids = [pair[side] for pair in pairs]
            rows = max(grid.shape[0] for grid in grids)
            padded = [np.pad(grid, ((0, rows - grid.shape[0]), (0, 0))) for grid in grids]
            parts.append(np.concatenate([padded[0], np.full((rows, 1), line, np.uint8), padded[1]], axis=1))
        return Made(*parts)

    return make


for _name in BACKWARDS:
    register(f"backwards_{_name}", _backwards(_name))
register("followed", _followed, weight=40)
register("preceded", _preceded, weight=15)
register("two_side_by_side", _two_side_by_side, weight=10)

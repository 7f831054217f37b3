"""Which cards a build of torch has code for."""

from __future__ import annotations

import pytest

from arcfold.jobs.compute import unsupported

BUILDS = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
"""Of torch 2.13 for CUDA 13."""


@pytest.mark.parametrize(
    "capability",
    [
        (7, 5),  # T4
        (8, 0),  # A100
        (8, 9),  # L4: code of 8.6 runs on it
        (9, 0),  # H100
        (10, 3),  # B300: code of 10.0
        (12, 1),
        (13, 0),  # not made yet: compiled from compute_120 when it is loaded
    ],
)
def test_a_card_with_code_of_its_series_or_newer_ones_than_the_build_are_taken(capability: tuple[int, int]) -> None:
    assert unsupported(capability, BUILDS) is None


@pytest.mark.parametrize("capability", [(6, 0), (7, 0), (11, 0)])
def test_a_card_without_code_is_a_line_with_its_capability(capability: tuple[int, int]) -> None:
    line = unsupported(capability, BUILDS)
    assert line is not None
    assert f"compute capability {capability[0]}.{capability[1]}, and this torch is built for 7.5 to 12.0" in line
    assert "expected another card" in line


def test_what_is_built_for_one_card_alone_runs_on_no_other() -> None:
    assert unsupported((9, 0), ["sm_80", "sm_90a"]) is None
    assert unsupported((9, 1), ["sm_80", "sm_90a"]) is not None
    assert unsupported((10, 3), ["sm_80", "sm_100f"]) is None  # a family's code runs on its later members


def test_builds_for_other_makers_cards_are_none_of_its_business() -> None:
    assert unsupported((9, 4), ["gfx942", "gfx1100"]) is None
    assert unsupported((9, 0), []) is None

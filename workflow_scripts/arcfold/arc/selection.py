"""Selection: which two of a test input's candidates become its attempts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from arcfold.arc.tasks import Grid

ATTEMPTS = 2


@dataclass(frozen=True)
class Candidate:
    """A grid that the search found, in the original view.

    found: log-probability in each inference view that found it
    scored: log-probability in each scoring view; the same views for all candidates of a test input, none where there
        was no time for rescoring
    """

    grid: Grid
    found: tuple[float, ...]
    scored: tuple[float, ...]


def product_of_experts(candidate: Candidate) -> float:
    """Mean log-probability over the scoring views (PoE paper, arXiv 2505.07859: the geometric mean).

    Where there are none, what `sum_2024` makes of the views that found the candidates.
    """
    if not candidate.scored:
        return sum_2024(candidate)
    return sum(candidate.scored) / len(candidate.scored)


def sum_2024(candidate: Candidate) -> float:
    """Sum of log p + 3 over the views that found the candidate and those that scored it (ARChitects 2024).

    A view that gives it a probability above e^-3 speaks for the candidate, one below against it.
    """
    return sum(log_prob + 3.0 for log_prob in (*candidate.found, *candidate.scored))


def count_and_mean(candidate: Candidate) -> float:
    """Number of views that found the candidate + mean log-probability over the scoring views (NVARC 2025)."""
    return len(candidate.found) + product_of_experts(candidate)


METHODS: dict[str, Callable[[Candidate], float]] = {
    "product_of_experts": product_of_experts,
    "sum_2024": sum_2024,
    "count_and_mean": count_and_mean,
}


def ranked(candidates: Sequence[Candidate], method: str) -> list[Candidate]:
    """Best first; ties go to the candidate found in more views, then to the smaller grid in Python's order."""
    value = METHODS[method]
    return sorted(candidates, key=lambda candidate: (-value(candidate), -len(candidate.found), candidate.grid))


def two_attempts(best_first: Sequence[Candidate], test_input: Grid) -> tuple[Grid, Grid]:
    """The attempts for a test input, always two and always different.

    What the candidates leave open is filled with the test input unchanged, then with a grid of its
    size in colour 0 (colour 1 if it is that grid itself): a submission needs a grid there.
    """
    blank: list[Grid] = [tuple((colour,) * len(row) for row in test_input) for colour in (0, 1)]
    attempts: list[Grid] = []
    for grid in [*(candidate.grid for candidate in best_first), test_input, *blank]:
        if grid not in attempts:
            attempts.append(grid)
    return attempts[0], attempts[1]

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from arcfold.models.positions import PLACES
from arcfold.search.prefixes import Chunk, Prefix, RunningQuery, guessed, log_probs_before, padded
from arcfold.search.replies import Query

END = 9


def _run(
    prompt: Sequence[int], longest: int = 50, drafts: Sequence[tuple[float, tuple[int, ...]]] = ()
) -> RunningQuery:
    cache: Any = None
    return RunningQuery(0, Query(tuple(prompt), longest), cache, [], 0, list(drafts), PLACES)


def test_lookup_goes_on_as_the_text_last_did() -> None:
    run = _run([5, 1, 2, 3, 7, 7, 7, 1, 2, 3, 8, 6, 4, 1])
    assert run.lookup((2, 3), END) == (8, 6, 4, 1)
    assert run.lookup((2, 4), END) == ()


def test_lookup_takes_the_longest_ending() -> None:
    run = _run([6, 5, 4, 3, 2, 1, 0, 0, 8, 3, 2, 1, 7, 7])
    assert run.lookup((6, 5, 4, 3, 2, 1), END) == (0, 0, 8, 3)


def test_lookup_knows_the_reply_so_far_and_stops_at_its_end() -> None:
    run = _run([0])
    assert run.lookup((1, 2, 3, 4, 1, 2, 3), END) == (4, 1, 2, 3)
    assert run.lookup((1, 2, 3, END, 1, 2, 3), END) == ()
    assert _run([0], longest=9).lookup((1, 2, 3, 4, 1, 2, 3), END) == (4,)


def test_a_draft_that_begins_otherwise_is_no_guess() -> None:
    run = _run([0], longest=5, drafts=[(0.1, (1, 2, 3, 4, 5, 6)), (0.2, (1, 3))])
    assert run.drafted(()) == (1, 2, 3, 4)
    assert run.drafted((1, 2)) == (3, 4)
    assert run.drafted((1,)) == (2, 3, 4)
    assert run.drafted((1, 3)) == ()
    assert run.drafted((2,)) == ()


def test_log_probs_add_up_along_each_guess() -> None:
    run = _run([0])
    nothing = np.zeros(0, dtype=bool)
    guessing, pending = Prefix((), -1.0, (0,), nothing, 0, (1, 0)), Prefix((2,), -0.5, (2,), nothing, 1)
    chunks = [Chunk(run, guessing, 0, np.arange(3)), Chunk(run, pending, 3, np.arange(1, 2))]
    log_probs = np.array([[-9, -0.25], [-2, -9], [-9, -9], [-9, -9]], dtype=np.float32)
    guesses = guessed(chunks)
    assert guesses.tolist() == [1, 0, -1, -1]
    assert log_probs_before(chunks, guesses, log_probs).tolist() == pytest.approx([-1, -1.25, -3.25, -0.5])


def test_padding_sees_nothing_new() -> None:
    assert padded(np.array([True, False]), 4).tolist() == [True, False, False, False]

from arcfold.replies import Query
from arcfold.waiting import Waiting


def _queries(*lengths: int) -> list[Query]:
    return [Query((0,) * length, 5) for length in lengths]


def _all(waiting: Waiting) -> list[int]:
    taken = []
    while waiting:
        taken.append(waiting.take())
    return taken


def test_the_longest_prompt_starts_first() -> None:
    assert _all(Waiting(_queries(3, 7, 5, 7), None)) == [1, 3, 2, 0]


def test_of_a_group_one_starts_and_the_others_follow() -> None:
    waiting = Waiting(_queries(3, 7, 5, 4), ["a", "b", "a", "b"])
    assert _all(waiting) == [1, 2]
    waiting.release(2)
    assert _all(waiting) == [0]
    waiting.release(2)
    assert not waiting
    waiting.release(1)
    assert _all(waiting) == [3]


def test_what_is_put_back_waits_in_its_place() -> None:
    waiting = Waiting(_queries(3, 7, 5), None)
    assert waiting.take() == 1
    waiting.put_back(1)
    assert waiting.first() == 1
    assert _all(waiting) == [1, 2, 0]

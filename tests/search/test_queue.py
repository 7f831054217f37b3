from arcfold.search.queue import QueryQueue
from arcfold.search.replies import Query


def _queries(*lengths: int) -> list[Query]:
    return [Query((0,) * length, 5) for length in lengths]


def _all(queue: QueryQueue) -> list[int]:
    taken = []
    while queue:
        taken.append(queue.pop())
    return taken


def test_the_longest_prompt_starts_first() -> None:
    assert _all(QueryQueue(_queries(3, 7, 5, 7), None)) == [1, 3, 2, 0]


def test_of_a_group_one_starts_and_the_others_follow() -> None:
    queue = QueryQueue(_queries(3, 7, 5, 4), ["a", "b", "a", "b"])
    assert _all(queue) == [1, 2]
    queue.release(2)
    assert _all(queue) == [0]
    queue.release(2)
    assert not queue
    queue.release(1)
    assert _all(queue) == [3]


def test_what_is_put_back_waits_in_its_place() -> None:
    queue = QueryQueue(_queries(3, 7, 5), None)
    assert queue.pop() == 1
    queue.put_back(1)
    assert queue.peek() == 1
    assert _all(queue) == [1, 2, 0]

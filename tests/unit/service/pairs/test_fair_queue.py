"""The order in which waiting items are taken, without any thread."""

import weakref

from service.pairs.fair_queue import FairQueue, QueuedRequest


class Picture:
    """Something to search with whose end can be watched."""


def queue_of(*requests: QueuedRequest) -> FairQueue[QueuedRequest]:
    queue: FairQueue[QueuedRequest] = FairQueue()
    for request in requests:
        queue.put(request)
    return queue


def items_taken(queue: FairQueue[QueuedRequest], most: int) -> list[object]:
    return [one.request.items[one.place] for one in queue.take(most)]


def test_requests_take_turns_however_many_items_they_have() -> None:
    large = QueuedRequest("encode", ["a", "b", "c", "d"])
    small = [QueuedRequest("encode", [number]) for number in range(2)]
    queue = queue_of(large, *small)
    assert items_taken(queue, 3) == ["a", 0, 1]
    assert items_taken(queue, 8) == ["b", "c", "d"]
    assert queue.waiting_items == 0


def test_one_that_comes_later_does_not_wait_for_the_rest_of_a_large_one() -> None:
    queue = queue_of(QueuedRequest("encode", list(range(100, 132))))
    assert items_taken(queue, 8) == list(range(100, 108))
    queue.put(QueuedRequest("encode", [1]))
    assert 1 in items_taken(queue, 2)


def test_items_of_other_works_wait_and_keep_their_place() -> None:
    queue = queue_of(*(QueuedRequest(work, [work + n]) for n in "12" for work in "ab"))
    assert items_taken(queue, 8) == ["a1", "a2"]
    assert items_taken(queue, 8) == ["b1", "b2"]


def test_what_is_given_up_is_not_taken_and_not_kept_in_memory() -> None:
    pictures = [Picture(), Picture()]
    watched = [weakref.ref(picture) for picture in pictures]
    gone = QueuedRequest("encode", pictures)
    queue = queue_of(gone, QueuedRequest("encode", [1]))
    assert len(queue.take(1)) == 1
    queue.give_up(gone)
    assert queue.waiting_items == 1
    assert items_taken(queue, 8) == [1]
    gone_too = QueuedRequest("encode", [Picture()])
    watched.append(weakref.ref(gone_too.items[0]))
    queue.put(gone_too)
    queue.give_up(gone_too)  # nothing comes after it that would push it out
    del pictures, gone, gone_too
    assert [picture() for picture in watched] == [None] * 3


def test_what_is_cleared_is_told_by_request() -> None:
    first, second = QueuedRequest("encode", [1, 2]), QueuedRequest("encode", [3])
    queue = queue_of(first, second)
    queue.take(1)
    assert set(queue.clear()) == {first, second}
    assert (queue.waiting_items, queue.take(8)) == (0, [])

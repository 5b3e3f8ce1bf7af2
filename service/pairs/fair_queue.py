"""The order in which the items of many requests are taken: every request gets its share.

Weighted fair queueing with equal weights. An item's tag is the virtual time at which its request
came plus its place in it, and virtual time passes more slowly the more requests wait. So a request
of 32 items does not go before 32 requests of one, and is not starved by them either.

Source: Parekh and Gallager, A Generalized Processor Sharing Approach to Flow Control in Integrated
Services Networks, IEEE/ACM Transactions on Networking 1 (3), 1993, for virtual time.
"""

import heapq
import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

__all__ = ["FairQueue", "QueuedItem", "QueuedRequest"]


@dataclass(eq=False)
class QueuedRequest:
    """What one request puts into the queue; at least one item.

    Attributes:
        work: What is to be done with the items; only items of equal works are taken together.
        items: In their order.
        waiting_count: Items that nobody has taken yet.
        is_given_up: Nobody waits for the answer any more.
    """

    work: Hashable
    items: Sequence[Any]
    waiting_count: int = field(init=False)
    is_given_up: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """Begin with all items waiting."""
        self.waiting_count = len(self.items)


R = TypeVar("R", bound=QueuedRequest)


@dataclass(order=True, slots=True)
class QueuedItem(Generic[R]):
    """One item in the queue; of equal tags the one that came first goes first."""

    tag: float
    number: int
    request: R = field(compare=False)
    place: int = field(compare=False)


class FairQueue(Generic[R]):
    """Items that wait; whoever uses it from several threads holds a lock meanwhile.

    Attributes:
        waiting_items: How many can be taken.
    """

    def __init__(self) -> None:
        self.waiting_items = 0
        self._waiting_requests = 0
        self._heap: list[QueuedItem[R]] = []
        self._numbers = itertools.count()
        self._virtual_time = 0.0

    def put(self, request: R) -> None:
        """Add all items of a request."""
        for place in range(len(request.items)):
            tag = self._virtual_time + place
            heapq.heappush(self._heap, QueuedItem(tag, next(self._numbers), request, place))
        self.waiting_items += len(request.items)
        self._waiting_requests += 1

    def give_up(self, request: R) -> None:
        """Drop what still waits of a request; nothing of it is taken any more."""
        if request.waiting_count and not request.is_given_up:
            self.waiting_items -= request.waiting_count
            self._waiting_requests -= 1
        request.is_given_up = True
        if self.waiting_items == 0:
            self._heap.clear()  # or the last pictures stay in memory while nothing comes

    def take(self, most: int) -> list[QueuedItem[R]]:
        """Return the next items, at most so many, all of equal works; empty if nothing waits."""
        taken: list[QueuedItem[R]] = []
        others: list[QueuedItem[R]] = []
        while self._heap and len(taken) < most:
            item = heapq.heappop(self._heap)
            request = item.request
            if request.is_given_up:
                continue
            if taken and request.work != taken[0].request.work:
                others.append(item)
                continue
            taken.append(item)
            self._virtual_time += 1 / self._waiting_requests
            self.waiting_items -= 1
            request.waiting_count -= 1
            if request.waiting_count == 0:
                self._waiting_requests -= 1
        for item in others:
            heapq.heappush(self._heap, item)
        if not self._heap:
            self._virtual_time = 0.0
        return taken

    def clear(self) -> list[R]:
        """Take everything out, and return the requests that something was left of."""
        requests = {id(item.request): item.request for item in self._heap}
        self._heap.clear()
        self.waiting_items = self._waiting_requests = 0
        return list(requests.values())

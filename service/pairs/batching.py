"""Shared batches: one thread owns a model or an index, and the queries of all clients share it.

- **No wait while idle**: what arrives at an idle thread runs at once. While a batch runs, more
  arrives; when it ends, the thread waits a few milliseconds at most for those it has just answered
  to ask again, and takes what is there by then.
- **Fair**: a request of 32 queries does not go before 32 requests of one. Items are taken in the
  order of weighted fair queueing with equal weights: an item's tag is the virtual time at which its
  request came plus its place in it, and virtual time passes more slowly the more requests wait. So
  every request gets its share of each batch, and a large one is not starved by many small ones.
- **Nothing for those who have gone**: items of a request that was given up (its deadline passed,
  its client left) are dropped when their turn comes.
- **No one pays for a neighbour**: if a batch fails, its items run one by one, and only those that
  fail alone are told so.

Source: Parekh and Gallager, A Generalized Processor Sharing Approach to Flow Control in Integrated
Services Networks, IEEE/ACM Transactions on Networking 1 (3), 1993, for virtual time.
"""

import asyncio
import contextlib
import heapq
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from service.errors import QueueFullError
from service.traffic.admission import Stopwatch

__all__ = ["BatchLimits", "BatchReport", "SharedBatches", "Work", "ignore_report"]

# Weighs a third of a thread of niceness 0.
_NICENESS = 5

Item = TypeVar("Item")
Found = TypeVar("Found", covariant=True)


class Work(Hashable, Protocol[Item, Found]):
    """What is done with a batch; items whose works are equal share one."""

    def __call__(self, items: list[Item], /) -> Sequence[Found]:
        """Return one result for each item, in order."""


@dataclass(frozen=True)
class BatchLimits:
    """How large a batch becomes, and how long it waits to become larger.

    Attributes:
        max_items: Items of a batch.
        max_wait_ms: The longest wait for more items after a batch; an idle thread never waits.
    """

    max_items: int = 32
    max_wait_ms: float = 4.0


@dataclass(frozen=True, slots=True)
class BatchReport:
    """One batch that has run.

    Attributes:
        stage: What the thread does: `encode`, `search`.
        item_count: Items in it.
        request_count: Requests that shared it.
        seconds: How long it took.
    """

    stage: str
    item_count: int
    request_count: int
    seconds: float


def ignore_report(_: BatchReport) -> None:
    """Do nothing with a report."""


@dataclass(eq=False)
class _Request:
    """The items of one request that share a work."""

    work: Work[Any, Any]
    items: Sequence[Any]
    deliver: Callable[["_Request"], None]
    submitted: float = field(default_factory=time.perf_counter)
    begun: float | None = None
    ended: float = 0.0
    results: list[Any] = field(init=False)
    error: Exception | None = None
    waiting_count: int = field(init=False)
    unanswered_count: int = field(init=False)
    is_given_up: bool = False

    def __post_init__(self) -> None:
        self.waiting_count = self.unanswered_count = len(self.items)
        self.results = [None] * len(self.items)


@dataclass(order=True, slots=True)
class _Entry:
    """One item in the queue; the first of equal tags came first."""

    tag: float
    number: int
    request: _Request = field(compare=False)
    place: int = field(compare=False)


class SharedBatches:
    """The one thread that does a kind of work.

    Args:
        stage: What it does, for timings, reports and the thread's name.
        limits: Of its batches.
        observe: Is told of every batch, on the owner thread.
    """

    def __init__(
        self,
        stage: str,
        *,
        limits: BatchLimits,
        observe: Callable[[BatchReport], None] = ignore_report,
    ) -> None:
        self.stage = stage
        self._limits = limits
        self._observe = observe
        self._condition = threading.Condition()
        self._queue: list[_Entry] = []
        self._numbers = itertools.count()
        self._virtual_time = 0.0
        self._waiting_items = 0
        self._waiting_requests = 0
        self._last_size = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name=f"{stage}-owner", daemon=True)
        self._thread.start()

    @property
    def waiting_items(self) -> int:
        """Items that no batch has taken yet."""
        return self._waiting_items

    async def run(
        self, work: Work[Item, Found], items: Sequence[Item], stopwatch: Stopwatch | None = None
    ) -> list[Found]:
        """Return the results of `items`, in order, from whatever batches they come to share.

        Args:
            work: What is done with them.
            items: At least one.
            stopwatch: Learns how long they waited (`queue`) and were worked on (this stage).

        Raises:
            QueueFullError: The thread has been stopped.
            Exception: What `work` raises for one of the items.
        """
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()

        def resolve() -> None:
            if not answered.done():
                answered.set_result(None)

        def deliver(_: _Request) -> None:
            try:
                loop.call_soon_threadsafe(resolve)
            except RuntimeError:
                # The loop was closed meanwhile; nobody waits any more.
                return

        request = _Request(work, items, deliver)
        self._submit(request)
        try:
            await answered
        finally:
            self._give_up(request)
            if stopwatch is not None:
                _note(request, self.stage, stopwatch)
        return _results_of(request)

    def run_and_wait(self, work: Work[Item, Found], items: Sequence[Item]) -> list[Found]:
        """Return the results of `items`; for threads other than that of the event loop.

        Raises:
            QueueFullError: The thread has been stopped.
            Exception: What `work` raises for one of the items.
        """
        answered = threading.Event()
        request = _Request(work, items, lambda _: answered.set())
        self._submit(request)
        answered.wait()
        return _results_of(request)

    def close(self) -> None:
        """Finish the batch that runs, refuse what waits, and end the thread."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()
        self._thread.join()

    def _submit(self, request: _Request) -> None:
        with self._condition:
            if self._is_closed:
                raise _stopped()
            for place in range(len(request.items)):
                tag = self._virtual_time + place
                heapq.heappush(self._queue, _Entry(tag, next(self._numbers), request, place))
            self._waiting_items += len(request.items)
            self._waiting_requests += 1
            self._condition.notify_all()

    def _give_up(self, request: _Request) -> None:
        with self._condition:
            if request.waiting_count and not request.is_given_up:
                self._waiting_items -= request.waiting_count
                self._waiting_requests -= 1
            request.is_given_up = True

    def _serve(self) -> None:
        _stand_back()
        while batch := self._next_batch():
            started = time.perf_counter()
            answered = self._run(batch, started)
            requests = {id(entry.request) for entry in batch}
            self._observe(
                BatchReport(self.stage, len(batch), len(requests), time.perf_counter() - started)
            )
            # Whoever is answered finds the batch counted.
            _deliver(answered)
            # An idle thread must not keep the last pictures or masks alive.
            del batch, answered
        self._refuse_the_rest()

    def _next_batch(self) -> list[_Entry]:
        """Return what runs next, waiting until there is something; empty at the end."""
        with self._condition:
            # Those who have just been answered may ask again; who comes later finds us idle.
            likely_count = min(self._limits.max_items, self._last_size + self._waiting_items)
            until = time.monotonic() + self._limits.max_wait_ms / 1000
            while not self._is_closed:
                if self._waiting_items == 0:
                    self._condition.wait()
                    continue
                if (left := until - time.monotonic()) > 0:
                    self._condition.wait_for(
                        lambda: self._is_closed or self._waiting_items >= likely_count, left
                    )
                if batch := self._take():
                    return batch
            return []

    def _take(self) -> list[_Entry]:
        taken: list[_Entry] = []
        others: list[_Entry] = []
        while self._queue and len(taken) < self._limits.max_items:
            entry = heapq.heappop(self._queue)
            request = entry.request
            if request.is_given_up:
                continue
            if taken and request.work != taken[0].request.work:
                others.append(entry)
                continue
            taken.append(entry)
            self._virtual_time += 1 / self._waiting_requests
            self._waiting_items -= 1
            request.waiting_count -= 1
            if request.waiting_count == 0:
                self._waiting_requests -= 1
        for entry in others:
            heapq.heappush(self._queue, entry)
        if not self._queue:
            self._virtual_time = 0.0
        self._last_size = len(taken)
        return taken

    def _run(self, batch: list[_Entry], started: float) -> list[_Request]:
        """Work on a batch; return the requests of which nothing is left to do."""
        work = batch[0].request.work
        for entry in batch:
            if entry.request.begun is None:
                entry.request.begun = started
        try:
            results = _checked(work, [entry.request.items[entry.place] for entry in batch])
        except Exception as error:
            if len(batch) > 1:
                return [one for entry in batch for one in self._run([entry], started)]
            batch[0].request.error = error
            results = [None]
        ended = time.perf_counter()
        answered = []
        for entry, result in zip(batch, results, strict=True):
            request = entry.request
            request.results[entry.place] = result
            request.unanswered_count -= 1
            request.ended = ended
            if request.unanswered_count == 0:
                answered.append(request)
        return answered

    def _refuse_the_rest(self) -> None:
        with self._condition:
            requests = {id(entry.request): entry.request for entry in self._queue}
            self._queue.clear()
            self._waiting_items = self._waiting_requests = 0
        for request in requests.values():
            request.error = _stopped()
        _deliver(list(requests.values()))


def _deliver(requests: list[_Request]) -> None:
    for request in requests:
        request.deliver(request)


def _stand_back() -> None:
    """Let the thread that talks to clients go before this one, where they share a core.

    Otherwise each of them gets as much as the others, and under a heavy load the one that refuses
    what is too much, and sends what is found, waits for those that compute.
    """
    if sys.platform == "linux":  # elsewhere a thread has no niceness of its own
        with contextlib.suppress(OSError):  # where a sandbox forbids it, it is done without
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _checked(work: Work[Any, Any], items: list[Any]) -> Sequence[Any]:
    results = work(items)
    if len(results) != len(items):
        raise AssertionError(f"{work!r} gave {len(results)} results for {len(items)} items")
    return results


def _results_of(request: _Request) -> list[Any]:
    if request.error is not None:
        raise request.error
    return request.results


def _note(request: _Request, stage: str, stopwatch: Stopwatch) -> None:
    if request.begun is None:
        stopwatch.add("queue", time.perf_counter() - request.submitted)
        return
    stopwatch.add("queue", request.begun - request.submitted)
    ended = request.ended if request.unanswered_count == 0 else time.perf_counter()
    stopwatch.add(stage, ended - request.begun)


def _stopped() -> QueueFullError:
    return QueueFullError("the service is stopping; ask another one")

"""Shared batches: one thread owns a model or an index, and the queries of all clients share it.

- **No wait while idle**: what arrives at an idle thread runs at once. While a batch runs, more
  arrives; when it ends, the thread waits a few milliseconds at most for those it has just answered
  to ask again, and takes what is there by then.
- **Fair**: a request of 32 queries does not go before 32 requests of one, nor is it starved by them
  (`fair_queue`).
- **Nothing for those who have gone**: items of a request that was given up (its deadline passed,
  its client left) are dropped when their turn comes.
- **No one pays for a neighbour**: if a batch fails, its items run one by one, and only those that
  fail alone are told so.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from service.errors import StoppingError
from service.pairs.fair_queue import FairQueue, QueuedItem, QueuedRequest
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
class _Request(QueuedRequest):
    """The items of one request that share a work, and what became of them.

    Attributes:
        deliver: Called on the owner thread when all items are answered or refused.
        submitted: When it came; by the clock of `time.perf_counter`, as the two below.
        begun: When the first batch with an item of it began; None before that.
        ended: When the last batch with an item of it had ended.
        results: One for each item that is answered.
        error: What the last item that failed was refused with.
        unanswered_count: Items whose batch has not ended.
    """

    work: Work[Any, Any]
    deliver: Callable[[], None]
    submitted: float = field(default_factory=time.perf_counter)
    begun: float | None = None
    ended: float = 0.0
    results: list[Any] = field(init=False)
    error: Exception | None = None
    unanswered_count: int = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.unanswered_count = len(self.items)
        self.results = [None] * len(self.items)


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
        self._queue: FairQueue[_Request] = FairQueue()
        self._last_size = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name=f"{stage}-owner", daemon=True)
        self._thread.start()

    @property
    def waiting_items(self) -> int:
        """Items that no batch has taken yet."""
        return self._queue.waiting_items

    async def run(
        self, work: Work[Item, Found], items: Sequence[Item], stopwatch: Stopwatch | None = None
    ) -> list[Found]:
        """Return the results of `items`, in order, from whatever batches they come to share.

        Args:
            work: What is done with them.
            items: At least one.
            stopwatch: Learns how long they waited (`queue`) and were worked on (this stage).

        Raises:
            StoppingError: The thread has been stopped.
            Exception: What `work` raises for one of the items.
        """
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()

        def resolve() -> None:
            if not answered.done():
                answered.set_result(None)

        def deliver() -> None:
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
            StoppingError: The thread has been stopped.
            Exception: What `work` raises for one of the items.
        """
        answered = threading.Event()
        request = _Request(work, items, answered.set)
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
                raise StoppingError
            self._queue.put(request)
            self._condition.notify_all()

    def _give_up(self, request: _Request) -> None:
        with self._condition:
            self._queue.give_up(request)

    def _serve(self) -> None:
        _stand_back()
        while batch := self._next_batch():
            started = time.perf_counter()
            answered = self._run(batch, started)
            requests = {id(item.request) for item in batch}
            self._observe(
                BatchReport(self.stage, len(batch), len(requests), time.perf_counter() - started)
            )
            # Whoever is answered finds the batch counted.
            _deliver(answered)
            # An idle thread must not keep the last pictures or masks alive.
            del batch, answered
        self._refuse_the_rest()

    def _next_batch(self) -> list[QueuedItem[_Request]]:
        """Return what runs next, waiting until there is something; empty at the end."""
        with self._condition:
            # Those who have just been answered may ask again; who comes later finds us idle.
            likely_count = min(self._limits.max_items, self._last_size + self.waiting_items)
            until = time.monotonic() + self._limits.max_wait_ms / 1000
            while not self._is_closed:
                if self.waiting_items == 0:
                    self._condition.wait()
                    continue
                if (left := until - time.monotonic()) > 0:
                    self._condition.wait_for(
                        lambda: self._is_closed or self.waiting_items >= likely_count, left
                    )
                if batch := self._queue.take(self._limits.max_items):
                    self._last_size = len(batch)
                    return batch
            return []

    def _run(self, batch: list[QueuedItem[_Request]], started: float) -> list[_Request]:
        """Work on a batch; return the requests of which nothing is left to do."""
        work = batch[0].request.work
        for item in batch:
            if item.request.begun is None:
                item.request.begun = started
        try:
            results = _checked(work, [item.request.items[item.place] for item in batch])
        except Exception as error:
            if len(batch) > 1:
                return [one for item in batch for one in self._run([item], started)]
            batch[0].request.error = error
            results = [None]
        ended = time.perf_counter()
        answered = []
        for item, result in zip(batch, results, strict=True):
            request = item.request
            request.results[item.place] = result
            request.unanswered_count -= 1
            request.ended = ended
            if request.unanswered_count == 0:
                answered.append(request)
        return answered

    def _refuse_the_rest(self) -> None:
        with self._condition:
            requests = self._queue.clear()
        for request in requests:
            request.error = StoppingError()
        _deliver(requests)


def _deliver(requests: list[_Request]) -> None:
    for request in requests:
        request.deliver()


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

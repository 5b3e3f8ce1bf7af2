"""Where the work of a query is done: off the event loop, bounded, and with a deadline.

- One thread owns the encoder, one the galleries, a few decode pictures; each takes one job after
  the other. This is the place where the queries of several clients can come to share a batch.
- What is admitted is bounded, counted in items (queries, pictures, look-ups); more is refused at
  once.
- Every request has a deadline; a job that has not begun by then is dropped.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from service.errors import DeadlineError, QueryError, QueueFullError

__all__ = ["STAGES", "Stopwatch", "Workers"]

STAGES = ("queue", "decode", "encode", "search", "fetch")

P = ParamSpec("P")
R = TypeVar("R")


class Stopwatch:
    """Adds up the seconds of a request's stages."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds = dict.fromkeys(STAGES, 0.0)

    def add(self, stage: str, seconds: float) -> None:
        """Add time to a stage."""
        self._seconds[stage] += seconds

    def timing_ms(self) -> dict[str, float]:
        """Return the milliseconds of each stage, and the total since the start."""
        whole = {**self._seconds, "total": time.perf_counter() - self._started}
        return {stage: round(seconds * 1000, 3) for stage, seconds in whole.items()}


class Workers:
    """The threads of a retriever, and the door in front of them.

    Attributes:
        encoder: The one thread that uses the encoder.
        galleries: The one thread that searches; a GPU index allows no second.
        decoders: Threads that decode and encode picture files.
        waiting_items: Items admitted and not yet answered.
        is_in_doubt: A job failed in a way that nobody foresaw, or missed its deadline;
            `retriever` clears it once a query is answered again.
    """

    def __init__(
        self, *, max_waiting_items: int, query_timeout_ms: int, decode_threads: int
    ) -> None:
        self.encoder = ThreadPoolExecutor(1, "encoder")
        self.galleries = ThreadPoolExecutor(1, "galleries")
        self.decoders = ThreadPoolExecutor(decode_threads, "decoder")
        self.max_waiting_items = max_waiting_items
        self.timeout_s = query_timeout_ms / 1000
        self.waiting_items = 0
        self.is_in_doubt = False
        self.is_closed = False

    def close(self) -> None:
        """Finish what is running and drop what waits."""
        self.is_closed = True
        for threads in (self.decoders, self.encoder, self.galleries):
            threads.shutdown(wait=True, cancel_futures=True)

    @asynccontextmanager
    async def admitted(self, item_count: int) -> AsyncIterator[Stopwatch]:
        """Count `item_count` items as waiting until the block ends, at the deadline at the latest.

        Raises:
            QueueFullError: There is no room for so many.
            DeadlineError: The block did not end in time.
        """
        if self.is_closed:
            raise QueueFullError("the service is stopping; ask another one")
        if self.waiting_items + item_count > self.max_waiting_items:
            raise QueueFullError(
                f"{self.waiting_items} items are waiting and {item_count} more are too many; "
                f"try again soon"
            )
        self.waiting_items += item_count
        try:
            async with asyncio.timeout(self.timeout_s):
                yield Stopwatch()
        except TimeoutError as error:
            self.is_in_doubt = True
            raise DeadlineError(
                f"no answer within {self.timeout_s:g} s; try again, or ask for less"
            ) from error
        finally:
            self.waiting_items -= item_count

    async def run(
        self, threads: ThreadPoolExecutor, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a job on its threads; if the request is given up, a job not begun is dropped."""
        return await asyncio.wrap_future(threads.submit(job, *args, **kwargs))

    async def run_stage(
        self,
        threads: ThreadPoolExecutor,
        stage: str,
        stopwatch: Stopwatch,
        job: Callable[P, R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run a stage of a query on its threads, timed; the wait for its turn is `queue`."""
        submitted = time.perf_counter()

        def timed() -> R:
            started = time.perf_counter()
            stopwatch.add("queue", started - submitted)
            try:
                return job(*args, **kwargs)
            finally:
                stopwatch.add(stage, time.perf_counter() - started)

        try:
            return await self.run(threads, timed)
        except QueryError:
            raise
        except Exception:
            self.is_in_doubt = True
            raise

"""Threads for what needs neither the encoder nor the vectors: picture files and look-ups of items.

The encoder and the galleries have owners of their own (`encoding`, `searching`).
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from service.traffic.admission import Stopwatch

__all__ = ["Workers"]

# SQLite answers in well under a millisecond; a second thread is for when a disk does not.
READER_THREADS = 2

P = ParamSpec("P")
R = TypeVar("R")


class Workers:
    """The threads that all pairs share.

    Args:
        decode_threads: How many pictures are decoded at once; each takes 75 MB at 25 megapixels.

    Attributes:
        decoders: Decode and encode picture files.
        readers: Read items, thumbnails and the rows that a filter lets through.
    """

    def __init__(self, *, decode_threads: int) -> None:
        self.decoders = ThreadPoolExecutor(decode_threads, "decoder")
        self.readers = ThreadPoolExecutor(READER_THREADS, "reader")

    def close(self) -> None:
        """Finish what is running and drop what waits."""
        for threads in (self.decoders, self.readers):
            threads.shutdown(wait=True, cancel_futures=True)

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

        return await self.run(threads, timed)

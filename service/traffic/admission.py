"""Admission control: how much may be under way at once, and until when.

- What is admitted is bounded, counted in items (queries, pictures, look-ups); more is refused at
  once, so that what was admitted is answered in bounded time.
- Every request has a deadline; what has not begun by then is dropped. A queue longer than the
  deadline would be work for nothing, so no more is admitted than is likely to be answered by then,
  at the pace of the last seconds.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from service.errors import DeadlineError, QueryError, QueueFullError, StoppingError
from service.schemas import MAX_QUERIES

__all__ = ["STAGES", "Admission", "Pace", "Stopwatch"]

STAGES = ("queue", "decode", "encode", "search", "fetch")
# A share of what the pace allows, since answers come in batches and not all are equally dear.
_LIKELY = 0.8
# With fewer, batches are not filled, and the pace of a full queue cannot be told.
_LEAST_JUDGED = 16
# The answers of a batch come out one after the other.
_SAME_BATCH_S = 0.25


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


class Pace:
    """Items answered a second of late, counting only the time in which many were waiting.

    Args:
        memory_s: What is as long ago weighs 1/e.
        now: A monotonic clock, in seconds.
    """

    def __init__(
        self, *, memory_s: float = 10.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._memory_s = memory_s
        self._now = now
        self._items = 0.0
        self._seconds = 0.0
        self._since: float | None = None
        self._ended = -math.inf
        self._judged_count = 0

    def begin(self, waiting_count: int) -> None:
        """Note that so many are waiting, since another one has come."""
        if self._since is None and waiting_count >= _LEAST_JUDGED:
            self._since = self._now()

    def note(self, waiting_count: int, item_count: int, *, is_answered: bool = True) -> None:
        """Note that so many are left, since so many were answered or given up."""
        now = self._now()
        passed = 0.0
        if self._since is not None:
            passed, self._ended = now - self._since, now
        if now - self._ended <= _SAME_BATCH_S:
            kept = math.exp(-passed / self._memory_s)
            self._items = self._items * kept + is_answered * item_count
            self._seconds = self._seconds * kept + passed
            self._judged_count += item_count
        self._since = now if waiting_count >= _LEAST_JUDGED else None

    @property
    def items_per_s(self) -> float | None:
        """None before there is a batch or two, and a second, to judge by."""
        is_known = self._seconds >= 1 and self._judged_count >= MAX_QUERIES
        return self._items / self._seconds if is_known else None


class Admission:
    """Counts what is under way.

    Attributes:
        max_waiting_items: Items that may be in work or waiting at any pace.
        timeout_s: How long a request may take once admitted.
        pace: How fast items are answered.
        waiting_items: Items admitted and not yet answered.
        is_in_doubt: A request failed in a way that nobody foresaw, or missed its deadline; to be
            cleared once a query is answered again.
        is_closed: Nothing is admitted any more.
    """

    def __init__(self, *, max_waiting_items: int, query_timeout_ms: int) -> None:
        self.max_waiting_items = max_waiting_items
        self.timeout_s = query_timeout_ms / 1000
        self.pace = Pace()
        self.waiting_items = 0
        self.is_in_doubt = False
        self.is_closed = False

    @property
    def limit(self) -> int:
        """Items that may be in work or waiting now."""
        pace = self.pace.items_per_s
        if pace is None:
            return self.max_waiting_items
        in_time = int(_LIKELY * self.timeout_s * pace)
        # One request of the most queries is admitted at any pace.
        return min(self.max_waiting_items, max(MAX_QUERIES, in_time))

    def close(self) -> None:
        """Admit nothing any more."""
        self.is_closed = True

    def check_room(self, item_count: int = 1) -> None:
        """Refuse what `admitted` would refuse now: before a body is read, it costs nothing.

        Raises:
            QueueFullError: There is no room for so many.
        """
        if self.is_closed:
            raise StoppingError
        if self.waiting_items + item_count > self.limit:
            raise QueueFullError(
                f"{self.waiting_items} items are waiting and {item_count} more are too many; "
                f"try again soon"
            )

    @asynccontextmanager
    async def admitted(self, item_count: int) -> AsyncIterator[Stopwatch]:
        """Count `item_count` items as waiting until the block ends, at the deadline at the latest.

        Raises:
            QueueFullError: There is no room for so many.
            DeadlineError: The block did not end in time.
        """
        self.check_room(item_count)
        self.waiting_items += item_count
        self.pace.begin(self.waiting_items)
        is_answered = False
        try:
            async with asyncio.timeout(self.timeout_s):
                yield Stopwatch()
            is_answered = True
        except TimeoutError as error:
            self.is_in_doubt = True
            raise DeadlineError(
                f"no answer within {self.timeout_s:g} s; try again, or ask for less"
            ) from error
        except QueryError:
            is_answered = True  # that it cannot be, which is an answer too
            raise
        except Exception:
            self.is_in_doubt = True
            raise
        finally:
            self.waiting_items -= item_count
            self.pace.note(self.waiting_items, item_count, is_answered=is_answered)

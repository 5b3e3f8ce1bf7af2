"""The door of the service: how much may be under way at once, and until when.

- What is admitted is bounded, counted in items (queries, pictures, look-ups); more is refused at
  once, so that what was admitted is answered in bounded time.
- Every request has a deadline; what has not begun by then is dropped.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.errors import DeadlineError, QueryError, QueueFullError

__all__ = ["STAGES", "Admission", "Stopwatch"]

STAGES = ("queue", "decode", "encode", "search", "fetch")


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


class Admission:
    """Counts what is under way.

    Attributes:
        max_waiting_items: Items that may be in work or waiting.
        timeout_s: How long a request may take once admitted.
        waiting_items: Items admitted and not yet answered.
        is_in_doubt: A request failed in a way that nobody foresaw, or missed its deadline; to be
            cleared once a query is answered again.
        is_closed: Nothing is admitted any more.
    """

    def __init__(self, *, max_waiting_items: int, query_timeout_ms: int) -> None:
        self.max_waiting_items = max_waiting_items
        self.timeout_s = query_timeout_ms / 1000
        self.waiting_items = 0
        self.is_in_doubt = False
        self.is_closed = False

    def close(self) -> None:
        """Admit nothing any more."""
        self.is_closed = True

    def check_room(self, item_count: int = 1) -> None:
        """Refuse what `admitted` would refuse now: before a body is read, it costs nothing.

        Raises:
            QueueFullError: There is no room for so many.
        """
        if self.is_closed:
            raise QueueFullError("the service is stopping; ask another one")
        if self.waiting_items + item_count > self.max_waiting_items:
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
        try:
            async with asyncio.timeout(self.timeout_s):
                yield Stopwatch()
        except TimeoutError as error:
            self.is_in_doubt = True
            raise DeadlineError(
                f"no answer within {self.timeout_s:g} s; try again, or ask for less"
            ) from error
        except QueryError:
            raise
        except Exception:
            self.is_in_doubt = True
            raise
        finally:
            self.waiting_items -= item_count

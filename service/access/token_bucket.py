"""How often something may happen: a bucket of tokens that fills up again at a steady rate."""

import time
from collections.abc import Callable

__all__ = ["TokenBucket"]


class TokenBucket:
    """Holds at most `burst` tokens, full at first; `rate_per_minute` tokens come back a minute.

    Used from one thread, the event loop's.
    """

    def __init__(
        self,
        *,
        rate_per_minute: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate_per_s = rate_per_minute / 60
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._counted_at = clock()

    def take(self) -> float:
        """Take a token and return 0.0; if there is none, return the seconds until there is one."""
        wait_s = self.wait_s()
        if wait_s == 0.0:
            self._tokens -= 1
        return wait_s

    def wait_s(self) -> float:
        """Return the seconds until a token can be taken, 0.0 if now; takes none."""
        now = self._clock()
        refilled = self._tokens + (now - self._counted_at) * self._rate_per_s
        self._tokens, self._counted_at = min(float(self._burst), refilled), now
        if self._tokens >= 1:
            return 0.0
        return (1 - self._tokens) / self._rate_per_s

"""When a request that a service refused is asked again, and after how long; for all that ask one.

A service with too much to do says so at once (503, or 429 to a key over its rate) and names with
`Retry-After` (RFC 9110, section 10.2.3) when to come back. Coming back earlier only makes it worse;
coming back all at the same moment too, so a share of every pause is drawn at random.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["REFUSED_FOR_NOW", "Retries", "read_retry_after_s"]

# Refused before anything was done.
REFUSED_FOR_NOW = frozenset({429, 503})


@dataclass(frozen=True)
class Retries:
    """How patient a client is.

    Args:
        deadline_s: Seconds since the first attempt after which nothing is asked again; an attempt
            after the first ends by then. 0 asks once.
        first_pause_s: The longest pause before the second attempt; doubled before each later one.
        longest_pause_s: No pause of our own choice is longer.
        repeats_timeouts: Also ask again after 504, or where no answer came in time. Off, because
            the work may have been done, and what took too long once will mostly do so again.
    """

    deadline_s: float = 30.0
    first_pause_s: float = 0.2
    longest_pause_s: float = 5.0
    repeats_timeouts: bool = False

    def pause_s(self, attempt: int, retry_after_s: float | None, *, chance: float) -> float:
        """Return the seconds to wait after attempt `attempt` failed.

        Never less than the service asked for. Half of the own pause, which doubles from attempt
        to attempt up to its cap, is left to chance.

        Args:
            attempt: Counted from 0.
            retry_after_s: What the service asked for; None if it did not say.
            chance: A random number, 0 to 1.
        """
        # The exponent is bounded, for a float is.
        own = min(self.first_pause_s * 2 ** min(attempt, 60), self.longest_pause_s)
        least = own / 2 if retry_after_s is None else retry_after_s
        return least + own / 2 * chance


def read_retry_after_s(said: str | None, *, date: str | None, now: datetime) -> float | None:
    """Return the seconds that an answer asks to wait, at least 0; None if it does not say.

    Args:
        said: Its `Retry-After`: seconds, or a date.
        date: Its `Date`; a date in `said` is compared with it, for clocks differ.
        now: What takes the place of a missing `date`; with time zone.
    """
    said = (said or "").strip()
    if said.isascii() and said.isdigit():
        return float(said[:9])
    until = _read_date(said)
    if until is None:
        return None
    return max(0.0, (until - (_read_date(date or "") or now)).total_seconds())


def _read_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)

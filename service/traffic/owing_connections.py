"""Which connection makes way for a new one: that whose client has owed us bytes for longest.

A client owes us bytes from the moment it connects, or begins its next request, until that request
has arrived as a whole. Bytes that it has sent and we have not yet come to read are not owed.
"""

import heapq
import math
import time
from collections import deque
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

__all__ = ["OwingConnections"]

# Looking through a thousand connections for every new one would leave no time for answers: one look
# finds some that make way, and where it finds few the next one has to wait.
_MOST_MAKING_WAY = 256
_FEW_MAKING_WAY = 32
_LOOK_AGAIN_S = 0.1


class _Connection(Protocol):
    @property
    def owing_since(self) -> float | None:
        """Since when the client owes us bytes of a request; None if it does not."""

    @property
    def has_unread(self) -> bool:
        """The client has sent bytes that we have not read."""


C = TypeVar("C", bound=_Connection)


class OwingConnections(Generic[C]):
    """Those that an earlier look has found, in the order in which they make way."""

    def __init__(self) -> None:
        self._found: deque[tuple[float, C]] = deque()
        self._look_again_at = -math.inf

    def longest(self, connections: Iterable[C]) -> C | None:
        """Return the one whose client has owed us bytes for longest; None if none is known to.

        Args:
            connections: All that are open.
        """
        now = time.monotonic()
        if not self._found and now >= self._look_again_at:
            owing = ((one.owing_since, id(one), one) for one in connections)
            longest = heapq.nsmallest(
                _MOST_MAKING_WAY,
                ((since, number, one) for since, number, one in owing if since is not None),
            )
            self._found.extend((since, one) for since, _, one in longest)
            self._look_again_at = now + (_LOOK_AGAIN_S if len(longest) < _FEW_MAKING_WAY else 0)
        while self._found:
            since, one = self._found.popleft()
            # A burst is accepted as a whole before any of it is read: its requests are there.
            if one.owing_since == since and not one.has_unread:
                return one
        return None

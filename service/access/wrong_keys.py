"""Guessing keys is slowed down, address by address.

Only a key that is new to its address counts: a forgotten script that asks with one old key for
ever locks nobody out who shares its address, while every guess is another key. An IPv6 address
counts as its /64, which is what one customer has.
"""

import ipaddress
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from service.access.token_bucket import TokenBucket

__all__ = ["WrongKeys"]

RATE_PER_MINUTE = 10
BURST = 10
MAX_ADDRESSES = 10_000
REMEMBERED_KEYS = 8


class WrongKeys:
    """Counts the wrong keys of each client address; forgets the address unheard of longest."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guessers: OrderedDict[str, _Guesser] = OrderedDict()

    def wait_s(self, address: str, digest: bytes) -> int:
        """Return how many seconds `address` must wait before it may try this key; 0 = now."""
        guesser = self._guessers.get(_network_of(address))
        if guesser is None or digest in guesser.tried:
            return 0
        return math.ceil(guesser.bucket.wait_s())

    def count(self, address: str, digest: bytes) -> None:
        """Note that `address` has tried a wrong key."""
        network = _network_of(address)
        guesser = self._guessers.pop(network, None) or _Guesser(self._clock)
        self._guessers[network] = guesser
        if digest not in guesser.tried:
            guesser.tried.append(digest)
            guesser.bucket.take()
        while len(self._guessers) > MAX_ADDRESSES:
            self._guessers.popitem(last=False)


class _Guesser:
    def __init__(self, clock: Callable[[], float]) -> None:
        self.bucket = TokenBucket(rate_per_minute=RATE_PER_MINUTE, burst=BURST, clock=clock)
        self.tried: deque[bytes] = deque(maxlen=REMEMBERED_KEYS)


def _network_of(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed.packed, 64), strict=False))

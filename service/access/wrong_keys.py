"""Guessing keys is slowed down, address by address.

Only a key that is new to its address counts: a forgotten script that asks with one old key for
ever locks nobody out who shares its address, while every guess is another key. An IPv6 address
counts as its /64, which is what one customer has.

While an address is locked out, a right key passes only if this very address has shown it before.
If every right key passed, a guess would learn at once that it is right, and guessing would not be
slowed at all; if none did, any stranger behind the same proxy or router could keep everyone there
out with ten requests a minute. So guesses from an address of one's own are slowed to the full, and
those from behind an address of others are too, but for the keys that these others use: keys of 16
characters and more, which no rate of requests will find.
"""

import ipaddress
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from service.access.token_bucket import TokenBucket
from service.addresses import plain_address

__all__ = ["WrongKeys"]

RATE_PER_MINUTE = 10
BURST = 10
MAX_ADDRESSES = 10_000
MAX_SHOWN_KEYS = 10_000
REMEMBERED_KEYS = 8


class WrongKeys:
    """Counts the wrong keys of each client address; forgets the address unheard of longest.

    Right keys are remembered with the addresses that showed them, only to tell who may go on while
    others guess.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guessers: OrderedDict[str, _Guesser] = OrderedDict()
        self._shown: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def wait_s(self, address: str, digest: bytes) -> int:
        """Return how many seconds `address` must wait before it may try this key; 0 = now."""
        network = _network_of(address)
        guesser = self._guessers.get(network)
        if guesser is None or digest in guesser.tried or (network, digest) in self._shown:
            return 0
        return math.ceil(guesser.bucket.wait_s())

    def remember_right(self, address: str, digest: bytes) -> None:
        """Note that `address` has shown a right key, with which it may go on from now on."""
        shown = (_network_of(address), digest)
        self._shown[shown] = None
        self._shown.move_to_end(shown)
        while len(self._shown) > MAX_SHOWN_KEYS:
            self._shown.popitem(last=False)

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
    address = plain_address(address)
    try:
        packed = ipaddress.IPv6Address(address).packed
    except ValueError:
        return address
    return str(ipaddress.ip_network((packed, 64), strict=False))

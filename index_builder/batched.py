"""`itertools.batched`, which Python has from 3.12 on."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

__all__ = ["batched"]

T = TypeVar("T")


def batched(things: Iterable[T], count: int) -> Iterator[tuple[T, ...]]:
    """Yield things in tuples of `count`, the last one perhaps shorter; takes them as needed."""
    stream = iter(things)
    while some := tuple(islice(stream, count)):
        yield some

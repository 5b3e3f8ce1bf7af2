"""Folding: what looks like an earlier hit is put into that hit instead of standing beside it.

Greedy, in the order of rank: a candidate whose stored vector has a cosine of at least the bound
with a kept one goes into the first such. So whether a candidate is kept depends on those before it
only, and pages agree. Cosines are compared as float32(float64): equal vectors reach a bound of 1.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index_builder.vector_index import Rows

__all__ = ["Folded", "Kept", "fold"]

# Cosines are computed for so many candidates at a time, by their place and never by need: the same
# product of the same shape whichever page is asked for. 64 x 1,000 x 1,024 is a few milliseconds.
_PLACES_AT_ONCE = 64


@dataclass(frozen=True)
class Folded:
    """A candidate that went into a kept one: its place, and their cosine."""

    place: int
    similarity: float


@dataclass(frozen=True)
class Kept:
    """A candidate that stays: its place, and what was folded into it, by rank."""

    place: int
    duplicates: tuple[Folded, ...]


def fold(vectors: Rows, *, bound: float, wanted_count: int) -> list[Kept]:
    """Return the first `wanted_count` candidates that are kept (or all), by rank.

    Args:
        vectors: (candidate, dim), the stored vectors, best candidate first; none is zero.
        bound: Cosine from which on a candidate is folded, 0 to 1.
        wanted_count: How many to return; what is folded into them is complete.
    """
    wide = vectors.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    is_free = np.ones(len(unit), dtype=np.bool_)
    kept: list[Kept] = []
    cosines: npt.NDArray[np.float32] = np.empty((0, len(unit)), dtype=np.float32)
    start = -1
    for place in range(len(unit)):
        if len(kept) == wanted_count:
            break
        if not is_free[place]:
            continue
        if start != place - place % _PLACES_AT_ONCE:
            start = place - place % _PLACES_AT_ONCE
            cosines = _cosines(unit[start : start + _PLACES_AT_ONCE], unit)
        with_this = cosines[place - start]
        is_folded = is_free & (with_this >= np.float32(bound))
        is_folded[: place + 1] = False
        is_free &= ~is_folded
        folded = np.flatnonzero(is_folded)
        kept.append(
            Kept(place, tuple(Folded(int(other), float(with_this[other])) for other in folded))
        )
    return kept


def _cosines(
    some: npt.NDArray[np.float64], unit: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    return np.clip(some @ unit.T, -1.0, 1.0).astype(np.float32)

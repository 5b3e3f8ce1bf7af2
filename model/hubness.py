"""Hubness: how unevenly the items of a gallery turn up among the first hits of many queries.

A hub is found by far more queries than its share, whatever they ask; an item that no query finds is
an anti-hub. Figures are compared at like numbers of queries and items: with few queries most items
are found by none, without any fault of theirs.

Source: Radovanovic et al., "Hubs in Space", JMLR 2010 (k-occurrence and its skewness).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

__all__ = ["Hubness", "hubness"]


@dataclass(frozen=True)
class Hubness:
    """How unevenly the items of a gallery turn up among the first k hits.

    Attributes:
        k: How many hits of each query are looked at.
        occurrences: How often each item is among them: its k-occurrence.
        skewness: Third standardised moment of the k-occurrences; 0 where all are equal.
        never_found_fraction: Share of items that are among the first k hits of no query.
    """

    k: int
    occurrences: Int[np.ndarray, " item"]
    skewness: float
    never_found_fraction: float

    def top(self, count: int) -> list[int]:
        """Return the items found most often, the first positions where they tie."""
        return np.argsort(-self.occurrences, kind="stable")[:count].tolist()


def hubness(hit_positions: Int[np.ndarray, "query hit"], *, item_count: int) -> Hubness:
    """Return how the first hits of all queries spread over the gallery.

    Args:
        hit_positions: The first k hits of each query, as rows of the gallery.
        item_count: How many items the gallery holds.
    """
    occurrences = np.bincount(hit_positions.ravel(), minlength=item_count)
    spread = float(occurrences.std())
    centred = occurrences - occurrences.mean()
    return Hubness(
        k=hit_positions.shape[1],
        occurrences=occurrences,
        skewness=float(np.mean((centred / spread) ** 3)) if spread else 0.0,
        never_found_fraction=float(np.mean(occurrences == 0)),
    )

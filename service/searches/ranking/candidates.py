"""Candidates: the rows of a gallery that a query found, before they are made into a page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index_builder.galleries.gallery import MAX_HIT_COUNT
from index_builder.vector_index import RowNumbers, Rows

__all__ = ["CANDIDATE_COUNT", "Candidates"]

# Whatever is fused, grouped or folded begins with so many candidates, whichever page is asked for:
# so a page never depends on how far somebody looked, and all pages are cut from one list.
CANDIDATE_COUNT = MAX_HIT_COUNT


@dataclass(frozen=True)
class Candidates:
    """Rows in the order of their rank, no row twice.

    Attributes:
        rows: (candidate,), their numbers in the gallery.
        scores: (candidate,), float32 cosine of each with the query; in this order they fall unless
            rankings were fused.
    """

    rows: RowNumbers
    scores: Rows

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self.rows)

    def only(self, places: Sequence[int] | npt.NDArray[np.int64]) -> "Candidates":
        """Return the candidates at some places, in the order given; 0 is the best."""
        chosen = np.asarray(places, dtype=np.int64)
        return Candidates(self.rows[chosen], self.scores[chosen])

"""How many of the true ten nearest rows an index finds, against brute force that shares no code."""

import numpy as np
import numpy.typing as npt

from index_builder.vector_index.base import AllowedRows, Rows, StoredRows, VectorIndex
from index_builder.vector_index.row_mask import RowMask
from index_builder.vector_index.stored_rows import RowFile, blocks_of

__all__ = ["RecallAt10", "recall_at_10"]

_CUTOFF = 10
_QUERIES_AT_ONCE = 64


class RecallAt10:
    """Measures indexes over the same vectors with the same queries; the truth is found once.

    A found row counts when its score, rounded to float32 as hits show it, is at least that of the
    true tenth: among ties any row is right.

    Args:
        vectors: The stored vectors.
        queries: (query, dim).
        allowed: (row,), False where a row must not be found; None allows every row.
    """

    def __init__(
        self, vectors: StoredRows, queries: Rows, allowed: AllowedRows | None = None
    ) -> None:
        self._vectors = vectors
        self._queries = queries
        self._mask = RowMask.of(allowed, int(vectors.shape[0]))
        count = int(vectors.shape[0]) if self._mask is None else self._mask.count
        self._cutoff = min(_CUTOFF, count)
        tenth = _tenth_best_scores(vectors, queries, self._cutoff, allowed).astype(np.float32)
        # Two orders of summation in float64 may round to neighbouring float32 numbers.
        self._thresholds = np.nextafter(tenth, np.float32(-np.inf))

    def of(self, index: VectorIndex) -> float:
        """Return the share of the true ten nearest rows that the index finds, 0..1."""
        right_count = 0
        for start in range(0, len(self._queries), _QUERIES_AT_ONCE):
            queries = self._queries[start : start + _QUERIES_AT_ONCE]
            thresholds = self._thresholds[start : start + _QUERIES_AT_ONCE]
            found = index.search(queries, self._cutoff, allowed=self._mask)
            for query, answer, threshold in zip(queries, found, thresholds, strict=True):
                vectors = self._vectors[answer.rows].astype(np.float64)
                scores = (vectors @ query.astype(np.float64)).astype(np.float32)
                right_count += int(np.count_nonzero(scores >= threshold))
            if isinstance(self._vectors, RowFile):
                self._vectors.release()
        return right_count / (len(self._queries) * self._cutoff)


def recall_at_10(index: VectorIndex, queries: Rows, allowed: AllowedRows | None = None) -> float:
    """Return the recall@10 of one index; see `RecallAt10`."""
    return RecallAt10(index.vectors, queries, allowed).of(index)


def _tenth_best_scores(
    vectors: StoredRows, queries: Rows, cutoff: int, allowed: AllowedRows | None
) -> npt.NDArray[np.float64]:
    best = np.full((len(queries), cutoff), -np.inf)
    for start, block in blocks_of(vectors):
        scores = queries.astype(np.float64) @ block.astype(np.float64).T
        if allowed is not None:
            scores[:, ~allowed[start : start + len(block)]] = -np.inf
        scores = np.concatenate([best, scores], axis=1)
        best = np.partition(scores, -cutoff, axis=1)[:, -cutoff:]
    tenth: npt.NDArray[np.float64] = best.min(axis=1)
    return tenth
